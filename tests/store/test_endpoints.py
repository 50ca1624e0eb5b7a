from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmlb.errors import Conflict, NotFound
from llmlb.store.columns import (
    capabilities_of,
    device_json,
    device_of,
    instant_of,
    instant_text,
    json_of,
    overruled_of,
    pairs_of,
)
from llmlb.store.opening import Store
from llmlb.store.rows import ALL, endpoint_of, values
from llmlb.types import (
    Capability,
    DeviceInfo,
    DeviceType,
    Endpoint,
    EndpointId,
    Engine,
    GpuDevice,
    Mode,
    Model,
    Status,
)
from tests.store.conftest import MakeEndpoint, OpenStore

FULL = {
    "status": Status.ERROR,
    "mode": Mode.DRAINING,
    "latency_ms": 12.25,
    "device_info": DeviceInfo(
        DeviceType.GPU, (GpuDevice("RTX 4090", 24 * 2**30, 1), GpuDevice("?", None, None))
    ),
    "device_note": "no route",
    "engine": Engine.LLAMACPP,
    "api_key": "sk-secret",
    "extra_headers": (("X-Team", "a; b"), ("X-Team", "c")),
    "tls_verify": False,
    "ca_certificate": "-----BEGIN CERTIFICATE-----",
    "health_check_interval_s": 7.5,
    "inference_timeout_s": 600,
    "max_concurrency": 3,
    "engine_concurrency": 4,
    "model_aliases": (("fast", "org/a:b"), ("„", "a")),
    "model_capabilities": (("a", frozenset({Capability.EMBEDDINGS, Capability.AUDIO_SPEECH})),),
    "notes": "two\nlines – and “quotes”",
    "declared": True,
    "models": (
        Model("z", frozenset({Capability.EMBEDDINGS, Capability.CHAT_COMPLETION}), 4096),
        Model("a"),
    ),
    "last_seen_at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "last_error": "HTTP 500",
    "error_count": 1,
}


async def test_everything_comes_back_as_it_was_but_not_as_probed(
    opened: OpenStore, endpoint: MakeEndpoint
) -> None:
    store = await opened()
    given_endpoint = endpoint(**FULL)
    await store.endpoints.insert(replace(given_endpoint, probed=True, synced=True))
    await store.close()
    store = await opened()
    assert await store.endpoints.all() == [given_endpoint]


async def test_a_cpu_only_endpoint_without_anything_else_is_kept(
    store: Store, endpoint: MakeEndpoint
) -> None:
    plain = endpoint(device_info=DeviceInfo(DeviceType.CPU))
    await store.endpoints.insert(plain)
    assert await store.endpoints.all() == [plain]


async def test_they_come_in_order_of_registration(store: Store, endpoint: MakeEndpoint) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    in_tokyo = timezone(timedelta(hours=9))
    later = endpoint(registered_at=now + timedelta(microseconds=1))
    first = endpoint(registered_at=now.astimezone(in_tokyo))
    second = endpoint(registered_at=now)
    for one in (later, first, second):
        await store.endpoints.insert(one)
    assert [e.id for e in await store.endpoints.all()] == [first.id, second.id, later.id]


@pytest.mark.parametrize("field", ["id", "name", "base_url"])
async def test_what_must_be_unique_is_a_conflict_that_names_the_field(
    store: Store, endpoint: MakeEndpoint, field: str
) -> None:
    first = endpoint()
    await store.endpoints.insert(first)
    with pytest.raises(Conflict) as refused:
        await store.endpoints.insert(endpoint(**{field: getattr(first, field)}))
    assert refused.value.param == field
    assert await store.endpoints.all() == [first]


async def test_an_update_keeps_what_the_operator_sets_and_only_that(
    store: Store, endpoint: MakeEndpoint
) -> None:
    before = endpoint()
    await store.endpoints.insert(before)
    wanted = endpoint(**FULL, id=before.id)
    await store.endpoints.update(wanted)
    (after,) = await store.endpoints.all()
    assert after == replace(
        before,
        name=wanted.name,
        base_url=wanted.base_url,
        mode=wanted.mode,
        api_key=wanted.api_key,
        extra_headers=wanted.extra_headers,
        tls_verify=wanted.tls_verify,
        ca_certificate=wanted.ca_certificate,
        health_check_interval_s=wanted.health_check_interval_s,
        inference_timeout_s=wanted.inference_timeout_s,
        max_concurrency=wanted.max_concurrency,
        model_aliases=wanted.model_aliases,
        model_capabilities=wanted.model_capabilities,
        notes=wanted.notes,
        declared=True,
    )


