# ruff: noqa: ASYNC240 - these tests look at files, and may block
from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmlb.store import importing
from llmlb.store.import_json import endpoint_from, endpoint_from_node
from llmlb.store.older import Unimportable, UnreadableRecord, id_by_content, json_values
from llmlb.types import (
    Capability,
    DeviceInfo,
    DeviceType,
    Endpoint,
    EndpointId,
    GpuDevice,
    Model,
    Status,
)
from tests.store.conftest import NOW, MakeEndpoint, OpenStore

ID = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER_ID = "0a1b2c3d-0000-4000-8000-000000000002"


def record(name: str = "a", host: str = "a.lan", **fields: Any) -> dict[str, Any]:
    return {"name": name, "base_url": f"http://{host}:8080/v1", **fields}


def node(**fields: Any) -> dict[str, Any]:
    return {
        "id": ID,
        "machine_name": "machine",
        "ip_address": "192.168.1.7",
        "runtime_version": "0.1",
        "runtime_port": 11434,
        "status": "online",
        "registered_at": "2025-10-31T00:00:00Z",
        "last_seen": "2025-11-01T00:00:00Z",
        "gpu_available": False,
        **fields,
    }


def put(database: Path, name: str, content: object) -> Path:
    database.parent.mkdir(exist_ok=True)
    file = database.parent / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


async def report(store: Any) -> list[tuple[Any, ...]]:
    query = """SELECT file_name, record_number, outcome, remark, record IS NOT NULL
               FROM import_records JOIN imports ON imports.id = import_id ORDER BY 1, 2"""
    found: list[tuple[Any, ...]] = await store._database.run(lambda c: list(c.execute(query)))
    return found


def test_an_endpoint_of_endpoints_json_is_read_whole() -> None:
    value = record(
        id=ID.upper(),
        api_key="k",
        status="online",
        health_check_interval_secs=10,
        inference_timeout_secs=600,
        latency_ms=12.5,
        device_info={"device_type": "gpu", "gpu_devices": [{"name": "A", "extra": 1}]},
        notes="n",
        registered_at="2025-01-02T03:04:05+09:00",
        endpoint_type="ollama",
    )
    assert endpoint_from(value, NOW) == Endpoint(
        id=EndpointId(ID),
        name="a",
        base_url="http://a.lan:8080",
        registered_at=datetime(2025, 1, 1, 18, 4, 5, tzinfo=UTC),
        status=Status.PENDING,
        latency_ms=12.5,
        device_info=DeviceInfo(DeviceType.GPU, (GpuDevice("A"),)),
        api_key="k",
        health_check_interval_s=10,
        inference_timeout_s=600,
        notes="n",
    )


def test_what_is_missing_or_odd_in_a_record_becomes_the_default() -> None:
    odd = record(
        id=7,
        api_key=3,
        health_check_interval_secs=0,
        inference_timeout_secs="long",
        latency_ms=True,
        device_info=[],
        created_at="2025-01-01T00:00:00Z",
    )
    endpoint = endpoint_from(odd, NOW)
    assert endpoint == Endpoint(
        EndpointId(id_by_content(odd)), "a", "http://a.lan:8080", datetime(2025, 1, 1, tzinfo=UTC)
    )
    assert endpoint_from(record(), NOW).registered_at == NOW
    assert endpoint_from(record(latency_ms=math.inf), NOW).latency_ms == math.inf
    assert endpoint_from(record(latency_ms=10**400), NOW).latency_ms is None


