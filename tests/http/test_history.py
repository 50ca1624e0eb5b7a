"""The routes of the history, of clients and of settings, on a real house."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import trio
from msgspec.structs import replace
from pydantic import TypeAdapter

from llmlb.accounting import Outcome
from llmlb.errors import StoreUnavailable
from llmlb.http.manage import history_export
from llmlb.http.manage.history_export import FORMATS, Export
from llmlb.http.manage.history_json import CSV_COLUMNS, csv_line
from llmlb.http.manage.history_query import cursor_at, place_at
from llmlb.http.openapi import clients as clients_described
from llmlb.http.openapi import history as described
from llmlb.records import Bodies
from llmlb.store import history as history_store
from llmlb.store import history_ways
from llmlb.store.history import Found
from llmlb.store.history_search import HistorySearch
from llmlb.store.history_ways import Place
from tests.fakes.asgi import Request
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import NOW
from tests.fakes.records import record, refused
from tests.fakes.served import Served

HISTORY, CLIENTS = "/api/dashboard/request-responses", "/api/dashboard/clients"


async def look(served: Served, path: str = HISTORY, **query: object) -> Request:
    return await served("GET", path, query_string=urlencode(query).encode())


async def shown(served: Served, path: str, shape: Any, **query: object) -> Any:
    """An answer, which has to be of that shape."""
    reply = await look(served, path, **query)
    assert reply.status == 200, reply.body
    TypeAdapter(shape).validate_json(reply.body, strict=True)
    return reply.json


async def ids(served: Served, **query: object) -> list[str]:
    page = await shown(served, HISTORY, described.RequestListShown, **query)
    return [one["id"] for one in page["records"]]


async def past(served: Served, *records: Any) -> None:
    """Let these requests have been."""
    await served.app.house.store.history.write(records)


# -- the list


async def test_a_request_is_shown_in_the_words_of_the_older_product_and_ours(
    served: Served,
) -> None:
    await past(served, record(0))
    page = await shown(served, HISTORY, described.RequestListShown)
    (one,) = page.pop("records")
    assert page == {
        "total_count": 1,
        "total_is_exact": True,
        "page": 1,
        "per_page": 10,
        "next_cursor": None,
    }
    assert (one["request_type"], one["status"]) == ("chat", {"type": "success", "message": None})
    assert (one["client_ip"], one["endpoint_name"], one["total_tokens"]) == ("10.0.0.7", "desk", 30)
    assert (one["stream"], one["tokens_estimated"], one["attempts"]) == (True, False, 1)
    assert "request_body" not in one


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "3210"),
        ({"model": "3:8"}, "320"),
        ({"endpoint_id": "e1"}, "320"),
        ({"agent_id": "e2"}, ""),
        ({"node_id": "e1", "status": "success"}, "30"),
        ({"status": "error"}, "21"),
        ({"outcome": "cancelled", "status": "error"}, "2"),
        ({"outcome": ""}, "3210"),
        ({"error_code": "model_not_found"}, "1"),
        ({"api_key_id": "k1"}, "3210"),
        ({"start_time": "2026-03-01T12:00:01Z", "end_time": "2026-03-01T13:00:02+01:00"}, "21"),
        ({"client_ip": "2001:db8::1"}, "3"),
        ({"client_ip": "2001:db8::/64"}, "3"),
        ({"request_id": "req-2"}, "2"),
        ({"request_type": "embeddings"}, ""),
        ({"q": "no model"}, "1"),
    ],
)
async def test_requests_are_searched(served: Served, query: dict[str, str], found: str) -> None:
    left = {"outcome": Outcome.CANCELLED, "status": 499}
    six = record(3, client_address="2001:db8::1")
    await past(served, record(0), refused(1), record(2, **left), six)
    assert await ids(served, **query) == [f"row-{number}" for number in found]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "odd"}, "status"),
        ({"outcome": "odd"}, "outcome"),
        ({"outcome": "succeeded", "status": "error"}, "outcome"),
        ({"request_type": "odd"}, "request_type"),
        ({"start_time": "now"}, "start_time"),
        ({"start_time": "2026-03-02T00:00:00Z", "end_time": "2026-03-01T00:00:00Z"}, "start_time"),
        ({"q": "x" * 201}, "q"),
        ({"page": "0"}, "page"),
        ({"page": "1002"}, "page"),
        ({"limit": "101"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "A"}, "cursor"),
        ({"cursor": cursor_at(Place("~", 3))}, "cursor"),
        ({"cursor": cursor_at(Place("2026-03-01T12:00:00Z", 2**70))}, "cursor"),
        ({"format": "xml"}, "format"),
    ],
)
async def test_what_cannot_be_asked_for_names_the_field(
    served: Served, query: dict[str, str], field: str
) -> None:
    path = f"{HISTORY}/export" if field == "format" else HISTORY
    reply = await look(served, path, **query)
    assert (reply.status, reply.error["param"]) == (400, field)


async def test_pages_are_those_of_the_older_product(served: Served) -> None:
    await past(served, *(record(n) for n in range(30)))
    assert await ids(served, page=2) == [f"row-{n}" for n in range(19, 9, -1)]
    assert len(await ids(served, per_page=25)) == 25
    assert len(await ids(served, per_page=7)) == 10
    assert await ids(served, limit=2, offset=28) == ["row-1", "row-0"]


async def test_cursors_lead_through_all_of_it(served: Served) -> None:
    await past(served, *(record(n) for n in range(25)))
    found: list[str] = []
    query: dict[str, str] = {}
    while True:
        page = await shown(served, HISTORY, described.RequestListShown, **query)
        found += [one["id"] for one in page["records"]]
        if page["next_cursor"] is None:
            break
        query = {"cursor": page["next_cursor"]}
    assert found == [f"row-{n}" for n in range(24, -1, -1)]


def test_a_cursor_is_opaque_and_leads_where_it_was_made() -> None:
    place = Place("2026-03-01T12:00:00.000001Z", 2**63 - 1)
    assert place_at(cursor_at(place)) == place
    assert "2026" not in cursor_at(place)


async def test_one_request_is_shown_with_why_it_went_where_it_went(served: Served) -> None:
    await past(served, record(0, bodies=Bodies("<script>", None)), refused(1))
    one = await shown(served, f"{HISTORY}/row-0", described.WholeRequestShown)
    assert (one["request_body"], one["response_body"]) == ("<script>", None)
    assert one["decisions"][0]["candidates"][1]["excluded"] == "offline"
    assert one["tries"][0]["outcome"] == "succeeded"
    other = await shown(served, f"{HISTORY}/row-1", described.WholeRequestShown)
    assert other["status"] == {"type": "error", "message": "There is no model 'x'."}
    reply = await look(served, f"{HISTORY}/row-9")
    assert (reply.status, reply.error["code"]) == (404, "not_found")


# -- the export


def lines(reply: Request) -> list[list[str]]:
    assert reply.complete
    return list(csv.reader(io.StringIO(reply.body.decode(), newline="")))


async def test_csv_has_the_older_columns_first_and_calculates_nothing(served: Served) -> None:
    odd = {"model": "=1+1", "error_message": 'no, "never"\nagain', "endpoint_name": "@desk"}
    await past(served, record(0), refused(1, **odd), refused(2, model="\tx", request_id="-1"))
    reply = await look(served, f"{HISTORY}/export")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"] == 'attachment; filename="request_history.csv"'
    header, second, first, plain = lines(reply)
    assert ",".join(header).startswith(
        "id,timestamp,request_type,model,runtime_id,runtime_machine_name,runtime_ip,client_ip,"
        "duration_ms,status,completed_at,"
    )
    row = dict(zip(header, first, strict=True))
    assert (row["model"], row["runtime_machine_name"]) == ("'=1+1", "'@desk")
    assert row["status"] == 'error: no, "never"\nagain'
    assert dict(zip(header, plain, strict=True))["status"] == "success"
    row = dict(zip(header, second, strict=True))
    assert (row["model"], row["request_id"]) == ("'\tx", "'-1")


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        " =1+1",
        "\n=1+1",
        "\ufeff=1+1",
        "\u00a0 -1",
        "\uff1d1+1",
        "\uff20x",
        "\u22121",
        "\nx",
    ],
)
def test_no_disguise_makes_a_cell_a_formula(name: str) -> None:
    row = dict.fromkeys(CSV_COLUMNS) | {"outcome": Outcome.SUCCEEDED, "model": name}
    row |= dict.fromkeys(("endpoint_id", "endpoint_name", "endpoint_ip", "error_message"), name)
    (cells,) = csv.reader(io.StringIO(csv_line(row), newline=""))
    assert {cell for cell in cells if name in cell} == {f"'{name}"}


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
async def test_every_format_holds_all_that_is_asked_for(
    served: Served, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(history_export, "PAGE", 3)
    monkeypatch.setattr(history_ways, "SLICE", 2)  # so that some pages hold less, or nothing
    monkeypatch.setattr(history_store, "MOST_SLICES", 1)
    await past(served, *(record(n, bodies=Bodies("é", "x")) for n in range(count)))
    await past(served, *(refused(99 + n) for n in range(5)))
    expected = [f"row-{n}" for n in range(count - 1, -1, -1)]
    asked: dict[str, Any] = {"q": "llama"}
    table = lines(await look(served, f"{HISTORY}/export", **asked))
    assert table[0] == list(CSV_COLUMNS)
    assert [line[0] for line in table[1:]] == expected
    array = (await look(served, f"{HISTORY}/export", format="json", **asked)).json
    assert [one["id"] for one in array] == expected
    TypeAdapter(list[described.WholeRequestShown]).validate_json(json.dumps(array))
    reply = await look(served, f"{HISTORY}/export", format="jsonl", **asked)
    assert reply.complete
    assert [json.loads(line)["id"] for line in reply.body.splitlines()] == expected
    assert all(one["request_body"] == "é" for one in array)


@pytest.mark.parametrize("name", ["csv", "json", "jsonl"])
async def test_half_a_character_that_an_endpoint_spelt_breaks_no_export(
    served: Served, name: str
) -> None:
    odd = replace(record().attempts[0], reason="It broke: \ud800")
    await past(served, refused(0, attempts=(odd,), error_message=odd.reason))
    reply = await look(served, f"{HISTORY}/export", format=name)
    assert reply.complete
    if name != "csv":
        (one,) = json.loads(reply.body if name == "json" else b"[" + reply.body + b"]")
        assert one["tries"][0]["reason"] == odd.reason


async def test_an_export_whose_page_fails_is_broken_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_export, "PAGE", 2)
    await past(served, *(record(n) for n in range(5)))
    history = served.app.house.store.history
    search, asked = history.search, 0

    async def fails_at_last(*args: Any, **more: Any) -> Found:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise StoreUnavailable("The disk is gone.")
        return await search(*args, **more)

    monkeypatch.setattr(history, "search", fails_at_last)
    reply = await look(served, f"{HISTORY}/export", format="json")
    assert reply.status == 200
    assert not reply.complete
    asked = 2
    reply = await look(served, f"{HISTORY}/export")
    assert (reply.status, reply.error["code"]) == (503, "store_unavailable")


async def test_a_client_that_takes_a_large_page_slowly_gets_it_all(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = Bodies("x" * history_export.PIECE_CHARS, "y" * history_export.PIECE_CHARS)
    await past(served, *(record(n, bodies=bodies) for n in range(5)))
    largest = 0

    class Slow(FakeDownstream):
        async def send(self, data: bytes) -> None:
            nonlocal largest
            largest = max(largest, len(data))
            await trio.sleep(len(data) / 10_000)
            await super().send(data)

    client = Slow()
    history = served.app.house.store.history
    export = Export(history, HistorySearch(), FORMATS["jsonl"], "r1")
    began_s = trio.current_time()
    await export.run(await export.page(), client)

    assert len(client.body.splitlines()) == 5
    assert not client.aborted
    assert trio.current_time() - began_s > 2 * history_export.TAKING_LIMIT_S
    assert largest < 4 * history_export.PIECE_CHARS


async def test_a_client_that_takes_no_more_of_an_export_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_export, "PAGE", 2)
    await past(served, *(record(n) for n in range(5)))
    stuck = served.request("GET", f"{HISTORY}/export", stuck_at="http.response.body")
    began_s = trio.current_time()
    served.begin(stuck)
    await trio.sleep(history_export.TAKING_LIMIT_S + 1)
    assert not stuck.complete
    assert len(stuck.answer) == 2, "nothing more was written for it"
    assert trio.current_time() - began_s < 60
    stuck.leave()


async def test_the_head_of_an_export_reads_nothing(served: Served) -> None:
    reply = await served("HEAD", f"{HISTORY}/export")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "method"),
    [(HISTORY, "search"), (f"{HISTORY}/x", "find"), (f"{HISTORY}/export", "search")],
)
async def test_a_database_that_does_not_answer_is_not_waited_for_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch, path: str, method: str
) -> None:
    async def for_ever(*_: Any, **__: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(served.app.house.store.history, method, for_ever)
    began_s = trio.current_time()
    reply = await look(served, path)
    assert (reply.status, reply.error["code"]) == (503, "store_unavailable")
    assert trio.current_time() - began_s == pytest.approx(30, abs=1)


# -- clients


def ago(number: int, hours: float, address: str = "10.0.0.7", **more: Any) -> Any:
    return record(number, arrived_at=NOW - timedelta(hours=hours), client_address=address, **more)


async def test_clients_are_ranked_and_the_noisy_are_marked(served: Served) -> None:
    await past(
        served,
        *(ago(n, 0.1 * n, "2001:db8::" + str(n), key_id=f"k{n % 2}") for n in range(4)),
        ago(10, 2),
        ago(11, 23, key_id=None),
        ago(12, 25),
        ago(13, 1, None),  # type: ignore[arg-type]
    )
    await served("PUT", "/api/dashboard/settings/ip_alert_threshold", b'{"value": "4"}')
    page = await shown(served, CLIENTS, clients_described.ClientListShown)
    six, four = page["rankings"]
    assert six == {
        "ip": "2001:db8::/64",
        "request_count": 4,
        "last_seen": "2026-03-01T12:00:00.000000Z",
        "is_alert": True,
        "api_key_count": 2,
    }
    assert (four["ip"], four["request_count"], four["is_alert"]) == ("10.0.0.7", 2, False)
    assert (page["total_count"], page["page"], page["per_page"]) == (2, 1, 20)
    page = await shown(served, CLIENTS, clients_described.ClientListShown, ip="10.", per_page=1)
    assert ([one["ip"] for one in page["rankings"]], page["total_count"]) == (["10.0.0.7"], 1)
    page = await shown(served, CLIENTS, clients_described.ClientListShown, per_page=1, page=2)
    assert [one["ip"] for one in page["rankings"]] == ["10.0.0.7"]


async def test_the_timeline_has_each_of_the_last_24_hours(served: Served) -> None:
    await past(served, ago(0, 0), ago(1, 0.5), ago(2, 0.6, "10.0.0.8"), ago(3, 24), ago(4, 24.1))
    hours = await shown(served, f"{CLIENTS}/timeline", list[clients_described.ClientHourShown])
    assert [one["unique_ips"] for one in hours] == [1, *[0] * 22, 2]
    assert hours[0]["hour"] == "2026-02-28T12:00:00.000000Z"


async def test_models_have_their_shares(served: Served) -> None:
    await past(served, *(ago(n, n, model="b" if n else "a") for n in range(3)))
    shares = await shown(served, f"{CLIENTS}/models", list[clients_described.ModelShareShown])
    assert shares == [
        {"model": "b", "request_count": 2, "percentage": 66.7},
        {"model": "a", "request_count": 1, "percentage": 33.3},
    ]


async def test_the_heat_of_a_week_has_a_cell_for_each_hour(served: Served) -> None:
    """It is Sunday, 12 o'clock."""
    await past(served, ago(0, 0), ago(1, 1.5, "10.0.0.8"), ago(2, 24 * 7 - 0.5), ago(3, 24 * 7))
    cells = await shown(served, f"{CLIENTS}/heatmap", list[clients_described.HeatShown])
    assert len(cells) == 168
    assert [(c["day_of_week"], c["hour"]) for c in cells] == [
        (day, hour) for day in range(7) for hour in range(24)
    ]
    warm = {(c["day_of_week"], c["hour"]): c["count"] for c in cells if c["count"]}
    assert warm == {(0, 10): 1, (0, 12): 1}
    of_one = await look(served, f"{CLIENTS}/heatmap", ip="10.0.0.8")
    assert sum(cell["count"] for cell in of_one.json) == 1


