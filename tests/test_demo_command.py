from __future__ import annotations

import io
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio

from llmlb.demo import command
from llmlb.demo.children import Child, Ending
from llmlb.demo.command import run_demo
from llmlb.demo.ports import free_port
from llmlb.demo.stopping import DemoFailed
from llmlb.demo.story import Story

Tell = Callable[[Story], Awaitable[None]]


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs the command with another story, and gives its exit code and output."""

    def run(tell: Tell, *, once: bool = False, port: int = 0) -> tuple[int, str]:
        monkeypatch.setattr(Story, "tell", tell)
        out = io.StringIO()
        directory = tmp_path / ".demo"
        code = run_demo(port=port or free_port(), once=once, directory=directory, out=out)
        return code, out.getvalue()

    return run


async def nothing_to_tell(story: Story) -> None:
    await trio.lowlevel.checkpoint()


def test_once_ends_well_after_the_answer(demo: Callable[..., tuple[int, str]]) -> None:
    assert demo(nothing_to_tell, once=True) == (0, "")


def test_after_the_answer_it_stays_up_until_a_signal(
    demo: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Story, "say_it_stays_up", lambda story: signal.raise_signal(signal.SIGINT))
    assert demo(nothing_to_tell) == (0, "")


def test_a_signal_before_the_answer_is_an_interruption(
    demo: Callable[..., tuple[int, str]],
) -> None:
    async def interrupted(story: Story) -> None:
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    assert demo(interrupted, once=True) == (130, "")


def test_a_failure_is_shown_as_a_sentence(demo: Callable[..., tuple[int, str]]) -> None:
    async def failing(story: Story) -> None:
        await trio.lowlevel.checkpoint()
        raise DemoFailed("the moon is full.")

    assert demo(failing) == (1, "==> The demonstration stopped\n    the moon is full.\n")


def test_a_taken_port_is_named_with_the_way_out(
    demo: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, text = demo(nothing_to_tell, port=port)
    assert code == 1
    assert f"port {port} on 127.0.0.1 is in use by" in text
    assert "make demo PORT=40000" in text
    assert not (tmp_path / ".demo").exists()


def test_children_that_had_to_be_killed_are_named(
    demo: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_all(children: Sequence[Child], *, within_s: float) -> Ending:
        return Ending(within_s, killed=("balancer",))

    async def start_one(story: Story) -> None:
        await trio.lowlevel.checkpoint()
        story._children.append(Child.__new__(Child))  # never started: nobody looks at it

    monkeypatch.setattr(command, "end_all", end_all)
    monkeypatch.setattr(Child, "exit_code", lambda child: None)
    code, text = demo(start_one, once=True)
    assert code == 0
    assert "balancer did not end in time and was killed" in text
    assert text.endswith("==> Everything has stopped (4.0 s)\n")
