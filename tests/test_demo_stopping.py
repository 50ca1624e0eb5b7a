from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from llmlb.demo.children import Child
from llmlb.demo.stopping import DemoFailed, StopRequests, raise_if_one_died, until_stopped


class ScriptedChild(Child):
    """Behaves like a child process, without one."""

    def __init__(self, name: str, *, code: int | None = None, lines: tuple[str, ...] = ()) -> None:
        self.name = name
        self.log = Path(f"{name}.log")
        self.code = code
        self.lines = list(lines)

    @property
    def pid(self) -> int:
        return 4711

    def exit_code(self) -> int | None:
        return self.code

    def last_lines(self) -> list[str]:
        return self.lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_request_and_its_handler_is_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequests() as stop:
        seen = [stop.received]
        signal.raise_signal(number)
        signal.raise_signal(number)  # the second one does no harm either
        seen.append(stop.received)
    assert seen == [False, True]
    assert signal.getsignal(number) is before


async def test_it_waits_until_a_signal_comes(autojump_clock: MockClock) -> None:
    stop = StopRequests()
    returned = trio.Event()

    async def watch() -> None:
        await until_stopped(stop, [ScriptedChild("a")])
        returned.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(60)
        assert not returned.is_set()
        stop.received = True
        with trio.fail_after(0.2):
            await returned.wait()


async def test_a_child_that_dies_meanwhile_is_named_with_its_last_lines(
    autojump_clock: MockClock,
) -> None:
    children = [ScriptedChild("a")]
    failure: DemoFailed | None = None

    async def watch() -> None:
        nonlocal failure
        try:
            await until_stopped(StopRequests(), children)
        except DemoFailed as error:
            failure = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(1)
        children.append(ScriptedChild("b", code=3, lines=("starting", "no memory")))
    assert str(failure) == (
        "b (process 4711) has ended by itself with exit code 3. The end of its log, b.log:"
        "\n  | starting\n  | no memory"
    )


def test_a_child_ended_by_a_signal_is_told_from_one_that_exited() -> None:
    with pytest.raises(DemoFailed, match=r"with signal 9\. .* it is empty\.$"):
        raise_if_one_died([ScriptedChild("a", code=-9)])


def test_running_children_are_no_reason_to_stop() -> None:
    raise_if_one_died([ScriptedChild("a"), ScriptedChild("b")])
