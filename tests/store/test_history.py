"""What the history holds, that it is found by index, and that its oldest part goes."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmlb.accounting import Outcome, Usage
from llmlb.records import Bodies, RequestRecord
from llmlb.store import clients as client_statements
from llmlb.store import history as history_statements
from llmlb.store import history_pruning as pruning_statements
from llmlb.store import history_search as search
from llmlb.store import history_text as text_statements
from llmlb.store import history_ways as ways
from llmlb.store.connection import connect
from llmlb.store.history import Count
from llmlb.store.history_rows import REQUEST_TYPES, ROW_BYTES, api_of, row_of
from llmlb.store.history_search import HistorySearch, outcomes_of
from llmlb.store.history_ways import (
    NEWEST,
    Place,
    count_statement,
    end_statement,
    length_statement,
    page_statement,
)
from llmlb.store.opening import Store
from llmlb.types import Api
from tests.fakes.records import AT, record, refused
from tests.store.conftest import OpenStore

EVERYTHING = HistorySearch()


async def ids(store: Store, wanted: HistorySearch = EVERYTHING, most: int = 50) -> list[str]:
    return [row["id"] for row in (await store.history.search(wanted, most)).rows]


# -- rows


async def test_a_record_becomes_a_row_with_all_that_it_says(store: Store) -> None:
    whole = record(bodies=Bodies("asked", "answered"), usage=Usage(10, 20, None, estimated=True))
    await store.history.write([whole])

    row = await store.history.find("row-0")

    assert row is not None
    decision = json.loads(row.pop("decision"))
    assert {name for name, value in row.items() if value is None} == {
        "endpoint_ip",
        "error_code",
        "error_message",
    }
    assert row["timestamp"] == "2026-03-01T12:00:00.000000Z"
    assert (row["total_tokens"], row["tokens_estimated"], row["stream"]) == (30, 1, 1)
    assert row["tokens_per_s"] == pytest.approx(100)
    assert (row["request_body"], row["response_body"]) == ("asked", "answered")
    (decided,) = decision["decisions"]
    assert (decided["answer"], decided["endpoint_id"]) == ("granted", "e1")
    chosen, left_out = decided["candidates"]
    assert (chosen["latency_ms"], chosen["excluded"]) == (120.5, None)
    assert (left_out["latency_ms"], left_out["excluded"]) == (None, "offline")
    assert [tried["outcome"] for tried in decision["attempts"]] == ["succeeded"]


async def test_what_is_not_known_is_left_empty(store: Store) -> None:
    await store.history.write([refused(client_address=None, key_id=None)])
    (row,) = (await store.history.search(EVERYTHING, 5)).rows
    for column in ("total_tokens", "endpoint_id", "client_group", "api_key_id"):
        assert row[column] is None
    assert (row["attempts"], row["outcome"], row["http_status"]) == (0, "refused", 404)


async def test_the_same_record_twice_is_one_row(store: Store) -> None:
    """A write that was reported as failed may have been none."""
    await store.history.write([record(1)])
    await store.history.write([record(1), record(2)])
    assert await ids(store) == ["row-2", "row-1"]
    assert (await store.history.size())[0] == 2


async def test_texts_that_no_column_can_hold_do_no_harm(store: Store) -> None:
    odd = record(model="\ud800 \x00", error_message="\udfff", usage=Usage(2**70, -(2**70), 2**80))
    await store.history.write([odd])
    (row,) = (await store.history.search(HistorySearch(text="\ud800"), 5)).rows
    assert row["input_tokens"] == 2**63 - 1


def test_every_api_has_a_name_of_its_own() -> None:
    assert [api_of(REQUEST_TYPES[api]) for api in Api] == list(Api)
    assert api_of("Chat") is None


async def test_the_newest_decision_of_a_request_id_is_found(store: Store) -> None:
    again = record(9, request_id="req-1", model="other")
    await store.history.write([again, record(1)])
    row = await store.history.of_request("req-1")
    assert row is not None
    found = row["decision"]
    assert found == row_of(again)["decision"]
    assert await store.history.of_request("req-2") is None


# -- searching

HAYSTACK = [
    record(0, model="Llama3:70b", endpoint_id="e2", endpoint_name="rack"),
    record(1, api=Api.EMBEDDINGS, model="bge_m3", key_id="k2"),
    record(2, outcome=Outcome.CANCELLED, status=499, client_address="2001:db8::1:2"),
    record(3, outcome=Outcome.FAILED, error_code="upstream_error", error_message="50% broken"),
    refused(4, client_address="2001:db8::77", key_id=None),
    record(5, bodies=Bodies('{"say": "needle"}', None)),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "543210"),
        ({"model_part": "LLAMA3"}, "5320"),
        ({"model_part": "_"}, "1"),
        ({"model_part": "nothing"}, ""),
        ({"model_part": "nothing", "api_key_id": "k1"}, ""),
        ({"endpoint_id": "e2"}, "0"),
        ({"outcomes": outcomes_of(success=True)}, "510"),
        ({"outcomes": outcomes_of(success=False)}, "432"),
        ({"outcomes": outcomes_of(success=False), "endpoint_id": "e1"}, "32"),
        ({"error_code": "upstream_error"}, "3"),
        ({"api_key_id": "k2"}, "1"),
        ({"api_key_id": "k1", "model_part": "3:8"}, "532"),
        ({"client": "2001:db8::1:2"}, "2"),
        ({"client": "2001:db8::/64"}, "42"),
        ({"client": "10.0.0.7", "request_type": Api.EMBEDDINGS}, "1"),
        ({"request_id": "req-3"}, "3"),
        ({"request_type": Api.EMBEDDINGS}, "1"),
        ({"time_from": AT + timedelta(seconds=2), "time_to": AT + timedelta(seconds=3)}, "32"),
        ({"text": "50% B"}, "3"),
        ({"text": "NEEDLE"}, "5"),
        ({"text": "needle", "model_part": "llama"}, "5"),
        ({"text": "rack", "endpoint_id": "e1"}, ""),
        ({"text": "DESK"}, "5321"),
        ({"text": "8b-q4"}, "53210"),
        ({"text": "model_not"}, "4"),
        ({"text": "req-"}, "543210"),
        ({"text": "req-3"}, "3"),
        ({"text": "REQ-3"}, ""),
        ({"text": "eq-3"}, ""),
        ({"text": "q4", "outcomes": outcomes_of(success=False), "client": "2001:db8::/64"}, "2"),
    ],
)
async def test_what_is_looked_for_is_found(
    store: Store, wanted: dict[str, Any], found: str
) -> None:
    await store.history.write(HAYSTACK)
    looked_for = HistorySearch(**wanted)
    assert await ids(store, looked_for) == [f"row-{number}" for number in found]
    assert await store.history.count(looked_for) == Count(len(found), exact=True)


_records = st.lists(
    st.fixed_dictionaries(
        {
            # so that many came at the same time
            "arrived_at": st.integers(0, 3).map(lambda at: AT + timedelta(seconds=at)),
            "model": st.sampled_from("abc"),
            "served_model": st.sampled_from([None, "b", "cb", "d"]),
            "endpoint_name": st.sampled_from([None, "desk", "Bench"]),
            "request_id": st.sampled_from(["b", "bo", "Bo", "ob"]),
            "outcome": st.sampled_from(Outcome),
            "error_code": st.sampled_from([None, "none", "busy"]),
            "error_message": st.sampled_from([None, "", "Not so busy."]),
            "key_id": st.sampled_from(["k1", None]),
            "bodies": st.sampled_from([None, Bodies("x", "y"), Bodies(None, "xBx")]),
        }
    ),
    max_size=25,
)
_searches = st.builds(
    HistorySearch,
    model_part=st.sampled_from([None, "a", ""]),
    outcomes=st.sampled_from([(), *(outcomes_of(success=said) for said in (True, False))]),
    api_key_id=st.sampled_from([None, "k1"]),
    text=st.sampled_from([None, "b", "BO", "bo", "c", "x", "s", "nowhere"]),
    time_from=st.sampled_from([None, AT + timedelta(seconds=1)]),
)


def fits(one: RequestRecord, wanted: HistorySearch) -> bool:
    return (
        (wanted.model_part or "") in one.model
        and (not wanted.outcomes or one.outcome in wanted.outcomes)
        and wanted.api_key_id in (None, one.key_id)
        and (wanted.text is None or says(one, wanted.text))
        and (wanted.time_from is None or one.arrived_at >= wanted.time_from)
    )


def says(one: RequestRecord, text: str) -> bool:
    named = (one.model, one.served_model, one.endpoint_name, one.error_code, one.error_message)
    bodies = () if one.bodies is None else (one.bodies.request, one.bodies.response)
    within = any(text.lower() in (said or "").lower() for said in (*named, *bodies))
    return within or one.request_id.startswith(text)


_bounds = st.fixed_dictionaries(
    {
        (ways, "SLICE"): st.integers(1, 5),
        (ways, "SLOWER"): st.integers(1, 3),
        (history_statements, "MOST_SLICES"): st.integers(1, 4),
        (text_statements, "MOST_NAMES"): st.integers(0, 4),
        (text_statements, "MOST_COMPARED"): st.integers(1, 6),
        (text_statements, "MOST_IDS"): st.integers(1, 4),
        (search, "FEW_ROWS"): st.integers(0, 3),
        (search, "MOST_COMPARED_ROWS"): st.integers(0, 20),
    }
)
"""How much is looked through at once, and what is gone along."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(_records, _searches, _bounds, st.integers(1, 7))
async def test_pages_by_cursor_are_all_there_is_once_and_in_order(  # noqa: PLR0917
    opened: OpenStore,
    monkeypatch: pytest.MonkeyPatch,
    told: list[dict[str, Any]],
    wanted: HistorySearch,
    bounds: dict[tuple[ModuleType, str], Any],
    page: int,
) -> None:
    """However many came at the same time, whatever leads there, and however it is bounded."""
    for (module, name), bound in bounds.items():
        monkeypatch.setattr(module, name, bound)
    store = await opened("sqlite::memory:")
    records = [record(n, **fields) for n, fields in enumerate(told)]
    await store.history.write(records)
    expected = [one for one in records if fits(one, wanted)]
    expected.sort(key=lambda one: (one.arrived_at, records.index(one)), reverse=True)

    found: list[str] = []
    after: Place | None = NEWEST
    while after is not None:
        some = await store.history.search(wanted, page, after=after)
        assert len(some.rows) <= page
        found += [row["id"] for row in some.rows]
        after = some.next

    assert found == [one.id for one in expected]
    skipped = await store.history.search(wanted, page, skip=3)
    assert [row["id"] for row in skipped.rows] == found[3 : 3 + page]
    assert (await store.history.count(wanted)).requests == len(found)
    await store.close()


