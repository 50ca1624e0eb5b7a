"""How the demonstration's child processes are started, watched and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess  # for our own commands # nosec B404
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_BYTES = 8 * 1024
TAIL_LINES = 15


class Child:
    """Owns one process, its process group and its log file.

    The child leads a session of its own, so that Ctrl-C in the terminal reaches only us and
    its own children (hypercorn's worker) can be ended with it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        with log.open("ab") as output:
            self._start_of_log_bytes = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own command, without a shell # nosec B603
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        state = "running" if self.exit_code() is None else f"ended {self.exit_code()}"
        return f"<Child {self.name} pid={self.pid} {state}>"

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self._process.poll()

    def output(self) -> str:
        """What this process has written so far, the last part of it if that is long."""
        with self.log.open("rb") as file:
            end_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(self._start_of_log_bytes, end_bytes - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode(errors="replace")

    def last_lines(self) -> list[str]:
        """The end of its log, for people."""
        return self.output().splitlines()[-TAIL_LINES:]

    def ask_to_end(self) -> None:
        """Send SIGTERM to the process (not to its group: it knows how to end its own)."""
        if self.exit_code() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole group and reap the process."""
        # no such group: all have ended; not permitted: how macOS says the same of zombies
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout_s: float) -> bool:
        """Block until it has ended. False if that took too long."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Ending:
    """How a group of children ended."""

    took_s: float
    killed: tuple[str, ...]
    """The names of those that did not end by themselves in time."""


def end_all(children: Sequence[Child], *, within_s: float) -> Ending:
    """End all children: SIGTERM to each at once, SIGKILL to those left. Blocks."""
    started_s = time.monotonic()
    for child in children:
        child.ask_to_end()
    killed = []
    for child in children:
        left_s = within_s - (time.monotonic() - started_s)
        if not child.wait(max(left_s, 0.0)):
            killed.append(child.name)
        child.kill()  # also ends what a dead child may have left in its group
    return Ending(time.monotonic() - started_s, tuple(killed))


def environment_for_children(**settings: str) -> dict[str, str]:
    """Ours, without the LLMLB_* settings of the surroundings but with *settings*."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LLMLB_")}
    return {**inherited, "PYTHONUNBUFFERED": "1", **settings}
