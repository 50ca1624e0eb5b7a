"""A run tells what it found, whatever it was, and its script is a matter of its seed alone."""

from __future__ import annotations

import sqlite3

import pytest
import trio

from tests.simulation import invariants, run
from tests.simulation.disk import SimDisk
from tests.simulation.invariants import Violation
from tests.simulation.ledger import Account
from tests.simulation.parts import DiskTrouble, Manner
from tests.simulation.script import Script
from tests.simulation.trace import KEPT, Trace


def test_a_violation_is_told_with_its_name_and_the_last_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(account: Account) -> None:
        if account.tag == "r20":
            raise Violation("no_such_thing", "r20 is not liked.")

    monkeypatch.setattr(invariants, "every_lease_is_accounted_for", broken)
    result = run.run(3, 0.01)
    assert result.failure == "no_such_thing: r20 is not liked."
    assert len(result.last) == KEPT
    assert any(" r20 " in line for line in result.last)


def test_anything_else_that_breaks_is_told_with_all_its_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(account: Account) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(invariants, "every_lease_is_accounted_for", broken)
    failure = run.run(3, 0.01).failure
    assert failure is not None
    assert "ZeroDivisionError" in failure
    assert "_serve" in failure


def test_a_good_run_is_told_without_events() -> None:
    seen: list[str] = []
    result = run.run(3, 0.01, also=seen.append)
    assert result.failure is None
    assert not result.last
    assert result.n_events == len(seen)
    assert result.n_requests >= result.n_delivered > 0
    assert result.virtual_s > run.ROUND_S


def test_a_script_is_the_same_for_the_same_seed() -> None:
    one, same, other = Script(5), Script(5), Script(6)
    assert list(one.wishes(0, 100)) == list(same.wishes(0, 100))
    assert list(one.events(0, 100)) == list(same.events(0, 100))
    assert one.endpoints == same.endpoints
    assert one.endpoints != other.endpoints


def test_scripts_hold_what_their_time_holds_and_in_its_order() -> None:
    for seed in range(50):
        script = Script(seed)
        wishes = list(script.wishes(10, 200))
        assert [wish.at_s for wish in wishes] == sorted(wish.at_s for wish in wishes)
        assert all(10 <= wish.at_s < 200 for wish in wishes)
        assert len({wish.tag for wish in wishes}) == len(wishes)
        assert all(wish.leaving for wish in wishes if wish.manner is Manner.STUCK)
        served = {model for make in script.endpoints for model in make.models}
        assert {wish.model for wish in wishes} <= served
        for events in (
            list(script.events(10, 200)),
            list(script.disk_events(10, 200)),
            list(script.operator_events(10, 200)),
        ):
            assert [event.at_s for event in events] == sorted(event.at_s for event in events)
            assert all(event.at_s + event.for_s < 200 for event in events)


async def test_a_trace_is_known_by_its_events_and_their_times() -> None:
    one, same, later = Trace(), Trace(), Trace()
    one.note("r1", "asks")
    same.note("r1", "asks")
    await trio.sleep(1)
    later.note("r1", "asks")
    assert one.digest == same.digest != later.digest


@pytest.mark.parametrize(
    ("trouble", "code", "takes_s"),
    [(DiskTrouble.LOCKED, sqlite3.SQLITE_BUSY, 5.0), (DiskTrouble.FULL, sqlite3.SQLITE_FULL, 0.0)],
)
async def test_a_disk_in_trouble_refuses_as_sqlite_does(
    trouble: DiskTrouble, code: int, takes_s: float
) -> None:
    disk = SimDisk()
    disk.trouble = trouble
    with pytest.raises(sqlite3.OperationalError) as caught:
        await disk.run(lambda: None)
    assert caught.value.sqlite_errorcode == code
    assert trio.current_time() == takes_s
    disk.spared = True
    assert await disk.run(lambda: 7) == 7
