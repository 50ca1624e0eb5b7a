from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from llmlb.demo.children import Child
from llmlb.demo.ports import LOOPBACK, free_port
from llmlb.demo.servers import llmlb_command
from tests.e2e.fleet import wait_for

UP_TIMEOUT_S = 60.0
STAYS_UP = "All of it stays up until Ctrl-C"
HAS_STOPPED = "Everything has stopped"


class Demo:
    """Owns one `llmlb demo` process."""

    def __init__(self, directory: Path, *, port: int, once: bool = False) -> None:
        self.port = port
        self.directory = directory
        words = ["demo", "--port", str(port), "--directory", str(directory / ".demo")]
        if once:
            words.append("--once")
        self.log = directory / "demo.log"
        self.process = Child("demo", llmlb_command(*words), log=self.log)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_up(self) -> None:
        wait_for(
            lambda: STAYS_UP in self.text,
            "the demonstration to be up",
            watched=self.process,
            within_s=UP_TIMEOUT_S,
        )

    def server_pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"llama-[ab]: http://\S+, process (\d+)", self.text)]


StartDemo = Callable[..., Demo]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    started: list[Demo] = []

    def start(*, port: int = 0, once: bool = False) -> Demo:
        demo = Demo(tmp_path, port=port or free_port(), once=once)
        started.append(demo)
        return demo

    yield start
    for demo in started:
        demo.process.ask_to_end()  # its children are in sessions of their own: it must end them
        if not demo.process.wait(10):
            demo.process.kill()


def processes_of(directory: Path) -> set[int]:
    """Every process that was given a file in *directory* on its command line or as its data."""
    wanted = str(directory).encode()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.add(int(process.name))
        except OSError:
            continue  # it ended while we looked
    return found - {os.getpid()}


def test_once_shows_an_answer_and_who_gave_it_and_ends_well(start_demo: StartDemo) -> None:
    demo = start_demo(once=True)
    assert demo.process.wait(UP_TIMEOUT_S), demo.text
    assert demo.process.exit_code() == 0, demo.text
    assert re.search(r"==> Served by endpoint llama-[ab], \d+ pieces of text", demo.text)
    assert re.search(r"llama-a +online +llama\.cpp +1 +4 ", demo.text)
    assert f"curl http://{LOOPBACK}:{demo.port}/v1/models" in demo.text
    assert HAS_STOPPED in demo.text
    assert "was killed" not in demo.text
    assert processes_of(demo.directory) == set()


def test_ctrl_c_stops_everything_within_5_s_and_leaves_no_child(start_demo: StartDemo) -> None:
    demo = start_demo()
    demo.wait_until_up()
    models = httpx.get(f"http://{LOOPBACK}:{demo.port}/v1/models", trust_env=False).json()
    assert [model["id"] for model in models["data"]] == ["tiny-llama"]
    assert len(processes_of(demo.directory)) >= 4  # itself, two servers, the balancer

    began_s = time.monotonic()
    os.kill(demo.process.pid, signal.SIGINT)
    assert demo.process.wait(5), demo.text
    assert time.monotonic() - began_s < 5
    assert demo.process.exit_code() == 0, demo.text
    assert HAS_STOPPED in demo.text
    assert processes_of(demo.directory) == set()


def test_a_child_that_dies_stops_the_demonstration_visibly(start_demo: StartDemo) -> None:
    demo = start_demo()
    demo.wait_until_up()
    victim_pid = demo.server_pids()[0]
    os.kill(victim_pid, signal.SIGKILL)
    assert demo.process.wait(10), demo.text
    assert demo.process.exit_code() == 1
    assert f"llama-a (process {victim_pid}) has ended by itself with signal 9" in demo.text
    assert HAS_STOPPED in demo.text
    assert processes_of(demo.directory) == set()


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(start_demo: StartDemo) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        demo = start_demo(port=port)
        assert demo.process.wait(20), demo.text
    assert demo.process.exit_code() == 1
    assert f"port {port} on {LOOPBACK} is in use by process {os.getpid()} (" in demo.text
    assert "make demo PORT=40000" in demo.text
    assert "Traceback" not in demo.text
