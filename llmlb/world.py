"""Everything that makes two runs differ, so that tests can hold it still."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import trio


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class World:
    """Everything that makes two runs differ, so that tests can hold it still."""

    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = trio.current_time
    rng: random.Random = random.Random()  # noqa: S311, RUF009 - jitter; one is enough # nosec B311
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