async def test_what_comes_in_meanwhile_shifts_no_page(store: Store) -> None:
    await store.history.write([record(n) for n in range(4)])
    first = await store.history.search(EVERYTHING, 2)
    await store.history.write([record(9)])
    second = await store.history.search(EVERYTHING, 2, after=first.next or NEWEST)
    assert [row["id"] for row in second.rows] == ["row-1", "row-0"]


async def test_more_than_can_be_counted_fast_is_not_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.history.write([record(n, model=f"m{n % 2}") for n in range(10)])
    monkeypatch.setattr(history_statements, "MOST_COUNTED", 4)
    assert await store.history.count(EVERYTHING) == Count(10, exact=True)
    assert await store.history.count(HistorySearch(model_part="m1")) == Count(4, exact=False)
    assert await store.history.count(HistorySearch(model_part="m")) == Count(4, exact=False)
    monkeypatch.setattr(ways, "MOST_COUNTED_IN", 5)
    of_the_newest = await store.history.count(HistorySearch(text="row", model_part="m1"))
    assert of_the_newest == Count(0, exact=True)
    some = await store.history.count(HistorySearch(request_type=Api.CHAT_COMPLETIONS))
    assert some == Count(4, exact=False)


# -- by index

MANY = 20_000

FILL = f"""
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY} - 1)
INSERT INTO request_history (
    id, timestamp, completed_at, request_id, request_type, model, served_model, endpoint_id,
    endpoint_name, api_key_id, client_ip, client_group, outcome, error_code, error_message,
    duration_ms, has_bodies, kept_bytes
)
SELECT 'row-' || i, strftime('%Y-%m-%dT%H:%M:%f000Z', '2026-03-01', '+' || i || ' seconds'),
       '2026-03-02', 'req-' || i, 'chat', 'model-' || (i % 30), 'model-' || (i % 29),
       'e' || (i % 5), 'desk-' || (i % 5), 'k' || (i % 7), '10.0.0.' || (i % 50),
       '10.0.0.' || (i % 50),
       CASE i % 20 WHEN 0 THEN 'failed' ELSE 'succeeded' END,
       CASE i % 20 WHEN 0 THEN 'upstream_error' END, CASE i % 20 WHEN 0 THEN 'Gone: ' || i END,
       100, i % 100 = 3, 1000
FROM n
"""


