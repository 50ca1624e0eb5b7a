"""What a seed stands for: which endpoints there are, what befalls them, who asks for what."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

from tests.simulation.parts import (
    DiskEvent,
    DiskTrouble,
    Event,
    Leaving,
    Lie,
    Limits,
    Make,
    Manner,
    Moment,
    OperatorEvent,
    Order,
    Trouble,
    UsageHabit,
    Wish,
)

MODELS = ("tiny", "small", "large")

_TROUBLES = (*Trouble, Trouble.CRASH, Trouble.FLAP, Trouble.LIES, Trouble.LIES)
_LIES = (*Lie, Lie.CUT, Lie.CUT, Lie.CUT, Lie.STALL, Lie.STALL)
"""What breaks an answer half way is worth the most, and so is drawn more often."""


class Script:
    """All that is drawn from one seed, each part from a generator of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._wishes = 0
        chance = self.chance("setting")
        self.limits = Limits(queue_max=chance.choice((1, 3, 10, 10, 100)))
        self.busy = chance.choice((0.1, 0.25, 0.25, 0.6))
        """Requests per second, on average."""
        self.gloom = chance.choice((0.0, 1.0, 2.0, 3.0))
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
                decode_tps=chance.choice((chance.uniform(2, 10), chance.uniform(10, 60))),
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
                chance.choice(_TROUBLES),
                for_s,
                chance.choice(_LIES),
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