async def test_an_update_to_a_name_that_is_taken_is_a_conflict(
    store: Store, endpoint: MakeEndpoint
) -> None:
    first, second = endpoint(), endpoint()
    await store.endpoints.insert(first)
    await store.endpoints.insert(second)
    with pytest.raises(Conflict, match="name"):
        await store.endpoints.update(replace(second, name=first.name))


async def test_an_update_of_nothing_is_not_found(store: Store, endpoint: MakeEndpoint) -> None:
    with pytest.raises(NotFound):
        await store.endpoints.update(endpoint())


async def test_a_deleted_endpoint_is_gone_with_its_models(
    store: Store, endpoint: MakeEndpoint
) -> None:
    gone, kept = endpoint(models=(Model("a"),)), endpoint(models=(Model("a"),))
    await store.endpoints.insert(gone)
    await store.endpoints.insert(kept)
    await store.endpoints.delete(gone.id)
    await store.endpoints.delete(gone.id)
    assert await store.endpoints.all() == [kept]
    await store.endpoints.insert(replace(gone, models=()))
    assert (await store.endpoints.all())[1].models == ()


async def test_what_probes_found_is_kept_for_many_and_skips_the_deleted(
    store: Store, endpoint: MakeEndpoint
) -> None:
    first, second, gone = endpoint(models=(Model("old"),)), endpoint(), endpoint()
    await store.endpoints.insert(first)
    await store.endpoints.insert(second)
    found = endpoint(**FULL)
    await store.endpoints.save_observed(
        [
            replace(found, id=first.id, name="not saved"),
            replace(gone, status=Status.ONLINE),
            replace(second, status=Status.OFFLINE),
        ]
    )
    assert await store.endpoints.all() == [
        replace(
            first,
            status=found.status,
            engine=found.engine,
            engine_concurrency=found.engine_concurrency,
            device_info=found.device_info,
            device_note=found.device_note,
            last_seen_at=found.last_seen_at,
            last_error=found.last_error,
            error_count=found.error_count,
            models=found.models,
        ),
        replace(second, status=Status.OFFLINE),
    ]


async def test_models_that_an_endpoint_lists_twice_or_oddly_are_kept_as_can_be(
    store: Store, endpoint: MakeEndpoint
) -> None:
    odd = endpoint(models=(Model("b", max_tokens=10**40), Model("a"), Model("b"), Model("\udc80")))
    await store.endpoints.insert(odd)
    (stored,) = await store.endpoints.all()
    assert stored.models == (Model("b", max_tokens=2**63 - 1), Model("a"), Model("\\udc80"))


BROKEN = {
    "status": "sleeping",
    "mode": "off",
    "latency_ms": "fast",
    "device_info": "{",
    "engine": "abacus",
    "extra_headers": '[["a"]]',
    "tls_verify": "perhaps",
    "ca_certificate": b"\x00",
    "health_check_interval_s": -1,
    "inference_timeout_s": "long",
    "max_concurrency": "many",
    "engine_concurrency": -3,
    "declared": "perhaps",
    "last_seen_at": "yesterday",
    "error_count": "some",
    "registered_at": "once",
    "notes": b"\x00\x01",
    "model_aliases": '[["a", 1]]',
    "model_capabilities": '[["m", ["juggling"]]]',
}


@pytest.mark.parametrize("column", BROKEN)
async def test_an_unreadable_column_is_replaced_and_logged(
    store: Store, endpoint: MakeEndpoint, column: str
) -> None:
    kept = endpoint(**FULL)
    await store.endpoints.insert(kept)
    spoil = f"UPDATE endpoints SET {column} = ?"
    await store._database.run(lambda opened: opened.execute(spoil, [BROKEN[column]]))
    with capture_logs() as logs:
        (read,) = await store.endpoints.all()
    plain = Endpoint(kept.id, kept.name, kept.base_url, datetime(1970, 1, 1, tzinfo=UTC))
    expected: Any = Mode.DISABLED if column == "mode" else getattr(plain, column)
    changed: dict[str, Any] = {column: expected}
    assert read == replace(kept, **changed)
    assert [(log["log_level"], log["column"]) for log in logs] == [("warning", column)]


