"""The stub, running on its core."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.places import LOAD_CORE, Unavailable
from llmlb.demo.children import Child, end_all
from llmlb.demo.ports import LOOPBACK, why_not_bindable

FIRST_PORT = 20_000
"""Below the ports that systems give to connections, so a row of them is free on most machines."""
LAST_PORT = 32_000
START_LIMIT_S = 10.0


@contextmanager
def stubs(program: Path, log: Path, *, ports: int = 1, models: int = 0) -> Iterator[range]:
    """So many ports, each an inference server of its own that lists so many more models.

    Raises Unavailable.
    """
    row = free_row(ports)
    words = ["taskset", "-c", str(LOAD_CORE), str(program), "-p", str(row.start)]
    child = Child("stub", [*words, "-k", str(ports), "-m", str(models)], log=log)
    try:
        _wait_until_it_listens(child, row[-1])
        yield row
    finally:
        end_all([child], within_s=5)


def free_row(n: int) -> range:
    """*n* ports in a row on which nobody listens. Raises Unavailable."""
    begin = FIRST_PORT
    while begin + n <= LAST_PORT:
        taken = next((p for p in range(begin, begin + n) if why_not_bindable(p)), None)
        if taken is None:
            return range(begin, begin + n)
        begin = taken + 1
    raise Unavailable(f"There are no {n} free ports in a row.")


def _wait_until_it_listens(child: Child, port: int) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end_s and child.exit_code() is None:
        with closing(socket.socket()) as connection:
            if connection.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.02)
    raise Unavailable(f"The stub did not start: {' '.join(child.last_lines())}")
