# ruff: noqa: ASYNC240 - these tests look at files, and may block
from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from llmlb.types import (
    Capability,
    DeviceInfo,
    DeviceType,
    Endpoint,
    EndpointId,
    GpuDevice,
    Model,
)
from tests.store.conftest import OpenStore

ID = "33333333-0000-4000-8000-000000000001"
DEVICE = json.dumps({"device_type": "gpu", "gpu_devices": [{"name": "T4"}]})

COMMON = """
CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT);
CREATE TABLE endpoints (
    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE, base_url TEXT NOT NULL UNIQUE,
    api_key_encrypted TEXT, status TEXT NOT NULL, health_check_interval_secs INTEGER NOT NULL,
    inference_timeout_secs INTEGER NOT NULL, latency_ms INTEGER, last_seen TEXT, last_error TEXT,
    error_count INTEGER NOT NULL DEFAULT 0, registered_at TEXT NOT NULL, notes TEXT {endpoints}
);
CREATE TABLE endpoint_models (
    endpoint_id TEXT NOT NULL, model_id TEXT NOT NULL, capabilities TEXT, last_checked TEXT
    {models}, PRIMARY KEY (endpoint_id, model_id)
);
"""
SEED = COMMON.format(endpoints=", capabilities TEXT, supports_responses_api INTEGER", models="")
LATEST = COMMON.format(
    endpoints=""", capabilities TEXT, device_info TEXT, inference_latency_ms REAL,
    endpoint_type TEXT NOT NULL DEFAULT 'openai_compatible', total_requests INTEGER DEFAULT 0""",
    models=", supported_apis TEXT, max_tokens INTEGER, canonical_name TEXT",
)

ENDPOINT = {
    "id": ID,
    "name": "box",
    "base_url": "http://BOX.lan:11434/v1/",
    "api_key_encrypted": "sk-plain",
    "status": "online",
    "health_check_interval_secs": 45,
    "inference_timeout_secs": 300,
    "latency_ms": 3,
    "last_seen": "2026-01-02T00:00:00.123456789+00:00",
    "registered_at": "2026-01-01T00:00:00+00:00",
    "notes": "mine",
}


def make(
    path: Path, schema: str, rows: dict[str, list[dict[str, Any]]], *, wal: bool = False
) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as rust, rust:
        if wal:
            rust.execute("PRAGMA journal_mode = WAL")
        rust.executescript(schema)
        insert(rust, rows)


def insert(rust: sqlite3.Connection, tables: dict[str, list[dict[str, Any]]]) -> None:
    for table, rows in tables.items():
        for row in rows:
            marks = ", ".join("?" * len(row))
            rust.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values())
            )


@pytest.fixture
def rust(database: Path) -> Path:
    return database.parent / "load balancer.db"


async def test_a_database_of_the_first_version_is_imported(opened: OpenStore, rust: Path) -> None:
    models = [{"endpoint_id": ID, "model_id": "m", "capabilities": '["chat_completion"]'}]
    make(rust, SEED, {"endpoints": [ENDPOINT], "endpoint_models": models})
    assert await (await opened()).endpoints.all() == [
        Endpoint(
            id=EndpointId(ID),
            name="box",
            base_url="http://box.lan:11434",
            registered_at=datetime(2026, 1, 1, tzinfo=UTC),
            api_key="sk-plain",
            health_check_interval_s=45,
            inference_timeout_s=300,
            notes="mine",
            models=(Model("m"),),
            last_seen_at=datetime(2026, 1, 2, 0, 0, 0, 123456, tzinfo=UTC),
        )
    ]


@pytest.mark.parametrize("latency_ms", [12.5, math.inf, None])
async def test_a_database_of_the_last_version_is_imported(
    opened: OpenStore, rust: Path, latency_ms: float | None
) -> None:
    newer = {
        **ENDPOINT,
        "device_info": DEVICE,
        "inference_latency_ms": latency_ms,
        "endpoint_type": "vllm",
    }
    models: list[dict[str, Any]] = [
        {
            "endpoint_id": ID,
            "model_id": "e",
            "capabilities": '["embeddings"]',
            "max_tokens": 8192,
            "canonical_name": "E",
        },
        {"endpoint_id": ID, "model_id": "odd", "capabilities": "{", "max_tokens": 0},
        {"endpoint_id": ID, "model_id": ""},
        {"endpoint_id": "nobody", "model_id": "x"},
    ]
    make(rust, LATEST, {"endpoints": [newer], "endpoint_models": models})
    (endpoint,) = await (await opened()).endpoints.all()
    assert endpoint.latency_ms == latency_ms
    assert endpoint.device_info == DeviceInfo(DeviceType.GPU, (GpuDevice("T4"),))
    assert endpoint.engine is None
    assert set(endpoint.models) == {
        Model("e", frozenset({Capability.EMBEDDINGS}), 8192),
        Model("odd"),
    }