@pytest.fixture
async def large(opened: OpenStore) -> Store:
    store = await opened("sqlite::memory:")
    await store._database.run(lambda connection: connection.execute(FILL))
    return store


KINDS = [
    HistorySearch(),
    HistorySearch(model_part="model-7"),
    HistorySearch(model_part="model"),
    HistorySearch(endpoint_id="e1"),
    HistorySearch(outcomes=outcomes_of(success=True)),
    HistorySearch(outcomes=outcomes_of(success=False)),
    HistorySearch(error_code="upstream_error"),
    HistorySearch(api_key_id="k1"),
    HistorySearch(client="10.0.0.7"),
    HistorySearch(request_id="req-7"),
    HistorySearch(request_type=Api.EMBEDDINGS),
    HistorySearch(time_from=AT, time_to=AT + timedelta(hours=1)),
    HistorySearch(text="nowhere"),
    HistorySearch(text="2", time_from=AT),
    HistorySearch(text="nowhere", api_key_id="k1", endpoint_id="e1", model_part="model-1"),
]


async def plans(store: Store, statements: list[tuple[str, tuple[Any, ...]]]) -> list[str]:
    def explain(connection: Any) -> list[str]:
        return [
            row[3]
            for text, values in statements
            for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)
        ]

    return await store._database.run(explain)


