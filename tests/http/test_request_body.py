"""How a request's body is taken in: whole, or refused, and never more than its limit."""

from __future__ import annotations

import pytest
import trio
from werkzeug.exceptions import RequestEntityTooLarge

from llmlb.http.request_body import RequestBody


async def test_a_body_is_whole_once_it_is_complete() -> None:
    body = RequestBody(None, None)
    body.append(b"a")
    body.append(b"")
    body.append(b"b")
    with trio.move_on_after(1) as scope:
        await body
    assert scope.cancelled_caught

    body.set_complete()
    assert await body == b"ab"
    assert await body == b"ab"
    body.clear()
    assert await body == b""


async def test_a_body_may_be_as_large_as_its_limit() -> None:
    body = RequestBody(3, 3)
    body.append(b"ab")
    body.append(b"c")
    body.set_complete()
    assert await body == b"abc"


@pytest.mark.parametrize("announced", [None, 4])
async def test_a_larger_one_is_refused_before_it_is_complete(announced: int | None) -> None:
    body = RequestBody(announced, 3)
    body.append(b"abc")
    body.append(b"d")
    assert body.refused
    assert not body._data, "nothing of it is kept"
    body.append(b"e")
    with pytest.raises(RequestEntityTooLarge):
        await body


async def test_the_first_refusal_stays_and_reaches_who_waits() -> None:
    body = RequestBody(None, 3)
    caught: list[Exception] = []

    async def read() -> None:
        try:
            await body
        except ValueError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        body.refuse(ValueError("no"))
        body.append(b"abcdef")
        body.set_complete()

    assert [str(error) for error in caught] == ["no"]