@pytest.mark.parametrize("ip", ["2001:db8::9", "2001:db8::/64"])
async def test_one_client_is_shown(served: Served, ip: str) -> None:
    await past(
        served,
        ago(0, 1.5, "2001:db8::1", model="m"),
        ago(1, 3, "2001:db8::2", model="m", outcome=Outcome.FAILED, error_message="broken"),
        ago(2, 30, "2001:db8::2"),
        ago(3, 1),
    )
    one = f"{CLIENTS}/{ip}"
    detail = await shown(served, f"{one}/detail", clients_described.ClientDetailShown)
    assert (detail["total_requests"], detail["first_seen"], detail["last_seen"]) == (
        2,
        "2026-03-01T09:00:00.000000Z",
        "2026-03-01T10:30:00.000000Z",
    )
    assert [one["id"] for one in detail["recent_requests"]] == ["row-0", "row-1"]
    assert detail["recent_requests"][1]["status"] == {"type": "error", "message": "broken"}
    assert detail["model_distribution"] == [{"model": "m", "request_count": 2, "percentage": 100.0}]
    assert [(h["hour"], h["count"]) for h in detail["hourly_pattern"] if h["count"]] == [
        (9, 1),
        (10, 1),
    ]
    keys = await shown(served, f"{one}/api-keys", list[clients_described.KeyUseShown])
    assert keys == [{"api_key_id": "k1", "name": None, "request_count": 2}]


