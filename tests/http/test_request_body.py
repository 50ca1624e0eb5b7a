"""One body, handed over once, to whoever waits for it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from llmlb.errors import RequestTooLarge
from llmlb.http.request_body import RequestBody


async def test_the_whole_body_is_given_to_who_waits(nursery: trio.Nursery) -> None:
    body = RequestBody(None, None)
    read: list[object] = []

    async def wait() -> None:
        read.append(await body)

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert read == []

    body.set(b"whole")
    await trio.testing.wait_all_tasks_blocked()

    assert body.settled
    assert read == [b"whole"]


async def test_what_refuses_it_is_raised_each_time() -> None:
    body = RequestBody(10**9, 1)
    body.refuse(RequestTooLarge("too large"))
    for _ in range(2):
        with pytest.raises(RequestTooLarge):
            await body


async def test_a_cleared_body_is_empty() -> None:
    body = RequestBody(None, None)
    body.set(b"whole")
    assert await body == b"whole"
    body.clear()
    assert await body == b""
