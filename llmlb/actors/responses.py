"""Which endpoint made which stored response or conversation."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import assert_never

import trio

from llmlb.actors.mailbox import ActorGone, Mailbox, MailboxStatistics
from llmlb.types import MOST_STORED_RESPONSES, EndpointId, Whereabouts

KEPT_FOR = timedelta(days=30)
"""As long as OpenAI keeps a response."""

SWEEP_EVERY_S = 3600.0

_ID = re.compile(r"[ -~]{1,256}")
"""Ids of responses are foreign text: what no sane server would say is not remembered."""

OnChanged = Callable[[str, Whereabouts | None], None]
"""Told where a response lives from now on, to be written behind; None: it is gone."""


@dataclass(frozen=True, slots=True)
class Made:
    """An endpoint has made something that it keeps."""

    response_id: str
    endpoint_id: EndpointId
    owner: str | None


@dataclass(frozen=True, slots=True)
class Gone:
    """The endpoint keeps it no more."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """It is time to look for what has grown too old."""


Message = Made | Gone | Sweep


class ResponseDirectory:
    """Owns who made what, the newest 50,000 of the last 30 days; publishes the whereabouts.

    Entries of an endpoint that was removed stay until they are too old or too many: whoever asks
    for one is told that its endpoint is gone (503), not that there never was one (404).
    """

    def __init__(
        self,
        known: Mapping[str, Whereabouts],
        *,
        on_changed: OnChanged,
        now: Callable[[], datetime],
    ) -> None:
        """*known* is in the order of making."""
        self._mailbox = Mailbox[Message]()
        self._on_changed, self._now = on_changed, now
        # The order is that of making. It decides who goes first when they are too many, so that
        # a clock that was set back does not make the newest entries the oldest.
        self._entries = OrderedDict(known)
        self.whereabouts: Mapping[str, Whereabouts] = MappingProxyType(self._entries)

    def made(self, response_id: str, endpoint_id: EndpointId, owner: str | None) -> None:
        """*endpoint_id* keeps this from now on; tell it before the client learns the id.

        The newest word on an id counts: a conversation that goes on is young again.
        """
        self._mailbox.tell(Made(response_id, endpoint_id, owner))

    def gone(self, response_id: str) -> None:
        self._mailbox.tell(Gone(response_id))

    def mailbox_statistics(self) -> MailboxStatistics:
        return self._mailbox.statistics()

    def close(self) -> None:
        self._mailbox.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._bound()
        self._sweep()
        async with trio.open_nursery() as children:
            children.start_soon(self._sweep_from_time_to_time)
            await self._mailbox.serve(self._handle, task_status=task_status)
            children.cancel_scope.cancel()

    async def _sweep_from_time_to_time(self) -> None:
        with suppress(ActorGone):
            while True:
                await trio.sleep(SWEEP_EVERY_S)
                self._mailbox.tell(Sweep())

    def _handle(self, message: Message) -> None:
        match message:
            case Made(response_id, endpoint_id, owner):
                if _ID.fullmatch(response_id):
                    self._keep(response_id, Whereabouts(endpoint_id, owner, self._now()))
            case Gone(response_id):
                self._drop(response_id)
            case Sweep():
                self._sweep()
            case _:
                assert_never(message)

    def _keep(self, response_id: str, whereabouts: Whereabouts) -> None:
        self._entries[response_id] = whereabouts
        self._entries.move_to_end(response_id)
        self._on_changed(response_id, whereabouts)
        self._bound()

    def _drop(self, response_id: str) -> None:
        if self._entries.pop(response_id, None) is not None:
            self._on_changed(response_id, None)

    def _bound(self) -> None:
        while len(self._entries) > MOST_STORED_RESPONSES:
            self._entries.popitem(last=False)  # the store counts for itself, so it is not told

    def _sweep(self) -> None:
        # All are looked at, for with a clock that jumps the first need not be the oldest. It
        # takes milliseconds, once an hour.
        made_before = self._now() - KEPT_FOR
        for response_id in [k for k, v in self._entries.items() if v.made_at < made_before]:
            self._drop(response_id)