def test_a_node_becomes_an_endpoint() -> None:
    value = node(
        custom_name="  my box ",
        notes="under the desk",
        tags=["home", "fast"],
        loaded_models=["llama", 7, ""],
        loaded_embedding_models=["nomic-embed"],
        gpu_devices=[{"model": "RTX 4090", "count": 2, "memory": 24}, {"model": "T4", "count": 1}],
        gpu_available=True,
    )
    assert endpoint_from_node(value, NOW) == Endpoint(
        id=EndpointId(ID),
        name="my box",
        base_url="http://192.168.1.7:11435",
        registered_at=datetime(2025, 10, 31, tzinfo=UTC),
        device_info=DeviceInfo(
            DeviceType.GPU, (GpuDevice("RTX 4090", 24), GpuDevice("RTX 4090", 24), GpuDevice("T4"))
        ),
        notes="under the desk\nTags: home, fast",
        models=(Model("llama"), Model("nomic-embed", frozenset({Capability.EMBEDDINGS}))),
        last_seen_at=datetime(2025, 11, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"ip_address": "fd80:0::1"}, "http://[fd80::1]:11435"),
        ({"ip_address": "[::1]"}, "http://[::1]:11435"),
        ({"node_api_port": 9000}, "http://192.168.1.7:9000"),
        ({"agent_api_port": 9001}, "http://192.168.1.7:9001"),
        ({"node_api_port": None, "runtime_port": 79}, "http://192.168.1.7"),
    ],
)
def test_a_nodes_address_becomes_its_url(fields: dict[str, Any], base_url: str) -> None:
    assert endpoint_from_node(node(**fields), NOW).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "device"),
    [
        ({}, DeviceInfo(DeviceType.CPU)),
        ({"gpu_available": None}, None),
        ({"gpu_available": True}, DeviceInfo(DeviceType.GPU, (GpuDevice("GPU"),))),
        (
            {"gpu_available": True, "gpu_model": "T4", "gpu_count": 2},
            DeviceInfo(DeviceType.GPU, (GpuDevice("T4"), GpuDevice("T4"))),
        ),
        ({"gpu_model": "T4"}, DeviceInfo(DeviceType.GPU, (GpuDevice("T4"),))),
        ({"gpu_devices": [{"model": " ", "count": 3}, 4, None]}, DeviceInfo(DeviceType.CPU)),
        ({"gpu_devices": "many"}, DeviceInfo(DeviceType.CPU)),
    ],
)
def test_a_nodes_gpu_fields_become_its_device(
    fields: dict[str, Any], device: DeviceInfo | None
) -> None:
    assert endpoint_from_node(node(**fields), NOW).device_info == device


def test_a_number_of_gpus_that_cannot_be_is_bounded() -> None:
    value = node(gpu_devices=[{"model": "T4", "count": 10**12}] * 3)
    device = endpoint_from_node(value, NOW).device_info
    assert device is not None
    assert len(device.gpu_devices) == 256


@pytest.mark.parametrize(
    ("parse", "value", "why"),
    [
        (endpoint_from, 7, "not an object"),
        (endpoint_from, [record()], "not an object"),
        (endpoint_from, {"base_url": "http://a"}, "no name"),
        (endpoint_from, {"name": " ", "base_url": "http://a"}, "no name"),
        (endpoint_from, {"name": "a"}, "no base_url"),
        (endpoint_from, {"name": "a", "base_url": "a:80"}, "did you mean"),
        (endpoint_from, {"name": "a", "base_url": "http://169.254.169.254"}, "link-local"),
        (endpoint_from_node, node(machine_name=None), "no machine_name"),
        (endpoint_from_node, node(ip_address=None), "no ip_address"),
        (endpoint_from_node, node(ip_address="here"), "not an IP address"),
        (endpoint_from_node, node(runtime_port=None), "no runtime_port"),
        (endpoint_from_node, node(runtime_port=65535), "port"),
    ],
)
def test_a_record_that_says_too_little_is_refused_with_a_reason(
    parse: Any, value: object, why: str
) -> None:
    with pytest.raises(UnreadableRecord, match=why):
        parse(value, NOW)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.lists(_json, max_size=5), st.sampled_from([None, 2]), st.sampled_from(["\n", "", " "]))
def test_arrays_and_values_one_after_another_are_read_alike(
    values: list[Any], indent: int | None, separator: str
) -> None:
    assert list(json_values(json.dumps(values, indent=indent))) == values
    objects = [{"v": value} for value in values] or [{}]
    assert list(json_values(separator.join(map(json.dumps, objects)))) == objects


@given(st.text(alphabet='[]{},":1 \n"ae', max_size=12))
def test_any_text_is_read_as_json_would_or_refused(text: str) -> None:
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        assert list(json_values(text)) == whole
        return
    try:
        list(json_values(text))
    except Unimportable:
        assert whole is None


@given(_json)
def test_any_record_is_read_or_refused_with_a_reason(value: object) -> None:
    for parse in (endpoint_from, endpoint_from_node):
        with pytest.raises(UnreadableRecord):
            parse(value, NOW)
    odd = record(id=value, latency_ms=value, device_info=value, notes=value, registered_at=value)
    assert endpoint_from(odd, NOW).name == "a"
    odd = node(id=value, notes=value, tags=value, gpu_devices=value, gpu_count=value)
    assert endpoint_from_node(odd, NOW).name == "machine"


