"""The Quart-Trio face: a client that leaves at any moment, and answers that are cut off."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from llmlb.http.asgi import LINGER_LIMIT_S, AsgiDownstream, HttpConnection
from llmlb.http.downstream import Downstream, Head
from tests.fakes.asgi import Message, Request
from tests.fakes.openai import DONE, chat, completion, event, finish, role, says, wire
from tests.fakes.served import Served
from tests.fakes.upstream import Answer, disconnected, hangs, json_answer, replies, sse_answer

CHAT = "/v1/chat/completions"
MIB = 1024 * 1024


def nothing_is_held(served: Served) -> None:
    scene = served.scene
    assert not scene.leases
    assert not scene.waiting
    assert not scene.open_requests
    assert served.app.body_budget.held_bytes == 0


async def leaves(served: Served, request: Request, after_s: float) -> None:
    """Run *request*, whose client leaves after that time, to its end."""
    served.begin(request)
    started_s = trio.current_time()
    await trio.sleep(after_s)
    assert not request.over.is_set()
    request.leave()
    await request.over.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - started_s == pytest.approx(after_s), "at once"
    nothing_is_held(served)


async def test_a_client_that_leaves_while_it_sends_its_body(served: Served) -> None:
    await served.scene.endpoint("a")
    request = served.request("POST", CHAT, None)
    request.send(chat()[:20])

    await leaves(served, request, 1)

    assert not request.answer
    assert not served.scene.requests()


async def test_a_client_that_leaves_while_it_waits_in_line(served: Served) -> None:
    await served.scene.endpoint("a", slots=1)
    served.scene.on("a", hangs)
    first = served.begin(served.request("POST", CHAT, chat()))
    await trio.testing.wait_all_tasks_blocked()
    second = served.begin(served.request("POST", CHAT, chat()))
    await trio.sleep(1)
    assert served.scene.waiting == {"tiny": 1}

    second.leave()
    await second.over.wait()
    await trio.testing.wait_all_tasks_blocked()

    assert not served.scene.waiting
    first.leave()
    await first.over.wait()


@pytest.mark.parametrize(
    ("streamed", "answer"),
    [
        (True, hangs),
        (False, hangs),
        (True, sse_answer(role(), 60.0, says("late"))),
        (True, sse_answer(says("A"), 60.0, says("B"))),
        (False, Answer(200, {}, [b"{", 60.0])),
        (False, Answer(200, {}, [b"x" * 9 * MIB, 60.0])),
    ],
)
async def test_a_client_that_leaves_closes_its_upstream_call(
    served: Served, streamed: bool, answer: Any
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", answer)

    await leaves(served, served.request("POST", CHAT, chat(stream=streamed)), 2)

    [call] = served.scene.requests()
    assert call.closed_at is not None
    assert call.cancelled
    assert served.scene.totals("a").cancelled_requests == 1


@pytest.mark.parametrize("stuck_at", ["http.response.start", "http.response.body"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_without_reading(
    served: Served, stuck_at: str, streamed: bool
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", sse_answer(says("A"), finish()) if streamed else json_answer(completion()))

    request = served.request("POST", CHAT, chat(stream=streamed), stuck_at=stuck_at)
    await leaves(served, request, 2)

    assert served.scene.totals("a").cancelled_requests == 1


@pytest.mark.parametrize("stuck_at", ["http.response.start", "http.response.body"])
async def test_a_client_that_leaves_without_reading_an_error(served: Served, stuck_at: str) -> None:
    await leaves(served, served.request("POST", CHAT, b"{", stuck_at=stuck_at), 2)
    await leaves(served, served.request("GET", "/nowhere", stuck_at=stuck_at), 2)


async def test_a_client_that_leaves_after_its_answer(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", sse_answer(says("A"), finish(), DONE, 0.9, done=False))
    request = served.request("POST", CHAT, chat(stream=True))

    await leaves(served, request, 0.5)

    assert request.body.endswith(DONE)
    assert served.scene.totals("a").successful_requests == 1


async def test_a_client_that_never_reads_is_cut_off_in_the_end(served: Served) -> None:
    await served.scene.endpoint("a", slots=1)
    served.scene.on("a", sse_answer(says("A"), finish()))

    request = await served.post(CHAT, chat(stream=True), stuck_at="http.response.body")

    assert not request.complete
    assert trio.current_time() == pytest.approx(3600)
    nothing_is_held(served)


# -- answers that are not complete


async def test_a_large_plain_answer_that_breaks_is_visibly_incomplete(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", Answer(200, {}, [b"x" * 9 * MIB, b"y" * MIB, disconnected()]))

    reply = await served.post(CHAT, chat())

    assert len(reply.body) == 10 * MIB
    assert not reply.complete
    assert "content-length" not in reply.headers
    nothing_is_held(served)


async def test_a_stream_that_breaks_ends_in_good_order_after_its_error(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", sse_answer(says("A"), disconnected()))

    reply = await served.post(CHAT, chat(stream=True))

    assert reply.body.startswith(wire(says("A"), done=False) + b'data: {"error"')
    assert DONE not in reply.body
    assert reply.complete


async def test_a_fault_of_ours_in_the_middle_leaves_the_answer_incomplete(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", sse_answer(says("A"), RuntimeError("what")))

    reply = await served.post(CHAT, chat(stream=True))

    assert reply.body == event(says("A"))
    assert not reply.complete
    nothing_is_held(served)


async def test_a_fault_of_ours_is_500_with_the_id_of_the_request(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", RuntimeError("the secret is 1234"))

    reply = await served.post(CHAT, chat(), headers={"x-request-id": "req-7"})

    assert (reply.status, reply.error["code"]) == (500, "internal_error")
    assert "req-7" in reply.error["message"]
    assert b"1234" not in reply.body


# -- the pieces


async def test_a_downstream_speaks_asgi(nursery: trio.Nursery) -> None:
    said: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        said.append(message)

    downstream: Downstream = AsgiDownstream(send, nursery)
    assert isinstance(downstream, AsgiDownstream)
    await downstream.begin(Head(200, (("x-name", "Küche"),)))
    await downstream.send(b"a")
    await downstream.finish()

    assert said == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"x-name", "Küche".encode("latin-1"))],
        },
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]
    downstream.abort()
    await downstream.finish()
    assert len(said) == 3


async def test_a_downstream_knows_that_its_peer_has_gone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", sse_answer(says("A"), 60.0))
    connections: list[HttpConnection] = []
    original = HttpConnection.handle_request

    async def handle_request(self: HttpConnection, *args: Any) -> None:
        connections.append(self)
        await original(self, *args)

    monkeypatch.setattr(HttpConnection, "handle_request", handle_request)
    request = served.begin(Request(served.app, "POST", CHAT, chat(stream=True)))
    await trio.sleep(1)
    [connection] = connections
    assert connection._downstream is not None
    assert not connection._downstream.peer_gone
    request.leave()
    await request.over.wait()
    assert connection._downstream.peer_gone


async def test_a_message_that_nobody_knows_is_passed_over(served: Served) -> None:
    request = served.request("POST", CHAT, None)
    request._to_app.send_nowait({"type": "http.trailers"})
    request.send(chat("x"), more=False)

    assert (await request.run()).status == 404


async def test_a_body_in_many_pieces_is_one(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))
    request = served.request("POST", CHAT, None)
    for byte in chat():
        request.send(bytes([byte]))
    request.send(b"", more=False)

    assert (await request.run()).status == 200
    assert served.scene.requests()[0].body == chat()


async def test_what_comes_after_the_answer_to_a_stranger_is_given_back(served: Served) -> None:
    request = served.request("POST", CHAT, None, client=("10.0.0.1", 1))
    request.send(b"x" * 1000)

    assert (await request.run()).status == 403
    assert served.app.body_budget.held_bytes == 0


async def test_a_slow_answer_does_not_time_out_in_the_framework(served: Served) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", replies(sse_answer(200.0, says("A"), 100.0, finish()), after_s=50))

    assert (await served.post(CHAT, chat(stream=True))).complete
    assert trio.current_time() == pytest.approx(350)


async def test_whoever_sends_can_be_cancelled_though_the_server_writes_in_a_shield(
    nursery: trio.Nursery,
) -> None:
    reads = trio.Event()

    async def send(_: Any) -> None:
        with trio.CancelScope(shield=True):
            await reads.wait()

    downstream = AsgiDownstream(send, nursery)
    with trio.move_on_after(5) as patience:
        await downstream.send(b"a")
    assert patience.cancelled_caught
    reads.set()


# -- answers that are made before their request is at its end


async def test_an_answer_before_its_body_ends_with_the_body(served: Served) -> None:
    request = served.begin(served.request("POST", "/nowhere", None))
    request.send(b"x" * 1000)
    await trio.testing.wait_all_tasks_blocked()

    assert request.status == 404
    assert len(request.body) == int(request.headers["content-length"]), "the client has it all"
    assert request.answer[-1]["more_body"]
    held_bytes = served.app.body_budget.held_bytes
    for _ in range(20):
        request.send(b"x" * 65536)
    await trio.testing.wait_all_tasks_blocked()
    assert served.app.body_budget.held_bytes == held_bytes, "what is not read is not kept"
    request.send(b"", more=False)
    await request.over.wait()
    assert request.complete
    assert trio.current_time() == 0
    nothing_is_held(served)


async def test_a_body_that_nobody_reads_is_not_waited_for_for_ever(served: Served) -> None:
    started_s = trio.current_time()

    request = await served("POST", "/nowhere", None)

    assert request.complete
    assert trio.current_time() - started_s == pytest.approx(LINGER_LIMIT_S)


async def test_a_client_that_leaves_after_an_early_answer(served: Served) -> None:
    await leaves(served, served.request("POST", "/nowhere", None), 1)


class TellsOfTheEndEarly(Request):
    """Says that it is over while it takes the last message, as hypercorn does."""

    taken = False

    async def _hear(self, message: Message) -> None:
        await super()._hear(message)
        if message["type"] == "http.response.body" and not message["more_body"]:
            self.leave()
            await trio.sleep(0.1)
            self.taken = True


@pytest.mark.parametrize(("path", "body"), [(CHAT, chat()), (CHAT, b"{"), ("/nowhere", b"")])
async def test_the_last_message_is_taken_whole(served: Served, path: str, body: bytes) -> None:
    await served.scene.endpoint("a")
    served.scene.on("a", json_answer(completion()))

    request = TellsOfTheEndEarly(served.app, "POST", path, body)
    await request.run()

    assert request.taken
    nothing_is_held(served)


async def test_a_body_that_comes_too_slowly_is_refused_and_its_connection_closed(
    served: Served,
) -> None:
    request = served.begin(served.request("POST", CHAT, None))
    for _ in range(29):
        request.send(b" ")
        await trio.sleep(1)
    assert not request.answer
    await request.over.wait()

    assert trio.current_time() == 30 + LINGER_LIMIT_S
    assert (request.status, request.error["code"]) == (408, "request_timeout")
    assert request.headers["connection"] == "close"
    assert request.times[0] == 30
    nothing_is_held(served)


async def test_a_body_of_two_lengths_closes_its_connection(served: Served) -> None:
    lengths = {"content-length": "2", "transfer-encoding": "chunked"}
    reply = await served.post(CHAT, b"{}", headers=lengths)

    assert (reply.status, reply.headers["connection"]) == (400, "close")


async def test_a_repeated_header_counts_each_time(served: Served) -> None:
    pairs = [("x-a-header-of-some-length", "x")] * 1200
    assert sum(len(name) + len(value) + 4 for name, value in pairs) > 32 * 1024

    assert (await served("GET", "/health", headers=pairs)).status == 431
    assert (await served("GET", "/health", headers=pairs[:1000])).status == 200
    assert (await served("GET", "/" + "x" * 33_000)).status == 431


# -- targets of every form


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://balancer.lan:32768/v1/models", 200),
        ("http://balancer.lan:32768", 404),
        ("v1/models", 200),
        ("*", 404),
        ("", 404),
        ("http://[", 404),
        ("balancer.lan:443", 404),
    ],
)
async def test_a_target_of_any_form_is_a_path(served: Served, target: str, status: int) -> None:
    reply = await served("GET", target)

    assert reply.status == status
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize("query", [b"status=\xff", b"\xc3\xa9=%ff&page=1", b"%", b"=&&="])
async def test_a_query_of_any_bytes_is_read(served: Served, query: bytes) -> None:
    reply = await served("GET", "/api/endpoints", query_string=query)

    assert reply.status == (400 if b"status" in query else 200)


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_after_a_request_of_two_lengths_the_connection_is_closed(
    served: Served, version: str
) -> None:
    both = {"content-length": "2", "transfer-encoding": "chunked"}
    answer = await served.post(CHAT, headers=both, http_version=version)
    assert (answer.status, answer.error["code"]) == (400, "invalid_value")
    assert answer.headers.get("connection") == ("close" if version == "1.1" else None)
