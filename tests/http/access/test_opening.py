"""How the doors are hung: the first administrator, the link, the secrets of sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from llmlb.accounts import Role
from llmlb.errors import StartupError, StoreUnavailable
from llmlb.http.access.opening import WARNING_WITHOUT_AUTH, Doors, make_first_admin, open_doors
from llmlb.http.access.passwords import Passwords
from llmlb.settings import Settings
from llmlb.store.opening import Store, open_store
from llmlb.store.session_keys import FILE_NAME, ROTATED_AFTER
from llmlb.world import World
from tests.fakes.accounts import PASSWORD, moved_in, user
from tests.fakes.house import NOW, Scene, run_inline, scene_in

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store("sqlite::memory:", data_dir=tmp_path, run_in_thread=run_inline)
    yield store
    await store.close()


async def make(store: Store, **settings: Any) -> None:
    world = World(now=lambda: NOW, new_id=lambda: "id-1")
    await make_first_admin(Settings(**settings), store, Passwords(run_inline), world)


# -- LLMLB_ADMIN_*


async def test_the_settings_make_the_first_administrator(store: Store) -> None:
    with capture_logs() as logs:
        await make(store, admin_username="root", admin_password=PASSWORD)
    (admin,) = (await store.accounts.all()).users.values()
    assert (admin.id, admin.username, admin.role) == ("id-1", "root", Role.ADMIN)
    assert not admin.must_change_password
    assert (await Passwords(run_inline).check(PASSWORD, admin.password_hash))[0]
    assert [(entry["log_level"], entry["username"]) for entry in logs] == [("info", "root")]
    assert PASSWORD not in str(logs)


async def test_the_name_is_admin_unless_it_is_set(store: Store) -> None:
    await make(store, admin_password=PASSWORD)
    assert (await store.accounts.all()).by_name.keys() == {"admin"}


@pytest.mark.parametrize(
    "settings",
    [{}, {"admin_username": "root"}, {"auth": "off", "admin_password": PASSWORD}],
    ids=["nothing is set", "no password", "auth off"],
)
async def test_nobody_is_made_unless_the_settings_say_so(
    store: Store, settings: dict[str, Any]
) -> None:
    await make(store, **settings)
    assert (await store.accounts.all()).users == {}


async def test_once_there_is_an_administrator_the_settings_mean_nothing(store: Store) -> None:
    await store.accounts.change([user("ann")], ())
    await make(store, admin_username="root", admin_password=PASSWORD)
    assert (await store.accounts.all()).by_name == {"ann": user("ann")}


async def test_viewers_do_not_stand_in_the_way_but_for_their_names(store: Store) -> None:
    await store.accounts.change([user("vic", Role.VIEWER)], ())
    with pytest.raises(StartupError, match=r"LLMLB_ADMIN_USERNAME=vic.*choose another name"):
        await make(store, admin_username="vic", admin_password=PASSWORD)
    await make(store, admin_username="root", admin_password=PASSWORD)
    assert (await store.accounts.all()).by_name.keys() == {"vic", "root"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"admin_password": "short"}, "LLMLB_ADMIN_PASSWORD must be at least 8 characters"),
        ({"admin_password": "ü" * 600}, "LLMLB_ADMIN_PASSWORD may not be longer than 1024 bytes"),
        (
            {"admin_username": " root", "admin_password": PASSWORD},
            "LLMLB_ADMIN_USERNAME may not be blank",
        ),
        (
            {"admin_username": "r\noot", "admin_password": PASSWORD},
            "LLMLB_ADMIN_USERNAME may not hold control characters",
        ),
    ],
)
async def test_what_cannot_be_is_said_in_one_sentence_without_the_password(
    store: Store, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(StartupError, match=says) as refusal:
        await make(store, **settings)
    assert settings["admin_password"] not in str(refusal.value)


async def test_a_database_that_refuses_is_said_at_the_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("The database is not available (its disk is full).")

    monkeypatch.setattr(store.accounts, "change", refuses)
    with pytest.raises(StartupError, match=r"could not be made: .*disk is full"):
        await make(store, admin_password=PASSWORD)


# -- the doors


class Opened:
    """A house that stands until the end of the block, and its doors."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.now = NOW

    @asynccontextmanager
    async def __call__(self, **settings: Any) -> AsyncIterator[tuple[Scene, Doors]]:
        def now() -> datetime:
            return self.now

        async with scene_in(self._directory, now=now, **settings) as scene:
            yield scene, await self.doors_of(scene)

    async def doors_of(self, scene: Scene) -> Doors:
        return await open_doors(
            scene.house.settings,
            scene.house,
            Passwords(run_inline),
            run_inline,
            "http://127.0.0.1:32768",
        )

    @property
    def file(self) -> Path:
        return self._directory / FILE_NAME


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path)