async def test_what_a_clock_that_was_ahead_has_left_behind_counts_nowhere(served: Served) -> None:
    await past(served, ago(0, 1), *(ago(n, -24 * 365, model="later") for n in range(1, 200)))
    listed = await shown(served, CLIENTS, clients_described.ClientListShown)
    [one] = listed["rankings"]
    assert (one["request_count"], one["is_alert"]) == (1, False)
    [share] = (await look(served, f"{CLIENTS}/models")).json
    assert share["request_count"] == 1
    detail = (await look(served, f"{CLIENTS}/10.0.0.7/detail")).json
    assert detail["total_requests"] == sum(h["count"] for h in detail["hourly_pattern"]) == 1
    assert [recent["id"] for recent in detail["recent_requests"]] == ["row-0"]
    [key] = (await look(served, f"{CLIENTS}/10.0.0.7/api-keys")).json
    assert key["request_count"] == 1


async def test_a_client_that_nobody_knows_did_nothing(served: Served) -> None:
    nobody = quote("<b>/../%")
    detail = await shown(served, f"{CLIENTS}/{nobody}/detail", clients_described.ClientDetailShown)
    assert (detail["total_requests"], detail["first_seen"]) == (0, None)
    assert len(detail["hourly_pattern"]) == 24


# -- settings


