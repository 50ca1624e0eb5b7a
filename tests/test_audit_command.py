"""`llmlb audit verify`, as it is run in a terminal beside the server or without it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

from llmlb.audit import GENESIS, ActorType, AuditEvent, Link
from llmlb.cli import main
from llmlb.store.opening import open_store
from tests.store.conftest import NOW, run_inline


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "data"
    monkeypatch.setenv("LLMLB_DATA_DIR", str(directory))
    return directory


def written(data: Path, most: int, *, keep: int = 1000) -> Link:
    """A database with so many entries, of which the oldest are pruned; where it ends."""

    async def write() -> Link:
        url = f"sqlite:{data / 'llmlb.db'}"
        store = await open_store(url, data_dir=data, run_in_thread=run_inline)
        try:
            event = AuditEvent(NOW, "endpoint.create", ActorType.USER)
            end = await store.audit.append(GENESIS, [event] * most)
            await store.audit.prune(None, keep)
            return end
        finally:
            with trio.CancelScope(shield=True):  # it runs inline, and takes no time
                await store.close()

    return trio.run(write)


def verify(*options: str) -> Result:
    return CliRunner().invoke(main, ["audit", "verify", *options])


def spoil(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / "llmlb.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_whole_chain_is_said_so_with_what_to_note(data: Path) -> None:
    end = written(data, 3)
    result = verify()
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "The chain is whole (3 entries).",
        f"The last entry, to be noted elsewhere: {end}",
    ]
    assert verify("--noted", str(end)).exit_code == 0
    assert verify("--noted", str(GENESIS)).exit_code == 0


def test_a_changed_entry_is_exit_code_1(data: Path) -> None:
    written(data, 3)
    spoil(
        data,
        "DROP TRIGGER audit_entries_never_change",
        "UPDATE audit_entries SET actor_name = 'me' WHERE sequence = 2",
    )
    result = verify()
    assert (result.exit_code, result.stdout) == (1, "Entry 2 was changed.\n")


def test_json_says_what_the_route_says(data: Path) -> None:
    end = written(data, 3)
    said: dict[str, Any] = json.loads(verify("--json").stdout)
    assert said == {
        "valid": True,
        "batches_checked": 1,
        "entries_checked": 3,
        "tampered_batch": None,
        "first_bad_id": None,
        "message": "The chain is whole (3 entries).",
        "head": {"id": 3, "hash": end.hash},
    }


def test_a_chain_made_anew_is_found_by_what_was_noted(data: Path) -> None:
    end = written(data, 3)
    other = Link(end.sequence, "a" * 64)
    result = verify("--noted", str(other), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["message"] == "Entry 3 is not the one that is known."
    result = verify("--noted", str(Link(9, "a" * 64)))
    assert (result.exit_code, result.stdout) == (1, "The last entries are missing: 4 to 9.\n")


def test_what_was_noted_and_is_too_old_by_now_cannot_be_compared(data: Path) -> None:
    written(data, 10, keep=2)
    result = verify("--noted", str(Link(3, "a" * 64)))
    assert result.exit_code == 2
    assert result.stderr == "Entry 3 was deleted for its age since it was noted.\n"


def test_what_cannot_be_read_is_exit_code_2(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = verify()
    assert result.exit_code == 2
    assert result.stderr.startswith("The audit log cannot be checked: There is no database")
    monkeypatch.setenv("LLMLB_PORT", "x")
    assert "LLMLB_PORT=x is not valid" in verify().stderr
    assert verify("--noted", "3:abc").exit_code == 2


def test_the_group_is_named_in_the_help() -> None:
    assert "audit" in CliRunner().invoke(main, ["--help"]).stdout
    assert "verify" in CliRunner().invoke(main, ["audit", "--help"]).stdout
