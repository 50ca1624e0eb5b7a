"""Which routes that not every engine has an endpoint serves, found out without costing a token."""

from __future__ import annotations

import json

import trio

from llmlb.http.engines.foreign import mapping
from llmlb.http.paths import PATHS
from llmlb.http.upstream.client import UpstreamClient, UpstreamResponse
from llmlb.http.upstream.faults import UpstreamFault
from llmlb.types import Api, Endpoint

NOT_EVERYWHERE = (Api.MESSAGES, Api.COUNT_TOKENS)

_NO_SUCH_ROUTE = frozenset({404, 405, 501})

_EXCERPT_BYTES = 64 * 1024


async def native_apis(
    client: UpstreamClient, endpoint: Endpoint, *, timeout_s: float
) -> frozenset[Api]:
    """Of NOT_EVERYWHERE, those that *endpoint* serves. Raises nothing.

    Each is asked for nothing at all (`{}`); whatever is said of that, but that there is no such
    route, means that there is one. Where no answer comes, what was known before holds.
    """
    found: set[Api] = set()

    async def ask(api: Api) -> None:
        serves = await _serves(client, endpoint, PATHS[api], timeout_s)
        if api in endpoint.native_apis if serves is None else serves:
            found.add(api)

    async with trio.open_nursery() as nursery:
        for api in NOT_EVERYWHERE:
            nursery.start_soon(ask, api)
    return frozenset(found)


async def _serves(
    client: UpstreamClient, endpoint: Endpoint, path: str, timeout_s: float
) -> bool | None:
    headers = [("accept", "application/json"), ("content-type", "application/json")]
    with trio.move_on_after(timeout_s):
        try:
            async with client.call(endpoint, "POST", path, headers=headers, body=b"{}") as response:
                if response.status in _NO_SUCH_ROUTE:
                    return False
                return response.status != 200 or not await _is_error(response)
        except UpstreamFault:
            pass
    return None


async def _is_error(response: UpstreamResponse) -> bool:
    """Whether a 200 is how LM Studio says that it has no such route."""
    received = bytearray()
    async for chunk in response.chunks():
        received += chunk
        if len(received) > _EXCERPT_BYTES:
            return False
    try:
        said = mapping(json.loads(bytes(received)))
    except (ValueError, RecursionError):
        return False
    return bool(said.get("error")) and said.get("type") != "error"