async def test_a_setting_is_kept_and_the_threshold_is_a_number(served: Served) -> None:
    path = "/api/dashboard/settings/ip_alert_threshold"
    shape = clients_described.SettingShown
    assert (await shown(served, path, shape))["value"] == "100"
    for value in ("0", "-1", "1.5", "many", "", "1" * 10):
        reply = await served("PUT", path, json.dumps({"value": value}).encode())
        assert (reply.status, reply.error["param"]) == (400, "value")
    reply = await served("PUT", path, b'{"value": "7"}')
    assert reply.json == {"key": "ip_alert_threshold", "value": "7"}
    assert (await shown(served, path, shape))["value"] == "7"


async def test_other_settings_are_any_short_text(served: Served) -> None:
    path = "/api/dashboard/settings/theme"
    shape = clients_described.SettingShown
    assert await shown(served, path, shape) == {"key": "theme", "value": ""}
    assert (await served("PUT", path, b'{"value": ""}')).status == 200
    for body, field in (
        (b'{"value": 7}', "value"),
        (b"{}", "value"),
        (json.dumps({"value": "x" * 1001}).encode(), "value"),
    ):
        reply = await served("PUT", path, body)
        assert (reply.status, reply.error["param"]) == (400, field)
    reply = await served("PUT", "/api/dashboard/settings/Odd Name", b'{"value": "x"}')
    assert (reply.status, reply.error["param"]) == (400, "key")
    for n in range(99):
        await served.app.house.store.dashboard_settings.put(f"k{n}", "x", NOW)
    reply = await served("PUT", "/api/dashboard/settings/more", b'{"value": "x"}')
    assert (reply.status, reply.error["code"]) == (409, "conflict")
    assert (await served("PUT", path, b'{"value": "y"}')).status == 200