@pytest.mark.parametrize("analyzed", [False, True])
async def test_no_search_goes_through_the_table_or_sorts(large: Store, analyzed: bool) -> None:
    if analyzed:  # by an operator, say
        await large._database.run(lambda connection: connection.execute("ANALYZE"))
    for wanted in KINDS:
        direct, searched = await large.history._ways(wanted)
        assert direct or searched, wanted
        for way in direct + searched:
            end = Place("2026-03-01T01:00:00.000000Z", 7)
            explained = await plans(
                large,
                [
                    page_statement(way, NEWEST, None, 50),
                    page_statement(way, NEWEST, end, 50),
                    end_statement(way, NEWEST, 1000),
                    count_statement(way, end, 1000),
                    length_statement(way, 1000),
                ],
            )
            for line in explained:
                assert "SCAN request_history" not in line, (wanted, explained)
                assert "TEMP B-TREE" not in line, (wanted, explained)


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("more", [{}, {"outcomes": outcomes_of(success=True)}, {"time_to": AT}])
async def test_a_text_is_found_by_indexes_of_its_own(
    large: Store, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], analyzed: bool
) -> None:
    """Also where something else is asked for that SQLite would think better of."""
    monkeypatch.setattr(search, "MOST_COMPARED_ROWS", 10_000)
    if analyzed:
        await large._database.run(lambda connection: connection.execute("ANALYZE"))
    indexes: list[str] = []
    for text in ("model-28", "desk-4", "req-1999"):
        direct, searched = await large.history._ways(HistorySearch(text=text, **more))
        for way in direct + searched:
            for statement in (page_statement(way, NEWEST, None, 50), end_statement(way, NEWEST, 9)):
                (line, *_) = await plans(large, [statement])
                indexes += re.findall(r"^SEARCH request_history USING .*INDEX (\w+)", line)
    found = Counter(name.removeprefix("request_history_") for name in indexes)
    assert found == {
        "by_model": 2,
        "by_served_model": 2,
        "by_endpoint_name": 2,
        "by_request_id": 2 * (3 + 10),  # the texts themselves, and req-19990 to req-19999
        "with_errors": 2 * 3,
        "with_bodies": 2 * 3,
    }


