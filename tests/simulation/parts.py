"""What a script is made of: endpoints, troubles, orders, clients and what they wish for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UsageHabit(StrEnum):
    """When an endpoint tells in a stream how many tokens it took."""

    IF_ASKED = "if asked"
    REFUSES = "refuses to be asked"
    NEVER = "never"


class Lie(StrEnum):
    """How an endpoint can answer a request without answering it."""

    FAULT_500 = "500"
    FAULT_503 = "503"
    RATE_LIMITED = "429"
    ERROR_OBJECT = "200 with an error object"
    EMPTY = "empty 200"
    WRONG_TYPE = "wrong content type"
    ERROR_EVENT = "an error event first"
    CUT = "cut short"
    STALL = "stalls"


class Trouble(StrEnum):
    """What can befall an endpoint for a while."""

    CRASH = "crash"
    HANG = "hang"
    SLOW = "slow"
    LIES = "lies"
    FLAP = "flap"
    PARTITION = "partition"
    RESTART = "restart"


class DiskTrouble(StrEnum):
    """What can befall the disk under the database."""

    LOCKED = "locked"
    FULL = "full"


class Order(StrEnum):
    """What an operator does to an endpoint for a while."""

    DRAIN = "drain"
    DISABLE = "disable"
    REMOVE = "remove"


class Manner(StrEnum):
    """How a client takes its answer."""

    PATIENT = "patient"
    SLOW = "slow"
    STUCK = "stuck"
    """Takes a few pieces, then no more."""


class Moment(StrEnum):
    """From when on a client thinks of leaving."""

    SENT = "sent"
    RECEIVED = "received"
    """By an endpoint."""
    PIECE = "piece"
    """Of the answer, which is being handed over to it."""


@dataclass(frozen=True, slots=True)
class Make:
    """What an endpoint is."""

    name: str
    models: tuple[str, ...]
    slots: int
    """So many requests it works on at once; more wait inside."""
    capacity: int
    """So many requests the balancer is told to send it at once."""
    connect_s: float
    prefill_cps: float
    """Characters of a prompt per second."""
    decode_tps: float
    load_s: float
    """To load a model that is not in its memory."""
    unload_after_s: float
    keepalive_s: float
    """After so long it closes an idle connection."""
    usage: UsageHabit
    interval_s: int
    """Between two probes."""
    inference_timeout_s: int


@dataclass(frozen=True, slots=True)
class Event:
    """*trouble* befalls *endpoint* at *at_s* and lasts *for_s*."""

    at_s: float
    endpoint: str
    trouble: Trouble
    for_s: float
    lie: Lie
    share: float
    """Of the requests that are lied to."""
    factor: float
    """By which it is slower."""


@dataclass(frozen=True, slots=True)
class DiskEvent:
    at_s: float
    trouble: DiskTrouble
    for_s: float


@dataclass(frozen=True, slots=True)
class OperatorEvent:
    at_s: float
    endpoint: str
    order: Order
    for_s: float


@dataclass(frozen=True, slots=True)
class Leaving:
    """A client goes *after_s* and *steps* turns of the scheduler from its moment on."""

    moment: Moment
    piece: int
    after_s: float
    steps: int


@dataclass(frozen=True, slots=True)
class Wish:
    """One request of one client."""

    at_s: float
    tag: str
    model: str
    stream: bool
    tokens: int
    """So many are asked for; an endpoint generates exactly these."""
    prompt_chars: int
    manner: Manner
    read_s: float
    """So long a slow client takes for each piece."""
    stuck_at: int
    leaving: Leaving | None


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of the balancer."""

    queue_max: int
    queue_timeout_s: float = 20.0
    connect_timeout_s: float = 3.0
    first_token_timeout_s: float = 25.0
    token_gap_timeout_s: float = 8.0
    stream_timeout_s: float = 90.0