async def test_all_three_files_are_imported_and_renamed(opened: OpenStore, database: Path) -> None:
    put(database, "endpoints.json", [record("a", "a.lan", id=ID)])
    put(database, "nodes.json", [node(id=OTHER_ID, loaded_models=["m"])])
    put(database, "agents.json", [node(id=None, ip_address="10.1.1.1", machine_name="old")])
    store = await opened()
    endpoints = await store.endpoints.all()
    assert {e.name for e in endpoints} == {"a", "machine", "old"}
    assert {e.status for e in endpoints} == {Status.PENDING}
    assert [e.models for e in endpoints if e.id == OTHER_ID] == [(Model("m"),)]
    names = {file.name for file in database.parent.glob("*.json*")}
    assert names == {f"{stem}.json.migrated" for stem in ("endpoints", "nodes", "agents")}


async def test_a_second_start_imports_nothing_even_what_was_deleted(
    opened: OpenStore, database: Path
) -> None:
    content = [record("a", "a.lan", id=ID), record("b", "b.lan")]
    file = put(database, "endpoints.json", content)
    store = await opened()
    await store.endpoints.delete(EndpointId(ID))
    await store.close()
    backup = Path(f"{file}.migrated")
    original = backup.read_bytes()

    file.write_bytes(original)
    store = await opened()
    assert [e.name for e in await store.endpoints.all()] == ["b"]
    assert backup.read_bytes() == original
    assert Path(f"{file}.migrated.1").read_bytes() == original
    await store.close()

    put(database, "endpoints.json", [*content, record("c", "c.lan")])
    store = await opened()
    assert [e.name for e in await store.endpoints.all()] == ["b", "c"]
    assert Path(f"{file}.migrated.2").exists()
    assert not file.exists()