async def test_no_text_is_looked_through_beyond_a_page_that_is_full(
    large: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices: list[Place | None] = []

    def counting(*args: Any) -> tuple[list[Place], Place | None]:
        slices.append(args[-1])
        return ways.slice_of(*args)

    monkeypatch.setattr(ways, "SLICE", 100)  # of 1,000 requests with errors, 200 with bodies
    monkeypatch.setattr(history_statements, "slice_of", counting)
    found = await large.history.search(HistorySearch(text="model-1"), 50)
    assert len(found.rows) == 50
    assert slices == [found.next] * 2


async def test_no_other_statement_of_the_history_goes_through_the_table(large: Store) -> None:
    texts = {
        f"{module.__name__}.{name}": text
        for module in (
            history_statements,
            client_statements,
            pruning_statements,
            text_statements,
        )
        for name, text in vars(module).items()
        if isinstance(text, str) and text.startswith(("SELECT", "DELETE"))
    }
    assert len(texts) > 10
    for name, text in texts.items():
        explained = await plans(large, [(text, (1,) * text.count("?"))])
        # the oldest are taken from the end of the index
        allowed = "INDEX request_history_by_time" if name.endswith("_DELETE_OLDEST") else None
        for line in explained:
            assert "SCAN request_history" not in line or (allowed and allowed in line), name


async def test_a_large_history_is_found_all_the_same(large: Store) -> None:
    assert await ids(large, HistorySearch(text="req-77"), 1) == ["row-7799"]
    nothing = await large.history.search(HistorySearch(text="nowhere"), 5)
    assert (nothing.rows, nothing.next) == ([], None)
    assert await ids(large, HistorySearch(request_id="req-77")) == ["row-77"]
    rare = await ids(large, HistorySearch(model_part="model-7", outcomes=(Outcome.FAILED,)), 1)
    assert rare == []
    count = await large.history.count(HistorySearch(outcomes=(Outcome.SUCCEEDED,)))
    assert count == Count(10_000, exact=False)


# -- the oldest goes


async def test_what_is_too_old_goes_a_chunk_at_a_time(large: Store) -> None:
    bound = AT.replace(hour=0) + timedelta(seconds=1200)
    gone: list[int] = []
    while not gone or gone[-1]:
        gone.append(await large.history.prune(bound, MANY, MANY * 2000))
    assert gone == [200] * 6 + [0]
    assert (await large.history.size())[0] == MANY - 1200
    oldest = await large.history.search(EVERYTHING, 5, skip=MANY - 1201)
    assert [row["id"] for row in oldest.rows] == ["row-1200"]


@pytest.mark.parametrize(
    ("requests", "n_bytes"), [(MANY - 700, MANY * 2000), (MANY, (MANY - 700) * 1000)]
)
async def test_what_is_too_much_goes(large: Store, requests: int, n_bytes: int) -> None:
    while await large.history.prune(None, requests, n_bytes):
        pass
    assert MANY - 702 <= (await large.history.size())[0] <= MANY - 700
    assert await ids(large, HistorySearch(request_id="req-0")) == []
    assert await ids(large, HistorySearch(request_id="req-800")) == ["row-800"]


async def test_the_books_of_size_and_models_are_right(store: Store) -> None:
    """They are kept by the database itself, so whoever deletes a row cannot forget them."""
    body = "é" * 10
    await store.history.write([record(0, bodies=Bodies(body, None)), record(1, model="other")])
    (_, kept_bytes) = await store.history.size()
    decisions = sum(len(str(row_of(one)["decision"])) for one in (record(0), record(1)))
    assert kept_bytes >= 2 * ROW_BYTES + 20 + decisions
    await store._database.run(lambda c: c.execute("DELETE FROM request_history WHERE id = 'row-0'"))
    read = store._database.read
    assert await read(lambda s: text_statements.matching_models(s, "")) == ["other"]
    assert await read(lambda s: s.rows("SELECT COUNT(*) AS n FROM request_details")) == [{"n": 1}]
    assert (await store.history.size())[0] == 1


async def test_pages_that_become_free_are_given_back_bit_by_bit(
    opened: OpenStore, database: Path
) -> None:
    store = await opened()
    large = [record(n, bodies=Bodies("x" * 16_000, None)) for n in range(400)]
    await store.history.write(large)
    full = await pages(store)
    while await store.history.prune(None, 0, 10**9):
        pass
    assert await pages(store) == full
    given_back: list[int] = []
    while not given_back or given_back[-1]:
        given_back.append(await store.history.shrink())
    assert max(given_back) == pruning_statements.PAGES
    assert await pages(store) < full / 4


async def test_an_older_file_keeps_its_pages_and_uses_them_again(
    opened: OpenStore, database: Path
) -> None:
    database.parent.mkdir()
    older = connect(str(database))
    older.execute("CREATE TABLE x (y)")  # as a file was begun before there was auto_vacuum
    older.execute("DROP TABLE x")
    older.close()
    store = await opened()
    await store.history.write([record(n, bodies=Bodies("x" * 16_000, None)) for n in range(99)])
    while await store.history.prune(None, 0, 10**9):
        pass
    full = await pages(store)
    assert await store.history.shrink() == 0
    await store.history.write([record(n, bodies=Bodies("x" * 16_000, None)) for n in range(99)])
    assert await pages(store) <= full + 5


async def pages(store: Store) -> int:
    (row,) = await store._database.read(lambda s: s.rows("PRAGMA page_count"))
    return int(row["page_count"])