async def test_without_an_administrator_a_link_is_printed_and_not_logged(
    opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    with capture_logs() as logs:
        async with opened() as (_, doors):
            told = capsys.readouterr()
            assert told.out == ""
            (link,) = (line.strip() for line in told.err.splitlines() if "http" in line)
            before, _, token = link.partition("?token=")
            assert before == "http://127.0.0.1:32768/setup"
            doors.setup.check(token)
    assert token not in str(logs)


async def test_with_an_administrator_nothing_is_printed(
    opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened() as (scene, _):
        await moved_in(scene.house, user("ann"))
        capsys.readouterr()
        with capture_logs() as logs:
            await opened.doors_of(scene)
    assert capsys.readouterr().err == ""
    assert logs == []


async def test_without_authentication_it_is_said_loudly_and_no_link_is_printed(
    opened: Opened, capsys: pytest.CaptureFixture[str]
) -> None:
    with capture_logs() as logs:
        async with opened(auth="off"):
            pass
    warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings == [WARNING_WITHOUT_AUTH]
    assert "token" not in capsys.readouterr().err


async def test_a_database_in_memory_leaves_no_secrets_behind(opened: Opened) -> None:
    async with opened() as (_, doors):
        assert not opened.file.exists()
        before = doors.gate.sessions.keys
        opened.now += 2 * ROTATED_AFTER
        await doors.refresh_keys()
        assert doors.gate.sessions.keys == before


async def test_sessions_outlive_a_restart(opened: Opened, tmp_path: Path) -> None:
    async with opened(database_url=f"sqlite:{tmp_path}/llmlb.db") as (scene, doors):
        token, session = doors.gate.sessions.begin(user("ann"))
        again = await opened.doors_of(scene)
        assert again.gate.sessions.read(token) == session


async def test_the_secret_is_renewed_when_it_is_time_and_not_before(
    opened: Opened, tmp_path: Path
) -> None:
    async with opened(database_url=f"sqlite:{tmp_path}/llmlb.db") as (_, doors):
        (old,) = doors.gate.sessions.keys
        written = opened.file.stat().st_mtime_ns
        await doors.refresh_keys()
        assert opened.file.stat().st_mtime_ns == written

        opened.now += ROTATED_AFTER
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(doors.refresh_keys)
        newest, still = doors.gate.sessions.keys
        assert still == old
        assert newest.made_at == opened.now
        opened.now += timedelta(hours=25)
        await doors.refresh_keys()
        assert doors.gate.sessions.keys == (newest,)


async def test_a_disk_that_is_full_locks_nobody_out(opened: Opened, tmp_path: Path) -> None:
    async with opened(database_url=f"sqlite:{tmp_path}/llmlb.db") as (_, doors):
        before = doors.gate.sessions.keys
        opened.now += ROTATED_AFTER
        opened.file.unlink()
        opened.file.mkdir()
        with capture_logs() as logs:
            await doors.refresh_keys()
        assert doors.gate.sessions.keys == before
        assert [entry["event"] for entry in logs] == ["the secret of sessions could not be renewed"]
