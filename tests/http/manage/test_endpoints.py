from __future__ import annotations

from typing import Any

import pytest
import trio

from llmlb.accounting import FinishedRequest, Lease, Outcome, Usage, Verdict
from llmlb.actors.admission.results import Ready
from llmlb.types import Api

UNKNOWN = "00000000-0000-0000-0000-00000000ffff"


async def lease_of(api: Any) -> Lease:
    result = await api.house.admission.wait_for_ready("tiny", Api.CHAT_COMPLETIONS, 10)
    assert isinstance(result, Ready)
    return result.lease


async def test_the_list_is_paged_newest_first(api: Any) -> None:
    for number in range(5):
        await api.registered(f"gpu-{number}")
    first = (await api("GET", "/endpoints?per_page=2")).json
    assert [e["name"] for e in first["endpoints"]] == ["gpu-4", "gpu-3"]
    assert (first["total"], first["page"], first["per_page"]) == (5, 1, 2)
    assert "models" not in first["endpoints"][0]
    assert first["endpoints"][0]["model_count"] == 1
    last = (await api("GET", "/endpoints?per_page=2&page=3")).json
    assert [e["name"] for e in last["endpoints"]] == ["gpu-0"]
    beyond = (await api("GET", "/endpoints?per_page=2&page=4&type=vllm")).json
    assert (beyond["endpoints"], beyond["total"]) == ([], 5)