async def test_unreadable_models_fall_back_to_chat(store: Store, endpoint: MakeEndpoint) -> None:
    await store.endpoints.insert(endpoint(models=(Model("m", frozenset(Capability), 5),)))
    for capabilities in ("[", "{}", '["juggling"]', "[1]", "[" * 100_000):
        spoil = "UPDATE endpoint_models SET capabilities = ?, max_tokens = 'x'"
        await store._database.write(lambda statements: statements.run(spoil, capabilities))  # noqa: B023
        assert (await store.endpoints.all())[0].models == (Model("m"),)


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_endpoints = st.builds(
    Endpoint,
    id=st.uuids().map(lambda u: EndpointId(str(u))),
    name=_text,
    base_url=_text,
    registered_at=st.datetimes(timezones=st.just(UTC)),
    status=st.sampled_from(Status),
    mode=st.sampled_from(Mode),
    latency_ms=st.none() | st.floats(0, math.inf),
    device_info=st.none()
    | st.builds(
        DeviceInfo,
        st.sampled_from(DeviceType),
        st.lists(
            st.builds(
                GpuDevice,
                st.text("abc 4090", min_size=1).filter(lambda t: t == t.strip()),
                st.none() | st.integers(0, 2**50),
            ),
            max_size=3,
        ).map(tuple),
    ),
    engine=st.none() | st.sampled_from(Engine),
    api_key=st.none() | _text,
    extra_headers=st.lists(st.tuples(_text, _text), max_size=3).map(tuple),
    tls_verify=st.booleans(),
    ca_certificate=st.none() | _text,
    health_check_interval_s=st.floats(0.001, 1e9),
    inference_timeout_s=st.floats(0.001, 1e9),
    max_concurrency=st.none() | st.integers(1, 10**6),
    notes=st.none() | _text,
    model_aliases=st.lists(st.tuples(_text, _text), max_size=3).map(tuple),
    model_capabilities=st.lists(
        st.tuples(_text, st.frozensets(st.sampled_from(Capability), min_size=1)), max_size=3
    ).map(tuple),
    declared=st.booleans(),
    last_seen_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    error_count=st.integers(0, 10**6),
)


@given(_endpoints)
def test_any_endpoint_survives_its_row(given_endpoint: Endpoint) -> None:
    if not given_endpoint.name:
        given_endpoint = replace(given_endpoint, name=given_endpoint.id)
    row = dict(zip(ALL, values(ALL, given_endpoint), strict=True))
    assert endpoint_of(row, ()) == given_endpoint


_zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
_instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=_zones)  # noqa: DTZ001


@given(_instants, _instants)
def test_texts_of_instants_sort_like_instants(one: datetime, other: datetime) -> None:
    texts = sorted([instant_text(one), instant_text(other)])
    assert texts == [instant_text(i) for i in sorted([one, other])]
    assert instant_of(texts[0]) == min(one, other)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-01-02T03:04:05Z", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05.123456789Z", datetime(2025, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2025-01-02T12:04:05+09:00", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02 03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00+09:00", None),
        ("soon", None),
        (17, None),
    ],
)
def test_instants_of_older_files_are_read(text: object, instant: datetime | None) -> None:
    assert instant_of(text) == instant


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_no_json_value_breaks_a_reader(value: object) -> None:
    assert device_of(value) is None
    assert device_of({"device_type": value, "gpu_devices": value}) is None
    cpu = DeviceInfo(DeviceType.CPU)
    assert device_of({"device_type": "CPU", "gpu_devices": value}) == cpu
    assert pairs_of({"a": value}) is None
    assert overruled_of({"a": value}) is None
    assert overruled_of([["a", ["embeddings"]], value]) is None
    assert capabilities_of([value, "embeddings"]) == frozenset({Capability.EMBEDDINGS})
    assert json_of(b"{}") is None


def test_a_device_without_its_names_is_only_what_is_named() -> None:
    told = {"device_type": "GPU", "gpu_devices": [{"name": "A"}, {"name": " "}, 7, {}]}
    device = device_of(told)
    assert device == DeviceInfo(DeviceType.GPU, (GpuDevice("A"),))
    assert device_of(json_of(device_json(device))) == device
