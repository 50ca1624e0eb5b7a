"""A timeout of zero: a lease now, or none; nobody waits, also not one that asks again."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.admission import AdmissionController, ModelUnknown, Ready, Timeout
from tests.actors.conftest import CHAT, catalog, endpoint, initialising


async def test_one_that_asks_again_with_no_time_left_does_not_wait_for_ever(
    admission: AdmissionController,
) -> None:
    a, b = endpoint("a"), endpoint("b")
    admission.catalog_changed(catalog(a, b))
    failed = await admission.wait_for_ready("m", CHAT, 100, excluding={b.id})
    held = await admission.wait_for_ready("m", CHAT, 100, excluding={a.id})
    assert isinstance(failed, Ready)
    assert isinstance(held, Ready)
    for timeout_s in (0, -1):
        with trio.fail_after(3600):
            again = await admission.wait_for_ready_with_timeout(
                "m", CHAT, 100, timeout_s, excluding={a.id}, arrival=failed.lease.arrival
            )
        assert again == Timeout()
    assert admission.statistics().waiting == {}
    held.lease.release()
    again = await admission.wait_for_ready_with_timeout(
        "m", CHAT, 100, 0, excluding={a.id}, arrival=failed.lease.arrival
    )
    assert isinstance(again, Ready)
    assert trio.current_time() == 0


async def test_one_without_patience_overtakes_nobody(admission: AdmissionController) -> None:
    a = endpoint("a")
    admission.catalog_changed(catalog(initialising(a)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admission.wait_for_ready, "m", CHAT, 100)
        await wait_all_tasks_blocked()
        admission.catalog_changed(catalog(a))  # the slot is the first one's
        assert await admission.wait_for_ready_with_timeout("m", CHAT, 100, 0) == Timeout()


async def test_without_patience_too_an_unknown_model_is_unknown(
    admission: AdmissionController,
) -> None:
    admission.catalog_changed(catalog(endpoint("a")))
    assert await admission.wait_for_ready_with_timeout("n", CHAT, 100, 0) == ModelUnknown()
