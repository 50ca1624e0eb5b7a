"""What a process and all that it has started use, as /proc tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""A process that ends while it is looked at."""


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes, of a process and its descendants together."""

    rss: int
    pss: int
    """What they share is counted once, in parts: the honest sum."""


def family_of(pid: int, proc: Path = PROC) -> list[int]:
    """*pid* and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in proc.glob("[0-9]*/stat"):
        with suppress(*_GONE):
            children.setdefault(_parent(stat.read_text()), []).append(int(stat.parent.name))
    return list(_descend(pid, children))


def _descend(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _descend(child, children)


def _parent(stat: str) -> int:
    return int(_after_name(stat)[1])


def _after_name(stat: str) -> list[str]:
    """The fields from the third on: the second may hold anything, but ends at the last `)`."""
    return stat.rpartition(")")[2].split()


def cpu_s(pid: int, proc: Path = PROC) -> float:
    """CPU time of *pid* and its descendants so far, in user and kernel mode.

    Of those that have ended, too, if they were waited for. To about 10 ms.
    """
    ticks = 0
    for member in family_of(pid, proc):
        with suppress(*_GONE):
            fields = _after_name((proc / str(member) / "stat").read_text())
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int, proc: Path = PROC) -> Memory:
    """Memory of *pid* and its descendants now."""
    rss = pss = 0
    for member in family_of(pid, proc):
        with suppress(*_GONE):
            for line in (proc / str(member) / "smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                rss += int(rest[0]) * 1024 if name == "Rss:" else 0
                pss += int(rest[0]) * 1024 if name == "Pss:" else 0
    return Memory(rss, pss)


def sockets(pid: int, proc: Path = PROC) -> int:
    """How many sockets *pid* and its descendants hold open."""
    return sum(1 for target in _open_files(pid, proc) if target.startswith("socket:"))


def _open_files(pid: int, proc: Path) -> Iterator[str]:
    for member in family_of(pid, proc):
        with suppress(*_GONE):
            for descriptor in (proc / str(member) / "fd").iterdir():
                with suppress(*_GONE):
                    yield str(descriptor.readlink())