async def test_the_same_name_gets_a_number(
    opened: OpenStore, database: Path, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    await store.endpoints.insert(endpoint(name="a", registered_at=NOW.replace(year=2000)))
    await store.close()
    hosts = ("a.lan", "b.lan", "c.lan")
    put(database, "endpoints.json", [record("a", h) for h in hosts] + [record("a (2)", "d.lan")])
    store = await opened()
    names = [e.name for e in await store.endpoints.all()]
    assert names == ["a", "a (2)", "a (3)", "a (4)", "a (2) (2)"]


async def test_of_two_with_the_same_url_the_first_wins_and_notes_the_other(
    opened: OpenStore, database: Path
) -> None:
    put(
        database,
        "endpoints.json",
        [record("a", "LAN", notes="mine"), record("b", "lan/v1", api_key="k"), record("c", "lan")],
    )
    content = json.loads((database.parent / "endpoints.json").read_text())
    content[1]["base_url"] = "http://lan:8080/"
    put(database, "endpoints.json", content)
    put(database, "nodes.json", [node(machine_name="d", ip_address="10.0.0.9")])
    put(database, "agents.json", [node(id=OTHER_ID, machine_name="e", ip_address="10.0.0.9")])
    store = await opened()
    first, other = sorted(await store.endpoints.all(), key=lambda e: e.name)
    assert first.notes == (
        "mine\n"
        "endpoints.json also has 'b' with this URL; it was not added.\n"
        "endpoints.json also has 'c' with this URL; it was not added."
    )
    assert (other.name, other.notes) == (
        "d",
        "agents.json also has 'e' with this URL; it was not added.",
    )
    assert await report(store) == [
        ("agents.json", 1, "same_url", "'e' has the URL of another endpoint", 1),
        ("endpoints.json", 1, "imported", None, 0),
        ("endpoints.json", 2, "same_url", "'b' has the URL of another endpoint", 1),
        ("endpoints.json", 3, "same_url", "'c' has the URL of another endpoint", 1),
        ("nodes.json", 1, "imported", None, 0),
    ]


async def test_a_node_that_both_older_files_have_is_imported_once(
    opened: OpenStore, database: Path
) -> None:
    put(database, "nodes.json", [node()])
    put(database, "agents.json", [node(ip_address="10.9.9.9")])
    store = await opened()
    assert [e.base_url for e in await store.endpoints.all()] == ["http://192.168.1.7:11435"]


async def test_a_copied_record_with_another_url_is_a_second_endpoint(
    opened: OpenStore, database: Path
) -> None:
    copies = [record("a", "a.lan", id=ID), record("b", "b.lan", id=ID), record("a", "a.lan", id=ID)]
    put(database, "endpoints.json", copies)
    store = await opened()
    first, second = await store.endpoints.all()
    assert first.id == ID
    assert second.id == id_by_content(copies[1])


async def test_a_bad_record_is_left_out_and_reported_and_the_rest_is_imported(
    opened: OpenStore, database: Path
) -> None:
    file = put(database, "endpoints.json", [record("a"), {"name": "b"}, 7, record("c", "c.lan")])
    with capture_logs() as logs:
        store = await opened()
    assert [e.name for e in await store.endpoints.all()] == ["a", "c"]
    assert await report(store) == [
        ("endpoints.json", 1, "imported", None, 0),
        ("endpoints.json", 2, "unreadable", "it has no base_url", 1),
        ("endpoints.json", 3, "unreadable", "it is not an object", 1),
        ("endpoints.json", 4, "imported", None, 0),
    ]
    assert logs == [
        {
            "event": "imported an older file",
            "log_level": "info",
            "file": str(file),
            "imported": 2,
            "unreadable": 2,
            "first_problem": "record 2: it has no base_url",
        }
    ]


CORRUPT = {
    "half an array": b'[{"name": "a", "base_url": "http://a.lan"}, {"name"',
    "no end": b'[{"name": "a", "base_url": "http://a.lan"}',
    "more after the end": b"[] []",
    "no comma": b'[{"name": "a", "base_url": "http://a.lan"} {}]',
    "nothing": b"",
    "blanks": b" \n",
    "no JSON": b"endpoints: []",
    "not UTF-8": b'[{"name": "\xff", "base_url": "http://a.lan"}]',
    "too deep": b"[" * 200_000,
    "no record that can be read": b'[{"url": "http://a.lan"}]',
    "a bare null": b"null",
    "a number too long": b"[" + b"1" * 5000 + b"]",
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_file_is_named_and_left_alone(
    opened: OpenStore, database: Path, content: bytes
) -> None:
    file = put(database, "endpoints.json", "")
    file.write_bytes(content)
    put(database, "nodes.json", [node()])
    with capture_logs() as logs:
        store = await opened()
    assert [e.name for e in await store.endpoints.all()] == ["machine"]
    assert file.read_bytes() == content
    (complaint,) = [log for log in logs if log["log_level"] == "error"]
    assert complaint["file"] == str(file)
    assert complaint["reason"]
    assert [row[0] for row in await report(store)] == ["nodes.json"]


async def test_an_empty_array_is_imported_as_nothing(opened: OpenStore, database: Path) -> None:
    file = put(database, "endpoints.json", "\ufeff []\n")
    store = await opened()
    assert await store.endpoints.all() == []
    assert not file.exists()


async def test_a_corrected_file_is_imported_at_the_next_start(
    opened: OpenStore, database: Path
) -> None:
    put(database, "endpoints.json", "[")
    await (await opened()).close()
    put(database, "endpoints.json", [record()])
    assert len(await (await opened()).endpoints.all()) == 1


async def test_a_file_that_is_too_large_is_named_and_left_alone(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LARGEST_FILE_BYTES", 1024)
    file = put(database, "endpoints.json", [record(notes="n" * 2000)])
    with capture_logs() as logs:
        await opened()
    assert "larger than" in logs[0]["reason"]
    assert file.exists()


async def test_what_is_no_regular_file_is_left_alone(opened: OpenStore, database: Path) -> None:
    database.parent.mkdir()
    os.mkfifo(database.parent / "endpoints.json")
    (database.parent / "nodes.json").mkdir()
    with capture_logs() as logs:
        await opened()
    assert [log["reason"] for log in logs] == ["it is not a file"] * 2


async def test_a_file_that_cannot_be_read_is_named(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(database, "endpoints.json", [record()])
    open_any = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == file:
            raise PermissionError(13, "Permission denied")
        return open_any(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with capture_logs() as logs:
        await opened()
    assert "Permission denied" in logs[0]["reason"]


async def test_a_file_that_cannot_be_renamed_is_not_imported_again(
    opened: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(database, "endpoints.json", [record(id=ID)])

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with capture_logs() as logs:
        store = await opened()
    assert logs[0]["log_level"] == "warning"
    await store.endpoints.delete(EndpointId(ID))
    await store.close()
    assert file.exists()
    assert await (await opened()).endpoints.all() == []


async def test_texts_that_cannot_be_stored_as_they_are_do_not_stop_the_import(
    opened: OpenStore, database: Path
) -> None:
    put(
        database,
        "endpoints.json",
        '[{"name": "\\ud800", "base_url": "http://a.lan", "notes": "\\udfff"}]',
    )
    (read,) = await (await opened()).endpoints.all()
    assert (read.name, read.notes) == ("\\ud800", "\\udfff")
