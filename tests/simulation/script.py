"""What a seed stands for: which endpoints there are, what befalls them, who asks for what."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MODELS = ("tiny", "small", "large")


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


class Script:
    """All that is drawn from one seed, each part from a generator of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._wishes = 0
        chance = self.chance("setting")
        self.limits = Limits(queue_max=chance.choice((1, 3, 10, 10, 100)))
        self.busy = chance.choice((0.1, 0.25, 0.25, 0.6))
        """Requests per second, on average."""
        self.gloom = chance.choice((0.0, 0.5, 1.0, 2.0))
        """How much befalls an endpoint; 1 is a fault per minute."""
        self.endpoints = tuple(self._makes(chance))
        self.persistent = chance.random() < 0.15
        """The database is a file, and the balancer is started anew now and then."""
        self.meddling = chance.random() < 0.4
        """There is an operator."""
        self.clock_jumps = chance.random() < 0.3

    def chance(self, part: str) -> random.Random:
        """The generator of one part: the parts do not disturb one another."""
        return random.Random(f"{self.seed}/{part}")

    @staticmethod
    def _makes(chance: random.Random) -> Iterator[Make]:
        n = chance.randint(1, 5)
        models = MODELS[: chance.randint(1, len(MODELS))]
        for i in range(n):
            slots = chance.choice((1, 1, 2, 4))
            # Every model has an endpoint, and most have more than one.
            own = {models[i % len(models)]} | {m for m in models if chance.random() < 0.5}
            yield Make(
                name=f"e{i}",
                models=tuple(sorted(own if i else models)),
                slots=slots,
                capacity=chance.choice((1, slots, slots, slots * 2)),
                connect_s=chance.uniform(0.0005, 0.05),
                prefill_cps=chance.uniform(200, 20_000),
                decode_tps=chance.uniform(5, 100),
                load_s=chance.choice((0.0, 2.0, 10.0, 40.0)),
                unload_after_s=chance.choice((30.0, 300.0)),
                keepalive_s=chance.choice((2.0, 5.0, 75.0)),
                usage=chance.choice((*[UsageHabit.IF_ASKED] * 3, *UsageHabit)),
                interval_s=chance.choice((10, 30)),
                inference_timeout_s=chance.choice((15, 30)),
            )

    def wishes(self, from_s: float, to_s: float) -> Iterator[Wish]:
        """What clients ask for in this time, in its order; to be called once per time."""
        chance = self.chance(f"clients from {from_s:.3f}")
        models = self.endpoints[0].models
        at_s = from_s
        while True:
            # Now and then many come at once.
            at_s += 0.0 if chance.random() < 0.25 else chance.expovariate(self.busy * 0.75)
            if at_s >= to_s:
                return
            self._wishes += 1
            manner = chance.choices(list(Manner), (80, 15, 5))[0]
            yield Wish(
                at_s=at_s,
                tag=f"r{self._wishes}",
                model=chance.choice(models),
                stream=chance.random() < 0.65,
                tokens=round(chance.triangular(1, 40, 5)),
                prompt_chars=round(chance.triangular(1, 4000, 200)),
                manner=manner,
                read_s=chance.choice((0.01, 0.3, 3.0)),
                stuck_at=chance.randint(1, 8),
                leaving=self._leaving(chance, manner),
            )

    @staticmethod
    def _leaving(chance: random.Random, manner: Manner) -> Leaving | None:
        if manner is Manner.STUCK:  # sooner or later somebody pulls the plug
            return Leaving(Moment.SENT, 0, chance.uniform(10, 400), 0)
        if chance.random() > 0.3:
            return None
        return Leaving(
            moment=chance.choice(list(Moment)),
            piece=round(chance.triangular(0, 40, 1)),
            after_s=chance.choice((0.0, 0.0, chance.expovariate(0.5), chance.expovariate(0.05))),
            steps=chance.randint(0, 80),
        )

    def events(self, from_s: float, to_s: float) -> Iterator[Event]:
        """What befalls the endpoints in this time, in its order; every fault ends in it."""
        found = [
            event for make in self.endpoints for event in self._events(make.name, from_s, to_s)
        ]
        yield from sorted(found, key=lambda event: event.at_s)

    def _events(self, endpoint: str, from_s: float, to_s: float) -> Iterator[Event]:
        chance = self.chance(f"{endpoint} from {from_s:.3f}")
        at_s = from_s
        while self.gloom:
            at_s += chance.expovariate(self.gloom / 60)
            for_s = chance.expovariate(1 / 20)
            if at_s + for_s >= to_s:
                return
            yield Event(
                at_s,
                endpoint,
                chance.choice(list(Trouble)),
                for_s,
                chance.choice(list(Lie)),
                chance.choice((0.3, 1.0)),
                chance.choice((2.0, 10.0, 100.0)),
            )
            at_s += for_s

    def disk_events(self, from_s: float, to_s: float) -> Iterator[DiskEvent]:
        """What befalls the disk in this time, in its order."""
        chance = self.chance(f"disk from {from_s:.3f}")
        at_s = from_s
        while self.gloom:
            at_s += chance.expovariate(self.gloom / 120)
            for_s = chance.expovariate(1 / 15)
            if at_s + for_s >= to_s:
                return
            yield DiskEvent(at_s, chance.choice(list(DiskTrouble)), for_s)
            at_s += for_s

    def operator_events(self, from_s: float, to_s: float) -> Iterator[OperatorEvent]:
        """What an operator does in this time, in its order."""
        chance = self.chance(f"operator from {from_s:.3f}")
        at_s = from_s
        while self.meddling:
            at_s += chance.expovariate(1 / 30)
            for_s = chance.expovariate(1 / 15)
            if at_s + for_s >= to_s:
                return
            endpoint = chance.choice(self.endpoints).name
            yield OperatorEvent(at_s, endpoint, chance.choice(list(Order)), for_s)
            at_s += for_s

    def jumps(self, from_s: float, to_s: float) -> Iterator[tuple[float, timedelta]]:
        """When the wall clock jumps in this time, and how far."""
        chance = self.chance(f"wall clock from {from_s:.3f}")
        at_s = from_s
        while self.clock_jumps:
            at_s += chance.expovariate(1 / 60)
            if at_s >= to_s:
                return
            yield at_s, timedelta(hours=chance.choice((-24, -1, 1, 24)))

    def restarts_at(self, from_s: float, to_s: float) -> float | None:
        """When the balancer is restarted in this time, if it is."""
        if not self.persistent:
            return None
        return self.chance(f"restart from {from_s:.3f}").uniform(from_s, to_s)
