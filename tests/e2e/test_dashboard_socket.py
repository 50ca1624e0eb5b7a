"""The dashboard's WebSocket on a real socket, by a client library of others."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer
from tests.e2e.stub import Stub

PATIENCE_S = 10.0

HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@asynccontextmanager
async def opened(balancer: Balancer, query: str = "") -> AsyncIterator[WebSocketConnection]:
    """A WebSocket, on a socket of ours: the library forgets its own when the server closes."""
    host = balancer.base_url.removeprefix("http://")
    async with (
        await trio.open_tcp_stream("127.0.0.1", balancer.port) as stream,
        trio.open_nursery() as nursery,
    ):
        target = f"/ws/dashboard{query}"
        yield await wrap_client_stream(nursery, stream, host, target)
        nursery.cancel_scope.cancel()


async def until(socket: WebSocketConnection, kind: str) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    with trio.fail_after(PATIENCE_S):
        while not said or said[-1]["type"] != kind:
            said.append(json.loads(await socket.get_message()))
    return said


async def test_it_tells_of_an_endpoint_and_of_a_request_until_the_balancer_stops(
    start_balancer: StartBalancer, stub: Stub
) -> None:
    in_thread = trio.to_thread.run_sync
    balancer = await in_thread(start_balancer)
    async with opened(balancer) as socket:
        assert [said["type"] for said in await until(socket, "connected")] == ["connected"]
        form = {"name": "stub", "base_url": stub.url}
        created = await in_thread(balancer.ask, "POST", "/api/endpoints", form)
        seen = await until(socket, "ModelsChanged")
        (registered,) = [said for said in seen if said["type"] == "NodeRegistered"]
        assert registered["data"]["runtime_id"] == created["id"]

        body = {"model": seen[-1]["data"]["added"][0], "messages": [{"role": "user"}]}
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            await client.post(f"{balancer.base_url}/v1/chat/completions", json=body)
        finished = (await until(socket, "RequestFinished"))[-1]["data"]
        assert finished["endpoint_id"] == created["id"]
        with trio.fail_after(PATIENCE_S):
            await socket.ping()
        await socket.send_message("nobody listens")
        await until(socket, "StatisticsTick")

        started_s = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, balancer.stop)
            await until(socket, "ServerStopping")
            with pytest.raises(ConnectionClosed), trio.fail_after(PATIENCE_S):
                await socket.get_message()
        assert socket.closed is not None
        assert socket.closed.code == 1001
        assert time.monotonic() - started_s < 5


async def test_who_may_not_open_it_is_told_by_http(start_balancer: StartBalancer) -> None:
    settings = {"LLMLB_ADMIN_PASSWORD": "correct horse battery"}  # pragma: allowlist secret
    balancer = await trio.to_thread.run_sync(lambda: start_balancer(settings=settings))
    login = {"username": "admin", "password": settings["LLMLB_ADMIN_PASSWORD"]}
    async with httpx.AsyncClient(trust_env=False, base_url=balancer.base_url) as client:
        for query, code in (("", "missing_api_key"), ("?token=sk_x", "invalid_api_key")):
            refused = await client.get(f"/ws/dashboard{query}", headers=HANDSHAKE)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, code)
        answer = await client.post("/api/auth/login", json=login)
    async with opened(balancer, f"?token={answer.json()['token']}") as socket:
        await until(socket, "connected")
