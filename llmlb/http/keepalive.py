"""A client that waits for a stream is told from time to time that its answer is on the way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import trio

from llmlb.http.downstream import Downstream, Head, Headers, PeerGone

COMMENT = b": still working on it\n\n"

_TOLD = ("x-llmlb-", "x-queue-")


class KeptAlive:
    """A client's side with two points of no return: the head is sent, then the content.

    After the first the status is 200 come what may, but another endpoint can still answer.
    """

    def __init__(self, inner: Downstream, own_headers: Headers) -> None:
        """*own_headers* go with a head that is sent before any endpoint has answered."""
        self._inner = inner
        self._head = Head(200, (("content-type", "text/event-stream"), *own_headers))
        self._one_at_a_time: trio.Lock | None = None
        """Only where comments are sent: to take one is a turn of the scheduler."""
        self._head_sent = self._begun = False

    @property
    def peer_gone(self) -> bool:
        return self._inner.peer_gone

    @property
    def head_alone(self) -> bool:
        """Whether the client has a status and headers already, and no content yet."""
        return self._head_sent and not self._begun

    async def while_waiting(
        self, every_s: float, work: Callable[[], Coroutine[None, None, None]]
    ) -> None:
        """Do *work*; until it begins to answer, send a comment every *every_s*.

        Raises what *work* raises, and PeerGone if a comment shows that the client has left.
        """
        failure: Exception | None = None
        one_at_a_time = self._one_at_a_time = trio.Lock()
        async with trio.open_nursery() as nursery:

            async def keep_alive() -> None:
                nonlocal failure
                try:
                    await self._comment(every_s, one_at_a_time)
                except PeerGone as gone:
                    failure = gone
                    nursery.cancel_scope.cancel()

            nursery.start_soon(keep_alive)
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - carried past the nursery, which would wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _comment(self, every_s: float, one_at_a_time: trio.Lock) -> None:
        while True:
            await trio.sleep(every_s)
            async with one_at_a_time:
                if self._begun:
                    return
                if not self._head_sent:
                    self._head_sent = True
                    await self._inner.begin(self._head)
                await self._inner.send(COMMENT)

    async def begin(self, head: Head) -> None:
        """Begin to answer; what *head* would have said goes into a comment if it comes too late."""
        if self._one_at_a_time is None:
            self._begun = True
            await self._inner.begin(head)
            return
        async with self._one_at_a_time:
            self._begun = True
            if self._head_sent:
                await self._inner.send(_as_comment(head.headers))
            else:
                await self._inner.begin(head)

    def send(self, data: bytes) -> Coroutine[Any, Any, None]:
        return self._inner.send(data)

    async def end_with(self, event: bytes, headers: Headers) -> None:
        """After the head alone: the *event* of an error, for there is no other way to tell it."""
        await self._inner.send(_as_comment(headers) + event)

    def abort(self) -> None:
        self._inner.abort()


def _as_comment(headers: Headers) -> bytes:
    """What *headers* say of an answer's way, for a client that has its headers already."""
    lines = [f": {name}: {text}\n" for name, text in headers if name.startswith(_TOLD)]
    return "".join([*lines, "\n"]).encode("latin-1")