@pytest.mark.parametrize("wal", [False, True])
async def test_it_is_never_written_and_never_renamed(
    opened: OpenStore, rust: Path, wal: bool
) -> None:
    make(rust, LATEST, {"endpoints": [ENDPOINT]}, wal=wal)
    before = rust.read_bytes()
    rust.chmod(0o444)
    assert len(await (await opened()).endpoints.all()) == 1
    assert rust.read_bytes() == before
    assert [file.name for file in rust.parent.glob("load balancer*")] == [rust.name]


async def test_what_a_crashed_rust_llmlb_left_in_its_journal_is_read_too(
    opened: OpenStore, rust: Path
) -> None:
    make(rust, LATEST, {}, wal=True)
    with closing(sqlite3.connect(rust)) as running:
        with running:
            insert(running, {"endpoints": [ENDPOINT]})
        journal = Path(f"{rust}-wal")
        before = rust.read_bytes(), journal.read_bytes()
        copies = rust.with_name("copy.db"), rust.with_name("copy.db-wal")
        for copy, content in zip(copies, before, strict=True):
            copy.write_bytes(content)
    rust.unlink()
    for copy, name in zip(copies, (rust, journal), strict=True):
        copy.rename(name)
    assert len(await (await opened()).endpoints.all()) == 1
    assert (rust.read_bytes(), journal.read_bytes()) == before


async def test_it_is_imported_once_even_when_its_endpoints_are_deleted_or_it_changes(
    opened: OpenStore, rust: Path
) -> None:
    make(rust, LATEST, {"endpoints": [ENDPOINT]})
    store = await opened()
    await store.endpoints.delete(EndpointId(ID))
    await store.close()
    with closing(sqlite3.connect(rust)) as running, running:
        insert(
            running, {"endpoints": [{**ENDPOINT, "id": "x", "name": "y", "base_url": "http://y"}]}
        )
    assert await (await opened()).endpoints.all() == []


async def test_it_comes_before_the_json_files_of_still_older_versions(
    opened: OpenStore, rust: Path
) -> None:
    make(rust, LATEST, {"endpoints": [ENDPOINT]})
    older = [{"name": "older", "base_url": "http://box.lan:11434"}]
    (rust.parent / "endpoints.json").write_text(json.dumps(older))
    (endpoint,) = await (await opened()).endpoints.all()
    assert endpoint.name == "box"
    assert endpoint.notes == (
        "mine\nendpoints.json also has 'older' with this URL; it was not added."
    )


async def test_missing_tables_are_nothing_to_import(opened: OpenStore, rust: Path) -> None:
    make(rust, "CREATE TABLE _sqlx_migrations (version BIGINT)", {})
    store = await opened()
    assert await store.endpoints.all() == []


async def test_endpoints_without_a_table_of_models_are_imported(
    opened: OpenStore, rust: Path
) -> None:
    make(rust, SEED + "DROP TABLE endpoint_models;", {"endpoints": [ENDPOINT]})
    assert len(await (await opened()).endpoints.all()) == 1


@pytest.mark.parametrize("content", [b"no database at all" * 99, b""], ids=["not SQLite", "empty"])
async def test_what_is_no_database_of_rust_is_named_and_left_alone(
    opened: OpenStore, rust: Path, content: bytes
) -> None:
    rust.parent.mkdir()
    rust.write_bytes(content)
    with capture_logs() as logs:
        await opened()
    assert [(log["log_level"], log["file"]) for log in logs] == [("error", str(rust))]
    assert rust.read_bytes() == content


async def test_a_rust_database_without_a_readable_endpoint_is_tried_again(
    opened: OpenStore, rust: Path
) -> None:
    make(rust, SEED, {"endpoints": [{**ENDPOINT, "base_url": "box"}]})
    for _ in range(2):
        with capture_logs() as logs:
            await (await opened()).close()
        assert "did you mean http://box" in logs[0]["reason"]
