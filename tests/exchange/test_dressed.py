"""Every answer of the core has the headers that every answer has, whatever the face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from llmlb.http.cors import Cors
from llmlb.http.dressed import Dressed
from llmlb.http.response_policy import OF_API, ResponsePolicy
from llmlb.types import Api
from tests.fakes.accounts import bearer, key, moved_in, user
from tests.fakes.downstream import FakeDownstream
from tests.fakes.house import CHAT, PATHS, Scene, asked_with
from tests.fakes.openai import chat, completion, finish, says
from tests.fakes.upstream import hangs, json_answer, refused, sse_answer

PAGE = "https://chat.example"


async def ask(
    scene: Scene, body: bytes, asked_path: str = PATHS[CHAT], origin: str | None = PAGE
) -> FakeDownstream:
    client = FakeDownstream()
    await moved_in(scene.house, user(), key())
    said: Mapping[str, str] = {} if origin is None else {"origin": origin}
    headers = {**said, **bearer("laptop")}
    asked = replace(asked_with(body, headers=headers), asked_path=asked_path)
    await scene.exchange.serve(CHAT, asked, client)
    return client


def is_dressed(client: FakeDownstream) -> bool:
    return dict(OF_API).items() <= client.headers.items()


async def test_a_plain_answer_a_stream_and_an_error_are_dressed(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    assert is_dressed(await scene.ask())
    scene.on("a", sse_answer(says("Hi"), finish()))
    assert is_dressed(await scene.stream())
    scene.on("a", json_answer({"error": {"message": "too long"}}, 400))
    assert is_dressed(await scene.ask())
    scene.on("a", refused())
    assert is_dressed(await scene.ask())
    assert is_dressed(await scene.ask(b"{"))
    assert is_dressed(await scene.ask(chat("nobody-has-it")))
    assert is_dressed(await scene.ask(api=Api.MESSAGES))


async def test_an_answer_about_a_stored_response_is_dressed(scene: Scene) -> None:
    client = FakeDownstream()
    asked = asked_with(b"", "/v1/responses/resp_1", method="GET")
    await scene.exchange.serve_stored("resp_1", asked, client)
    assert client.status == 404
    assert is_dressed(client)


@pytest.mark.parametrize("settings", [{"stream_keepalive_s": 15.0}])
async def test_a_head_that_is_sent_before_the_answer_is_dressed(
    scene: Scene, settings: dict[str, Any]
) -> None:
    await scene.endpoint("a")
    scene.on("a", hangs)
    client = FakeDownstream()
    with trio.move_on_after(20):
        await scene.stream(client)
    assert client.begun
    assert is_dressed(client)


async def test_a_page_that_may_call_is_told_so_with_every_answer(scene: Scene) -> None:
    scene.exchange.gate.policy = ResponsePolicy(Cors(frozenset({PAGE})))
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hi"), finish()))
    stream = await ask(scene, chat(stream=True))
    error = await ask(scene, b"{")
    for client in (stream, error):
        assert client.headers["access-control-allow-origin"] == PAGE
        assert client.headers["vary"] == "origin"
        assert "cross-origin-resource-policy" not in client.headers
    assert stream.headers["access-control-expose-headers"] == (
        "x-request-id, x-llmlb-endpoint, x-llmlb-model, x-llmlb-queue-ms, x-llmlb-attempts"
    )


@pytest.mark.parametrize("origin", [None, "https://evil.example", f"{PAGE}, {PAGE}"])
async def test_any_other_page_is_told_nothing(scene: Scene, origin: str | None) -> None:
    scene.exchange.gate.policy = ResponsePolicy(Cors(frozenset({PAGE})))
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    client = await ask(scene, chat(), origin=origin)
    assert client.status == 200
    assert is_dressed(client)
    assert not [name for name in client.headers if name.startswith("access-control-")]
    assert client.headers["vary"] == "origin"


async def test_a_chat_under_management_is_not_for_pages_of_other_origins(scene: Scene) -> None:
    scene.exchange.gate.policy = ResponsePolicy(Cors(frozenset({PAGE})))
    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    client = await ask(scene, chat(), asked_path="/api/endpoints/id-a/chat/completions")
    assert client.status == 200
    assert is_dressed(client)
    assert not [name for name in client.headers if name.startswith("access-control-")]


async def test_all_but_the_head_passes_through() -> None:
    client = FakeDownstream(peer_gone=True)
    dressed = Dressed(client, ResponsePolicy())
    assert dressed.peer_gone
    dressed.abort()
    assert client.aborted
