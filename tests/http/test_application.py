"""The application as its clients see it: every route, every error, and its life."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from quart import typing as quart_typing

from llmlb.http.application import create_app
from llmlb.settings import Settings
from llmlb.store.opening import open_store
from tests.fakes.asgi import LOOPBACK
from tests.fakes.house import CHAT, COMPLETIONS, EMBEDDINGS, PATHS, run_inline, url
from tests.fakes.openai import chat, completion, finish, says, wire
from tests.fakes.served import Served
from tests.fakes.upstream import json_answer, refused, replies, sse_answer


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture
async def client(served: Served) -> quart_typing.TestClientProtocol:
    return served.app.test_client()


# -- the inference routes


async def test_a_plain_chat(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion("Hello.")))

    reply = await served.post("/v1/chat/completions", chat())

    assert (reply.status, reply.json) == (200, completion("Hello."))
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["x-llmlb-endpoint"] == "a"


async def test_a_streamed_chat_comes_as_it_is_made(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", sse_answer(1.0, says("A"), 1.0, says("B"), finish()))

    reply = await served.post("/v1/chat/completions", chat(stream=True))

    assert reply.status == 200
    assert reply.body == wire(says("A"), says("B"), finish())
    assert reply.headers["content-type"] == "text/event-stream"
    head, first, second, *_ = reply.times
    assert first == head
    assert second - first == pytest.approx(1)
    assert reply.complete


@pytest.mark.parametrize("api", [CHAT, COMPLETIONS, EMBEDDINGS])
async def test_every_inference_route_through_the_client_of_quart(
    served: Served, client: quart_typing.TestClientProtocol, api: Any
) -> None:
    await served.scene.endpoint("a")
    answer = {"data": [{}]} if api is EMBEDDINGS else completion()
    served.scene.on("a", json_answer(answer), api)

    response = await client.post(PATHS[api], data=chat(), scope_base=LOOPBACK)

    assert response.status_code == 200
    assert await response.get_json() == answer
    assert response.headers["x-request-id"]
    assert [call.path for call in served.scene.requests()] == [PATHS[api]]


async def test_an_error_of_the_core_through_the_client_of_quart(
    served: Served, client: quart_typing.TestClientProtocol
) -> None:
    response = await client.post(PATHS[CHAT], data=chat("x"), scope_base=LOOPBACK)

    assert response.status_code == 404
    assert (await response.get_json())["error"]["code"] == "model_not_found"


async def test_headers_of_the_client_arrive_in_the_core(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))
    headers = [
        ("Content-Type", "application/json"),
        ("X-Request-Id", "req-1"),
        ("TraceParent", "00-1"),
        ("Tracestate", "a=1"),
        ("Tracestate", "b=2"),
        ("Authorization", "Bearer sk-client"),
        ("Cookie", "a=b"),
    ]

    reply = await served.post("/v1/chat/completions", chat(), headers=headers)

    assert reply.headers["x-request-id"] == "req-1"
    [call] = served.scene.requests()
    assert call.headers == {
        "content-type": "application/json",
        "traceparent": "00-1",
        "tracestate": "a=1, b=2",
        "x-request-id": "req-1",
    }


async def test_the_client_of_the_product_calls_itself_by_its_instance(served: Served) -> None:
    await served.scene.endpoint("a")

    for path in ("/v1/chat/completions", "/v1/models", "/api/endpoints", "/nowhere"):
        reply = await served.post(
            path, chat(), headers={"x-llmlb-instance": f"other, {served.app.instance_id}"}
        )
        assert (reply.status, reply.error["code"]) == (508, "loop_detected")


# -- models


async def test_models_are_listed_and_shown(served: Served) -> None:
    await served.scene.endpoint("a", "tiny", "org/model:7b")

    reply = await served("GET", "/v1/models")
    assert reply.json["object"] == "list"
    assert [model["id"] for model in reply.json["data"]] == ["org/model:7b", "tiny"]

    for name in ("tiny", "org/model:7b"):
        shown = (await served("GET", f"/v1/models/{name}")).json
        assert (shown["id"], shown["object"], shown["ready"]) == (name, "model", True)

    reply = await served("GET", "/v1/models/org/other")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (
        404,
        "model_not_found",
        "model",
    )


# -- errors of every route


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/", 404, "not_found"),
        ("GET", "/v1/models/", 404, "not_found"),
        ("GET", "/api/nowhere", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("PATCH", "/api/endpoints", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("BREW", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/chat/completions", 400, "invalid_json"),
        ("POST", "/v1/completions", 400, "invalid_json"),
        ("POST", "/v1/embeddings", 400, "invalid_json"),
        ("POST", "/api/endpoints", 400, "invalid_json"),
        ("GET", "/\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), 404, "not_found"),
        ("GET", "/v1/models/\x00", 404, "model_not_found"),
    ],
)
async def test_every_error_is_shaped_alike_and_has_an_id(
    served: Served, method: str, path: str, status: int, code: str
) -> None:
    reply = await served(method, path, b"{", headers={"x-request-id": "my-id"})

    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.error["type"] in ("invalid_request_error", "not_found_error")
    assert reply.headers["x-request-id"] == "my-id"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/api/endpoints", "GET, HEAD, POST"),
        ("POST", "/api/endpoints/x", "DELETE, GET, HEAD, PATCH, PUT"),
    ],
)
async def test_a_method_that_is_not_taken_is_told_those_that_are(
    served: Served, method: str, path: str, allowed: str
) -> None:
    assert (await served(method, path)).headers["allow"] == allowed


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", "a\tb", "<x>"])
async def test_an_id_that_is_no_sane_token_is_replaced(served: Served, given: str) -> None:
    one, two = [
        (await served("GET", "/health", headers={"x-request-id": given})).headers["x-request-id"]
        for _ in range(2)
    ]
    assert given not in (one, two)
    assert one != two
    assert one.isalnum()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_is_read_whatever_it_calls_itself(served: Served, content_type: str) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))

    reply = await served.post(
        "/v1/chat/completions", chat(), headers={"content-type": content_type}
    )

    assert reply.status == 200


# -- limits of bodies


@pytest.mark.parametrize("settings", [{"max_body_bytes": 4096}], indirect=True)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_above_the_limit_is_413(served: Served, announced: bool) -> None:
    body = chat(padding="x" * 5000)
    headers = {"content-length": str(len(body))} if announced else {}

    reply = await served.post("/v1/chat/completions", body, headers=headers)

    assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert not served.scene.requests()
    assert served.app.body_budget.held_bytes == 0


@pytest.mark.parametrize("settings", [{"max_body_bytes": 4096}], indirect=True)
async def test_a_body_as_large_as_the_limit_is_taken(served: Served) -> None:
    body = chat("x").ljust(4096)

    reply = await served.post("/v1/chat/completions", body)

    assert reply.error["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/api/endpoints", "/v0/endpoints", "/api/endpoints/x/sync"])
async def test_management_takes_one_mib(served: Served, path: str) -> None:
    body = b'{"name": "' + b"x" * 1024 * 1024 + b'"}'

    reply = await served.post(path, body)

    assert reply.status in (413, 404)
    if path.endswith("endpoints"):
        assert reply.error["code"] == "request_too_large"


async def test_an_image_fits_into_an_inference_body(served: Served) -> None:
    reply = await served.post("/v1/chat/completions", chat("x", image="x" * 20_000_000))

    assert reply.error["code"] == "model_not_found"


async def test_an_endless_body_is_not_kept(served: Served) -> None:
    request = served.request("POST", "/api/endpoints", None)
    for _ in range(400):
        request.send(b"x" * 65536)
    request.send(b"", more=False)

    reply = await request.run()

    assert reply.status == 413
    assert served.app.body_budget.held_bytes == 0


@pytest.mark.parametrize("settings", [{"body_timeout_s": 7.0}], indirect=True)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/endpoints"])
async def test_a_body_that_does_not_come_is_408(served: Served, path: str) -> None:
    request = served.request("POST", path, None)
    request.send(b'{"model":')
    started_s = trio.current_time()

    reply = await request.run()

    assert (reply.status, reply.error["code"]) == (408, "request_timeout")
    assert reply.error["type"] == "timeout_error"
    assert reply.times[0] - started_s == pytest.approx(7)
    assert served.app.body_budget.held_bytes == 0


@pytest.mark.parametrize("settings", [{"body_memory_bytes": 10_000}], indirect=True)
async def test_all_bodies_together_are_bounded(served: Served) -> None:
    await served.scene.endpoint("a", slots=8)
    served.scene.on("a", replies(json_answer(completion()), after_s=5))
    large = chat(padding="x" * 6000)

    running = served.begin(served.request("POST", "/v1/chat/completions", large))
    await trio.testing.wait_all_tasks_blocked()
    assert served.app.body_budget.held_bytes == len(large)
    waiting = served.begin(served.request("POST", "/v1/chat/completions", large))
    await trio.testing.wait_all_tasks_blocked()
    assert served.app.body_budget.held_bytes == len(large), "the second one stands on disk"
    small = await served.post("/v1/chat/completions", chat("x"))
    assert small.status == 404, "what fits is taken"

    await running.over.wait()
    await waiting.over.wait()

    assert (running.status, waiting.status) == (200, 200)
    assert waiting.times[-1] - running.times[-1] == pytest.approx(5)
    assert served.app.body_budget.held_bytes == 0


@pytest.mark.parametrize(
    "settings", [{"body_memory_bytes": 10_000, "body_timeout_s": 7.0}], indirect=True
)
async def test_a_body_that_there_is_no_room_for_in_time_is_503(served: Served) -> None:
    await served.scene.endpoint("a", slots=8)
    served.scene.on("a", replies(json_answer(completion()), after_s=50))
    large = chat(padding="x" * 6000)
    served.begin(served.request("POST", "/v1/chat/completions", large))
    await trio.testing.wait_all_tasks_blocked()

    reply = await served.post("/v1/chat/completions", large)

    assert (reply.status, reply.error["code"]) == (503, "overloaded")
    assert reply.error["type"] == "service_unavailable"
    assert reply.headers["retry-after"] == "1"
    assert trio.current_time() == pytest.approx(7)


async def test_no_body_of_a_client_that_has_left_stays_on_disk(
    served: Served, tmp_path: Path
) -> None:
    request = served.begin(served.request("POST", "/v1/audio/transcriptions", None, headers=FORM))
    request.send(b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
    for _ in range(20):
        request.send(bytes(65536))
    await trio.testing.wait_all_tasks_blocked()
    assert served.app.reception.spool.held_bytes > 1_000_000

    request.leave()
    await request.over.wait()

    assert served.app.reception.spool.held_bytes == 0
    assert not files_in(tmp_path / "spool")


@pytest.mark.parametrize("settings", [{"body_memory_bytes": 10_000}], indirect=True)
async def test_a_body_that_is_refused_half_way_is_given_back(served: Served) -> None:
    request = served.begin(served.request("POST", "/v1/chat/completions", None))
    for _ in range(20):
        request.send(b"x" * 1000)
        await trio.testing.wait_all_tasks_blocked()
    await request.over.wait()

    assert request.error["code"] == "overloaded"
    assert served.app.body_budget.held_bytes == 0


# -- its life


async def test_it_starts_and_stops_in_good_order(unstarted: Served, nursery: trio.Nursery) -> None:
    early = await unstarted("GET", "/ready")
    assert (early.status, early.error["code"]) == (503, "shutting_down")
    assert early.headers["retry-after"] == "5"

    await unstarted.lifespan.start(nursery)
    assert unstarted.lifespan.said == [{"type": "lifespan.startup.complete"}]
    assert (await unstarted("GET", "/ready")).status == 200

    await unstarted.lifespan.stop()
    assert unstarted.lifespan.said[1:] == [{"type": "lifespan.shutdown.complete"}]
    assert unstarted.lifespan.error is None
    assert unstarted.upstream.closed
    assert unstarted.app.crash is None
    for path in ("/v1/chat/completions", "/v1/models", "/api/endpoints"):
        late = await unstarted("POST" if "chat" in path else "GET", path, chat())
        assert (late.status, late.error["code"]) == (503, "shutting_down")
    assert (await unstarted("GET", "/health")).status == 200


async def test_what_was_measured_is_written_at_the_stop(
    unstarted: Served, nursery: trio.Nursery, tmp_path: Path
) -> None:
    app = create_app(
        Settings(data_dir=tmp_path),
        client=unstarted.upstream,
        run_in_thread=run_inline,
    )
    served = Served(app, unstarted.upstream, nursery)
    await served.lifespan.start(nursery)
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion(usage={"prompt_tokens": 5})))
    assert (await served.post("/v1/chat/completions", chat())).status == 200
    await served.lifespan.stop()

    store = await open_store(
        f"sqlite:{tmp_path / 'llmlb.db'}", data_dir=tmp_path, run_in_thread=run_inline
    )
    [totals] = (await store.statistics.totals()).values()
    await store.close()
    assert (totals.total_requests, totals.input_tokens) == (1, 5)


@pytest.mark.parametrize(
    "settings", [{"database_url": "sqlite:/proc/nowhere/llmlb.db"}], indirect=True
)
async def test_a_start_that_fails_says_why_in_one_sentence(
    unstarted: Served, nursery: trio.Nursery, capsys: pytest.CaptureFixture[str]
) -> None:
    await unstarted.lifespan.start(nursery)
    await unstarted.lifespan.until_ended()

    [said] = unstarted.lifespan.said
    assert said["type"] == "lifespan.startup.failed"
    assert "/proc/nowhere" in said["message"]
    assert unstarted.app.startup_error is not None
    assert said["message"] == str(unstarted.app.startup_error)
    assert unstarted.app.crash is None
    logged = capsys.readouterr().err
    assert logged.count("/proc/nowhere") == 1
    assert "Traceback" not in logged
    assert (await unstarted("GET", "/ready")).status == 503


async def test_a_wrong_setting_is_told_at_the_start(
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMLB_QUEUE_MAX", "many")
    app = create_app(run_in_thread=run_inline)
    served = Served(app, None, nursery)  # type: ignore[arg-type]

    await served.lifespan.start(nursery)
    await served.lifespan.until_ended()

    assert "LLMLB_QUEUE_MAX=many" in served.lifespan.said[0]["message"]


async def test_the_environment_and_the_real_client_are_used_unless_told_otherwise(
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LLMLB_DATA_DIR", str(tmp_path))
    app = create_app(run_in_thread=run_inline)
    served = Served(app, None, nursery)  # type: ignore[arg-type]

    await served.lifespan.start(nursery)
    assert (await served("GET", "/ready")).status == 200
    assert "PooledUpstreamClient" in repr(app.exchange.client)
    await served.lifespan.stop()

    assert (tmp_path / "llmlb.db").exists()
    assert served.lifespan.error is None


async def test_an_actor_that_dies_stops_the_server_visibly(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.app.house.latency._mailbox.tell("what is this?")  # type: ignore[arg-type]
    await served.lifespan.until_ended()

    started, failed = served.lifespan.said
    assert started["type"] == "lifespan.startup.complete"
    assert failed["type"] == "lifespan.shutdown.failed"
    assert "what is this?" in failed["message"]
    assert served.lifespan.error is not None
    assert isinstance(served.app.crash, AssertionError)
    assert "an actor died" in capsys.readouterr().err
    assert served.upstream.closed
    assert (await served("GET", "/ready")).status == 503


async def test_a_server_that_only_takes_note_gets_the_crash_itself(served: Served) -> None:
    served.lifespan.raises = False
    served.app.house.journal._mailbox.tell("what is this?")  # type: ignore[arg-type]
    await served.lifespan.until_ended()

    assert served.lifespan.said[1]["type"] == "lifespan.shutdown.failed"
    assert isinstance(served.lifespan.error, BaseExceptionGroup)
    assert served.lifespan.error.subgroup(AssertionError) is not None


async def test_a_crash_ends_the_requests_that_run(served: Served) -> None:
    await served.scene.endpoint("a", slots=1)
    served.scene.on("a", replies(json_answer(completion()), after_s=3))
    running, waiting = [
        served.begin(served.request("POST", "/v1/chat/completions", chat())) for _ in range(2)
    ]
    await trio.testing.wait_all_tasks_blocked()

    served.app.house.admission._mailbox.tell("what is this?")  # type: ignore[arg-type]
    await served.lifespan.until_ended()
    for request in (running, waiting):
        await request.over.wait()

    assert sorted(request.status for request in (running, waiting)) == [200, 503]


async def test_an_unexpected_fault_at_the_start_is_reported_and_logged(
    unstarted: Served,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def breaks(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("what is this?")

    monkeypatch.setattr("llmlb.http.premises.open_store", breaks)
    await unstarted.lifespan.start(nursery)
    await unstarted.lifespan.until_ended()

    [said] = unstarted.lifespan.said
    assert (said["type"], said["message"]) == ("lifespan.startup.failed", "what is this?")
    assert "RuntimeError" in capsys.readouterr().err
    assert unstarted.app.startup_error is None
    assert unstarted.app.crash is None


async def test_what_never_opened_closes_at_once(unstarted: Served) -> None:
    await unstarted.app.close()
    assert unstarted.app.startup_error is None


async def test_a_disk_that_hangs_does_not_hold_up_the_stop_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))

    async def hang(burst: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(served.app.house.store.statistics, "write", hang, raising=True)
    await served.post("/v1/chat/completions", chat())
    started_s = trio.current_time()
    await served.lifespan.stop()

    assert trio.current_time() - started_s <= 15
    assert served.upstream.closed


async def test_a_cancelled_server_is_no_crash(unstarted: Served) -> None:
    async with trio.open_nursery() as nursery:
        await unstarted.lifespan.start(nursery)
        nursery.cancel_scope.cancel()

    assert unstarted.app.crash is None
    assert [m["type"] for m in unstarted.lifespan.said] == ["lifespan.startup.complete"]
    assert unstarted.upstream.closed


async def test_connections_to_an_endpoint_that_is_gone_are_dropped(served: Served) -> None:
    endpoint = await served.scene.endpoint("a")

    await served.app.house.registry.remove(endpoint.id)
    await trio.testing.wait_all_tasks_blocked()

    assert endpoint.id in served.upstream.forgotten


async def test_management_and_inference_are_one_house(served: Served) -> None:
    served.scene.lists("a", "tiny")
    served.scene.on("a", refused())
    form = json.dumps({"name": "a", "base_url": url("a")}).encode()

    assert (await served.post("/api/endpoints", form)).status == 201
    [registered] = (await served("GET", "/v0/endpoints")).json["endpoints"]
    assert (await served.post(f"/api/endpoints/{registered['id']}/test")).status == 200
    await trio.testing.wait_all_tasks_blocked()
    reply = await served.post("/v1/chat/completions", chat())

    assert (reply.status, reply.error["code"]) == (502, "upstream_unreachable")
    assert len((await served("GET", "/v0/endpoints")).json["endpoints"]) == 1


async def test_two_paths_with_a_doubled_slash_do_not_break_anything(served: Served) -> None:
    reply = await served("GET", "//v1//models")
    assert reply.status in (200, 308, 404)
    assert reply.headers["x-request-id"]
