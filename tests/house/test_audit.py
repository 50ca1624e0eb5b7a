"""The audit log of a whole house: over its stop, beside a database in trouble, and told about."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.feed import Batch
from llmlb.audit import ActorType, AuditEvent
from llmlb.audit_check import ChainCheck
from llmlb.events import AuditLogBroken
from llmlb.house import House
from llmlb.store.audit_file import check_file
from llmlb.store.audit_search import AuditSearch
from llmlb.store.opening import LOOK_EVERY_S
from tests.fakes.house import NOW, scene_in
from tests.fakes.trouble import PASSING


def deed(number: int) -> AuditEvent:
    return AuditEvent(NOW, "endpoint.create", ActorType.USER, object_id=str(number))


async def kept(house: House) -> list[str | None]:
    entries, _ = await house.store.audit.search(AuditSearch(500))
    return [entry.event.object_id for entry in reversed(entries)]


async def test_what_is_told_until_the_end_is_there_after_the_next_start(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'llmlb.db'}"
    for run in range(3):
        async with scene_in(tmp_path, database_url=url) as scene:
            house = scene.house
            assert await kept(house) == [str(number) for number in range(run * 2)]
            house.tell_audit(deed(run * 2))
            await trio.sleep(1)
            house.tell_audit(deed(run * 2 + 1))
        house.tell_audit(deed(99))  # nobody is there any more, and nobody minds
    check = ChainCheck()
    check_file(url, check)
    assert check.result().valid
    assert check.result().entries_checked == 6


@pytest.mark.parametrize("name", PASSING)
async def test_deeds_outlast_a_database_in_trouble_each_written_once(
    tmp_path: Path, name: str
) -> None:
    database = tmp_path / "data" / "llmlb.db"
    async with scene_in(database.parent, database_url=f"sqlite:{database}") as scene:
        house = scene.house
        await house.store._database.run(lambda c: c.execute("PRAGMA busy_timeout = 9"))
        house.tell_audit(deed(0))
        await trio.sleep(1)
        with PASSING[name](house.store, database):
            for number in range(1, 50):
                house.tell_audit(deed(number))
                await trio.sleep(3)
        await trio.sleep(LOOK_EVERY_S + 1)
        assert await kept(house) == [str(number) for number in range(50)]
        assert (await house.audit.verify()).valid


async def test_a_chain_that_was_changed_while_nobody_looked_is_told_at_the_start(
    tmp_path: Path,
) -> None:
    url = f"sqlite:{tmp_path / 'llmlb.db'}"
    async with scene_in(tmp_path, database_url=url) as scene:
        for number in range(5):
            scene.house.tell_audit(deed(number))
        await trio.sleep(1)
        await scene.house.store._database.run(
            lambda connection: [
                connection.execute("DROP TRIGGER audit_entries_stay"),
                connection.execute("DELETE FROM audit_entries WHERE sequence = 5"),
            ]
        )
    async with scene_in(tmp_path, database_url=url) as scene:
        await trio.sleep(1)
        with await scene.house.feed.subscribe(0) as subscription:
            batch: Batch = await subscription.next()
            broken = [told.event for told in batch.events if isinstance(told.event, AuditLogBroken)]
        assert broken == [AuditLogBroken("The last entries are missing: 5 to 5.")]


async def test_the_settings_say_how_many_are_kept(tmp_path: Path) -> None:
    async with scene_in(tmp_path, audit_max_entries=1000, audit_retention_days=0) as scene:
        for number in range(2500):
            scene.house.tell_audit(deed(number))
        await trio.sleep(3700)
        await wait_all_tasks_blocked()
        _, total = await scene.house.store.audit.search(AuditSearch(1))
        assert total == 1000
        assert (await scene.house.audit.verify()).valid
