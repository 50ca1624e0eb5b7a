# ruff: noqa: ASYNC240 - these tests look at files, and may block
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.store.import_history import history_row
from llmlb.store.older import UnreadableRecord
from tests.store.conftest import OpenStore

ID = "11111111-0000-4000-8000-000000000001"
NODE = "22222222-0000-4000-8000-000000000001"


def record(**fields: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "timestamp": "2025-11-01T00:00:00.5Z",
        "request_type": "chat",
        "model": "m",
        "request_body": {"messages": ["é"]},
        "response_body": None,
        "duration_ms": 120,
        "status": {"type": "success"},
        "completed_at": "2025-11-01T00:00:01Z",
        **fields,
    }


async def rows(store: Any) -> list[dict[str, Any]]:
    def read(connection: Any) -> list[dict[str, Any]]:
        cursor = connection.execute("SELECT * FROM request_history ORDER BY timestamp, id")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    found: list[dict[str, Any]] = await store._database.run(read)
    return found


def put(database: Path, content: str) -> Path:
    database.parent.mkdir(exist_ok=True)
    file = database.parent / "request_history.json"
    file.write_text(content)
    return file


@pytest.mark.parametrize(
    "names",
    [
        {"endpoint_id": NODE, "endpoint_name": "box", "endpoint_ip": "10.0.0.1"},
        {"node_id": NODE, "node_machine_name": "box", "node_ip": "10.0.0.1"},
        {"agent_id": NODE, "agent_machine_name": "box", "agent_ip": "10.0.0.1"},
    ],
)
def test_a_record_of_any_age_becomes_a_row(names: dict[str, str]) -> None:
    value = record(
        **names,
        client_ip="10.0.0.2",
        status={"type": "error", "message": "too slow"},
        input_tokens=1,
        output_tokens=2,
        total_tokens=3,
        api_key_id="k",
    )
    assert history_row(value) == {
        "id": ID,
        "timestamp": "2025-11-01T00:00:00.500000Z",
        "request_type": "chat",
        "model": "m",
        "endpoint_id": NODE,
        "endpoint_name": "box",
        "endpoint_ip": "10.0.0.1",
        "client_ip": "10.0.0.2",
        "request_body": '{"messages": ["é"]}',
        "response_body": None,
        "duration_ms": 120,
        "status": "error",
        "error_message": "too slow",
        "completed_at": "2025-11-01T00:00:01.000000Z",
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "api_key_id": "k",
    }


def test_what_is_missing_is_left_empty() -> None:
    row = history_row({"timestamp": "2025-11-01T00:00:00Z", "model": "m", "status": "Success"})
    assert row["completed_at"] == row["timestamp"]
    assert (row["request_type"], row["duration_ms"], row["endpoint_id"]) == ("chat", 0, None)
    assert row["status"] == "success"


@pytest.mark.parametrize(
    "spoilt", [{"timestamp": None}, {"model": 7}, {"status": None}, {"status": {"type": "maybe"}}]
)
def test_a_record_that_says_too_little_is_refused(spoilt: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecord):
        history_row(record(**spoilt))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(_json, st.sampled_from(sorted(record())))
def test_any_value_in_any_field_is_read_or_refused(value: object, field: str) -> None:
    try:
        row = history_row(record(**{field: value}))
    except UnreadableRecord:
        return
    assert all(isinstance(cell, str | int | float | None) for cell in row.values())


@pytest.mark.parametrize("together", [json.dumps, lambda rs: "\n".join(map(json.dumps, rs))])
async def test_an_array_or_objects_one_after_another_are_imported(
    opened: OpenStore, database: Path, together: Callable[[list[Any]], str]
) -> None:
    other = record(id=None, model="n")
    file = put(database, together([record(), record(), other, {"model": "?"}]))
    store = await opened()
    assert sorted(row["model"] for row in await rows(store)) == ["m", "n"]
    assert not file.exists()
    assert Path(f"{file}.migrated").exists()


async def test_what_was_imported_and_deleted_since_stays_deleted(
    opened: OpenStore, database: Path
) -> None:
    put(database, json.dumps([record()]))
    store = await opened()
    await store._database.run(lambda c: c.execute("DELETE FROM request_history"))
    await store.close()
    put(database, json.dumps([record(), record(id=NODE)]))
    assert [row["id"] for row in await rows(await opened())] == [NODE]