async def test_the_list_is_filtered_by_status(api: Any) -> None:
    from tests.fakes.surveyor import NoAnswer

    api.surveyor.failures["http://down.lan:8000"] = NoAnswer("connection refused")
    await api.registered("up")
    await api.registered("down")
    listed = {
        status: [
            e["name"] for e in (await api("GET", f"/endpoints?status={status}")).json["endpoints"]
        ]
        for status in ("online", "offline", "pending", "error")
    }
    assert listed == {"online": ["up"], "offline": ["down"], "pending": [], "error": []}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("status=broken", "status"),
        ("status=", "status"),
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.5", "page"),
        ("page=1_0", "page"),
        ("page=" + "9" * 5000, "page"),
        ("per_page=501", "per_page"),
        ("per_page=x", "per_page"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(api: Any, query: str, param: str) -> None:
    answer = await api("GET", f"/endpoints?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize("endpoint_id", [UNKNOWN, "gpu", "%00", "0" * 5000])
async def test_an_endpoint_that_nobody_knows_is_not_found(api: Any, endpoint_id: str) -> None:
    one = f"/endpoints/{endpoint_id}"
    for method, path in (
        ("GET", one),
        ("PUT", one),
        ("PATCH", one),
        ("DELETE", one),
        ("GET", f"{one}/models"),
        ("POST", f"{one}/test"),
        ("POST", f"{one}/sync"),
        ("POST", f"{one}/enable"),
        ("POST", f"{one}/drain"),
        ("POST", f"{one}/disable"),
    ):
        answer = await api(method, path, {} if method in {"PUT", "PATCH"} else None)
        assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_an_id_in_capitals_is_the_same_id(api: Any) -> None:
    for _ in range(10):
        api.house.world.new_id()  # so that the id has a letter
    endpoint = await api.registered()
    assert (await api.shown({"id": endpoint["id"].upper()}))["id"] == endpoint["id"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_only_what_is_named_changes(api: Any, method: str) -> None:
    endpoint = await api.registered(
        api_key="sk", notes="old", max_concurrency=2, extra_headers={"x": "1"}
    )
    path = f"/endpoints/{endpoint['id']}"
    before = await api.shown(endpoint)
    assert (await api(method, path, {})).status == 200
    assert await api.shown(endpoint) == before
    answer = await api(method, path, {"notes": None, "name": "other", "type": "vllm"})
    assert answer.status == 200
    changed = {**before, "notes": None, "name": "other"}
    assert await api.shown(endpoint) == changed
    nulls = {"api_key": None, "max_concurrency": None, "extra_headers": None}
    after = (await api(method, path, nulls)).json
    assert (after["has_api_key"], after["extra_header_names"]) == (False, [])
    assert (after["max_concurrency"], after["max_concurrency_assumed"]) == (8, True)
    (stored,) = await api.store.endpoints.all()
    assert (stored.name, stored.api_key, stored.extra_headers) == ("other", None, ())


async def test_null_brings_back_the_default_durations(api: Any) -> None:
    endpoint = await api.registered(health_check_interval_secs=10, inference_timeout_secs=5)
    edit = {"health_check_interval_secs": None, "inference_timeout_secs": None}
    edited = (await api("PUT", f"/endpoints/{endpoint['id']}", edit)).json
    assert edited["health_check_interval_secs"] == 30
    assert edited["inference_timeout_secs"] == 120


async def test_a_fraction_of_a_second_is_shown(api: Any) -> None:
    from dataclasses import replace

    from llmlb.types import EndpointId

    endpoint = await api.registered()
    await api.house.registry.update(
        EndpointId(endpoint["id"]), lambda e: replace(e, inference_timeout_s=1.5)
    )
    assert (await api.shown(endpoint))["inference_timeout_secs"] == 1.5


@pytest.mark.parametrize(
    ("edit", "param"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"base_url": None}, "base_url"),
        ({"base_url": "nonsense"}, "base_url"),
        ({"health_check_interval_secs": 5}, "health_check_interval_secs"),
        ({"mode": "disabled"}, "mode"),
        ({"id": UNKNOWN}, "id"),
    ],
)
async def test_an_edit_is_judged_like_a_registration(api: Any, edit: object, param: str) -> None:
    endpoint = await api.registered()
    before = await api.shown(endpoint)
    answer = await api("PUT", f"/endpoints/{endpoint['id']}", edit)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert await api.shown(endpoint) == before


async def test_an_edit_needs_a_json_object(api: Any) -> None:
    endpoint = await api.registered()
    answer = await api("PUT", f"/endpoints/{endpoint['id']}")
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


async def test_a_name_that_is_taken_cannot_be_given_again(api: Any) -> None:
    await api.registered("one")
    two = await api.registered("two")
    answer = await api("PUT", f"/endpoints/{two['id']}", {"name": "one"})
    assert (answer.status, answer.error["param"]) == (409, "name")


async def test_another_url_is_probed_anew(api: Any) -> None:
    endpoint = await api.registered()
    path = f"/endpoints/{endpoint['id']}"
    answer = await api("PUT", path, {"base_url": "http://new.lan"})
    assert (answer.json["status"], answer.json["engine"]) == ("pending", None)
    await trio.testing.wait_all_tasks_blocked()
    assert api.surveyor.checked[-1].base_url == "http://new.lan"
    assert (await api.shown(endpoint))["status"] == "online"


async def test_a_deleted_endpoint_is_gone(api: Any) -> None:
    endpoint = await api.registered()
    path = f"/endpoints/{endpoint['id']}"
    answer = await api("DELETE", path)
    assert (answer.status, answer.json) == (204, None)
    assert (await api("GET", path)).status == 404
    assert (await api("DELETE", path)).status == 404
    assert await api.store.endpoints.all() == []


async def test_what_runs_on_a_deleted_endpoint_ends_in_peace(api: Any) -> None:
    endpoint = await api.registered()
    lease = await lease_of(api)
    assert (await api.shown(endpoint))["inflight"] == 1
    assert (await api("DELETE", f"/endpoints/{endpoint['id']}")).status == 204
    assert api.house.admission.statistics().in_flight == {endpoint["id"]: 1}
    lease.release()
    await trio.testing.wait_all_tasks_blocked()
    assert api.house.admission.statistics().in_flight == {}


async def test_draining_tells_how_far_it_is(api: Any) -> None:
    endpoint = await api.registered()
    path = f"/endpoints/{endpoint['id']}"
    lease = await lease_of(api)
    draining = (await api("POST", f"{path}/drain")).json
    assert (draining["mode"], draining["inflight"], draining["drained"]) == ("draining", 1, False)
    assert draining["status"] == "online"
    lease.release()
    await trio.testing.wait_all_tasks_blocked()
    drained = await api.shown(endpoint)
    assert (drained["mode"], drained["inflight"], drained["drained"]) == ("draining", 0, True)
    enabled = (await api("POST", f"{path}/enable")).json
    assert (enabled["mode"], enabled["drained"]) == ("enabled", False)
    (await lease_of(api)).release()


async def test_how_an_endpoint_took_its_last_requests_is_shown(
    api: Any, autojump_clock: Any
) -> None:
    endpoint = await api.registered()
    for _ in range(3):
        lease = await lease_of(api)
        lease.outcome, lease.verdict = Outcome.FAILED, Verdict(ill=True)
        if lease.serial == 3:
            lease.verdict = Verdict(ill=True, cools_s=12.5)
        lease.release()
        await trio.testing.wait_all_tasks_blocked()
    circuit = (await api.shown(endpoint))["circuit"]
    opens_in_secs = circuit.pop("opens_in_secs")
    assert circuit == {"state": "open", "failures_in_a_row": 3, "cooling_secs": 12.5}
    assert opens_in_secs == pytest.approx(1, rel=0.2)
    await trio.sleep(5)
    [listed] = (await api("GET", "/endpoints")).json["endpoints"]
    assert listed["circuit"] == {
        "state": "half_open",
        "failures_in_a_row": 3,
        "opens_in_secs": 0,
        "cooling_secs": 7.5,
    }


async def test_an_idle_endpoint_is_drained_at_once(api: Any) -> None:
    endpoint = await api.registered()
    drained = (await api("POST", f"/endpoints/{endpoint['id']}/drain")).json
    assert drained["drained"] is True


async def test_a_request_that_admission_has_not_read_keeps_a_drain_open(api: Any) -> None:
    from llmlb.http.manage.endpoint_json import Figures

    endpoint = await api.registered()
    await api("POST", f"/endpoints/{endpoint['id']}/drain")
    (stored,) = api.house.registry.catalog.endpoints.values()
    assert Figures.of(api.house).drained(stored)
    api.house.catalog_changed(api.house.registry.catalog)
    api.house.catalog_changed(api.house.registry.catalog)
    assert not Figures.of(api.house).drained(stored)


async def test_a_disabled_endpoint_is_not_even_probed(api: Any, autojump_clock: Any) -> None:
    endpoint = await api.registered()
    path = f"/endpoints/{endpoint['id']}"
    assert (await api("POST", f"{path}/disable")).json["mode"] == "disabled"
    probes = len(api.surveyor.checked)
    await trio.sleep(3600)
    assert len(api.surveyor.checked) == probes
    tested = (await api("POST", f"{path}/test")).json
    assert tested == {"success": False, "error": "'gpu' is disabled: enable it first."}
    synced = await api("POST", f"{path}/sync")
    assert (synced.status, synced.error["code"]) == (409, "conflict")
    assert (await api("POST", f"{path}/enable")).status == 200
    assert (await api("POST", f"{path}/test")).json["success"] is True


async def test_the_mode_outlives_the_process(api: Any) -> None:
    endpoint = await api.registered()
    await api("POST", f"/endpoints/{endpoint['id']}/drain")
    (stored,) = await api.store.endpoints.all()
    assert stored.mode == "draining"


async def test_latency_and_totals_are_shown(api: Any) -> None:
    from llmlb.types import EndpointId

    endpoint = await api.registered()
    known = api.house.registry.catalog.endpoints[EndpointId(endpoint["id"])]
    for outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED):
        api.house.finished(
            known,
            FinishedRequest(
                known.id,
                "tiny",
                Api.CHAT_COMPLETIONS,
                outcome,
                api.house.world.now(),
                123.4567,
                usage=Usage(3, 4),
            ),
        )
    await trio.testing.wait_all_tasks_blocked()
    shown = await api.shown(endpoint)
    assert shown["latency_ms"] == 123.457
    assert [shown[f"{kind}_requests"] for kind in ("total", "successful", "failed")] == [3, 1, 1]
    assert shown["cancelled_requests"] == 1
    assert shown["total_input_tokens"] == 9
    assert shown["total_output_tokens"] == 12
    assert shown["total_tokens"] == 21
    assert shown["last_seen"] is not None
    assert shown["last_seen"].endswith("Z")


async def test_an_endpoint_that_is_offline_has_no_latency(api: Any) -> None:
    from llmlb.types import EndpointId

    endpoint = await api.registered()
    api.house.latency.went_offline(EndpointId(endpoint["id"]))
    await trio.testing.wait_all_tasks_blocked()
    assert (await api.shown(endpoint))["latency_ms"] is None


async def test_a_declared_endpoint_is_edited_in_its_file_only(api: Any) -> None:
    from dataclasses import replace

    from llmlb.types import EndpointId

    endpoint = await api.registered()
    path = f"/endpoints/{endpoint['id']}"
    await api.house.registry.update(EndpointId(endpoint["id"]), lambda e: replace(e, declared=True))
    for method, body in (("PUT", {"notes": "x"}), ("PATCH", {}), ("DELETE", None)):
        answer = await api(method, path, body)
        assert (answer.status, answer.error["code"]) == (409, "conflict")
        assert answer.error["message"] == "'gpu' is declared in llmlb.toml: edit it there."
    assert (await api.shown(endpoint))["declared"] is True
    for action in ("drain", "disable", "enable", "test", "sync"):
        assert (await api("POST", f"{path}/{action}")).status == 200
