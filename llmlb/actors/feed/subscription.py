"""What a subscriber holds of the feed, and how it comes by what it is told."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self, cast

import trio

from llmlb.actors.feed.messages import Batch, Leave, Message, Reader
from llmlb.actors.feed.readers import Readers
from llmlb.actors.mailbox import ActorGone, Mailbox


class Subscription:
    """The right to be told what happens, held by one subscriber: a context manager.

    Leaving it is synchronous, so it works in a task that is being cancelled.
    """

    def __init__(
        self, readers: Readers, mailbox: Mailbox[Message], reader: Reader, *, reset: bool
    ) -> None:
        self._readers, self._mailbox, self._reader = readers, mailbox, reader
        self.seq = reader.seq
        """Of the event after which it begins."""
        self.reset = reset
        """It was to go on after an event that is not known any more, so some may be missing."""

    async def next(self) -> Batch:
        """What has happened since the last time; waits for it. Raises ActorGone.

        Cancelled, it has taken nothing: the next call brings it. No message goes to the feed: what
        is there is read, and the feed wakes whoever waits with what there is by then.
        """
        readers, reader = self._readers, self._reader
        if readers.has_for(reader):
            await trio.lowlevel.checkpoint()
            return readers.take(reader)
        # a Reply would do the same at one and a half times the price
        reader.waiting = trio.lowlevel.current_task()
        return cast("Batch", await trio.lowlevel.wait_task_rescheduled(reader.give_up))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ActorGone):
            self._mailbox.tell(Leave(self._reader))
