"""Simulated clients take and leave as they are said to, and take down what they got."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from tests.fakes.asgi import Message
from tests.fakes.openai import DONE, completion, event, finish, says
from tests.simulation.client import Client
from tests.simulation.ledger import Account, Ledger
from tests.simulation.parts import Leaving, Manner, Moment, Wish
from tests.simulation.trace import Trace

WISH = Wish(0.0, "r1", "tiny", True, 2, 10, Manner.PATIENT, 3.0, 2, None)

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def streams(*pieces: bytes, done: bool = True) -> Callable[[Send], Awaitable[None]]:
    """An application that answers with a stream, a piece per second."""

    async def answer(send: Send) -> None:
        await send(start("text/event-stream"))
        for piece in pieces:
            await trio.sleep(1)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": not done})

    return answer


def answers(body: bytes, status: int = 200) -> Callable[[Send], Awaitable[None]]:
    async def answer(send: Send) -> None:
        await send(start("application/json", status, (b"content-length", b"%d" % len(body))))
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return answer


def start(kind: str, status: int = 200, *more: tuple[bytes, bytes]) -> Message:
    headers = [(b"content-type", kind.encode()), *more]
    return {"type": "http.response.start", "status": status, "headers": headers}


WHOLE = streams(
    b": alive\n\n" + event(says("e0.1.0;")), event(says("e0.1.1;")), event(finish()), DONE
)


async def served(wish: Wish, answer: Callable[[Send], Awaitable[None]]) -> Account:
    """What becomes of *wish* before an application that only answers."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_gone)
            await answer(send)
            nursery.cancel_scope.cancel()

    standing = trio.Event()
    standing.set()
    world: Any = SimpleNamespace(
        app=app, ledger=Ledger(), trace=Trace(), clients={}, standing=standing
    )
    account = await Client(world, wish).run()
    assert not world.clients
    return account


async def test_a_whole_stream_is_taken_down_as_whole() -> None:
    account = await served(WISH, WHOLE)
    assert (account.status, account.whole, account.error) == (200, True, None)
    assert account.text == "e0.1.0;e0.1.1;"
    assert account.ended_at_s == 4.0


async def test_a_stream_without_its_end_is_not_whole() -> None:
    cut = streams(event(says("e0.1.0;")), DONE, done=False)
    assert not (await served(WISH, cut)).whole
    broken = streams(event(says("e0.1.0;")), event({"error": {"code": "x", "type": "y"}}))
    account = await served(WISH, broken)
    assert (account.whole, account.error, account.text) == (False, "x", "e0.1.0;")


async def test_a_plain_answer_is_whole_at_its_length() -> None:
    account = await served(
        replace(WISH, stream=False), answers(json.dumps(completion("e0.1.0;")).encode())
    )
    assert (account.status, account.whole, account.text) == (200, True, "e0.1.0;")
    refusal = answers(b'{"error": {"code": null, "type": "server_error"}}', 503)
    account = await served(WISH, refusal)
    assert (account.status, account.whole, account.error) == (503, False, "server_error")


async def test_a_slow_client_takes_its_time_over_each_piece() -> None:
    account = await served(replace(WISH, manner=Manner.SLOW), WHOLE)
    assert account.whole
    assert account.ended_at_s == 4.0 + 6 * WISH.read_s


async def test_a_stuck_client_takes_no_more_until_it_leaves() -> None:
    leaving = Leaving(Moment.SENT, 0, 50.0, 0)
    account = await served(replace(WISH, manner=Manner.STUCK, leaving=leaving), WHOLE)
    assert account.stuck
    assert not account.stayed
    assert account.text == "e0.1.0;"
    assert account.ended_at_s == account.left_at_s == 50.0


@pytest.mark.parametrize(("piece", "left_at_s"), [(0, 0.5), (1, 1.5), (3, 3.5)])
async def test_a_client_leaves_after_the_piece_that_it_is_said_to(
    piece: int, left_at_s: float
) -> None:
    leaving = Leaving(Moment.PIECE, piece, 0.5, 3)
    account = await served(replace(WISH, leaving=leaving), WHOLE)
    assert account.ended_at_s == account.left_at_s == left_at_s
    assert not account.whole


async def test_a_client_leaves_after_an_endpoint_has_got_its_request() -> None:
    leaving = Leaving(Moment.RECEIVED, 0, 0.0, 5)
    account = await served(replace(WISH, leaving=leaving), WHOLE)
    assert account.left_at_s is None, "no endpoint ever got it"
    assert account.whole
