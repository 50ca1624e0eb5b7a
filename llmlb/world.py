"""Everything that makes two runs differ, so that tests can hold it still."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import trio


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def new_uuid() -> str:
    """The text of a random UUID, in half the time that `uuid.uuid4` takes to make its object."""
    text = os.urandom(16).hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True)
class World:
    """Everything that makes two runs differ, so that tests can hold it still."""

    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = trio.current_time
    rng: random.Random = random.Random()  # noqa: S311, RUF009 - jitter; one is enough # nosec B311
    new_id: Callable[[], str] = new_uuid
