"""The command `llmlb demo`: the whole product on one machine, in one terminal."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TextIO

import trio

from llmlb.demo.children import Child, end_all
from llmlb.demo.ports import LOOPBACK, why_not_bindable
from llmlb.demo.screen import Screen
from llmlb.demo.stopping import DemoFailed, StopRequests, raise_if_one_died, until_stopped
from llmlb.demo.story import Place, Story

DEFAULT_PORT = 32768
DEFAULT_DIRECTORY = Path(".demo")
STOP_WITHIN_S = 4.0
"""Then SIGKILL: Ctrl-C has to end everything within 5 s."""

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def run_demo(
    *,
    port: int = DEFAULT_PORT,
    once: bool = False,
    directory: Path = DEFAULT_DIRECTORY,
    out: TextIO | None = None,
) -> int:
    """Run the demonstration until Ctrl-C, or with *once* until the answer was shown.

    Gives the exit code: 0, or 130 if interrupted before the answer, or 1 with the reason shown.
    Needs the main thread, for its signal handlers.
    """
    screen = Screen(out or sys.stdout)
    children: list[Child] = []
    with StopRequests() as stop:
        try:
            place = Place(directory, port)
            _check_port(port)
            place.prepare()
            story = Story(place, screen, children)
            return trio.run(partial(_run, story, stop, children, once=once))
        except DemoFailed as problem:
            screen.step("The demonstration stopped")
            screen.detail(str(problem))
            return EXIT_FAILED
        finally:
            if children:
                _end(children, screen)


def _check_port(port: int) -> None:
    reason = why_not_bindable(port)
    if reason is not None:
        raise DemoFailed(
            f"port {port} on {LOOPBACK} {reason}; perhaps a balancer or another demonstration "
            "is still running. End it, or choose another port: make demo PORT=40000, "
            "or llmlb demo --port 40000."
        )


async def _run(story: Story, stop: StopRequests, children: list[Child], *, once: bool) -> int:
    told = False
    failure: DemoFailed | None = None

    async def watch(scope: trio.CancelScope) -> None:
        nonlocal failure
        try:
            await until_stopped(stop, children)
        except DemoFailed as problem:
            failure = problem
        scope.cancel()

    # Failures are carried out by hand: a nursery would wrap them in exception groups.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        try:
            await story.tell()
            told = True
            if not once:
                story.say_it_stays_up()
                await trio.sleep_forever()
        except DemoFailed as problem:
            failure = problem
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise_if_one_died(children)  # the likelier reason for whatever failed
        raise failure
    return 0 if told else EXIT_INTERRUPTED


def _end(children: list[Child], screen: Screen) -> None:
    screen.step("Stopping")
    ending = end_all(children, within_s=STOP_WITHIN_S)
    for name in ending.killed:
        screen.detail(f"{name} did not end in time and was killed")
    screen.step(f"Everything has stopped ({ending.took_s:.1f} s)")
