"""Whether llmlb keeps anything that it should give back: half an hour at half load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression

from bench import proc
from bench.balancer import Llmlb, Manager, until
from bench.building import Tools, say
from bench.contenders import Running, Scene
from bench.load import Ask, Load, parse, put_load
from bench.measures import FAST_MODEL, Faulty
from bench.places import LOAD_CORE
from bench.stubs import stubs
from bench.watched import TASKS_FILE

STREAMS = 64
"""At 100 chunks a second each they are about a quarter of a load; requests are another."""
SHARE_OF_REQUESTS = 0.25
LEAVING_PERCENT = 5.0

WARMUP_SHARE = 1 / 6
LOOK_EVERY_S = 5.0
SETTLE_LIMIT_S = 60.0
"""For connections that are kept open to be given up."""
TRIAL_S = 3.0


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a balancer holds when nobody asks it anything."""

    sockets: int
    tasks: int
    leases: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it."""

    minutes: float
    requests: int
    streams: int
    left: int
    chunks: int
    slope_mb_per_h: float
    """Of PSS, after the warm-up."""
    before: Holdings
    after: Holdings
    samples: Sequence[tuple[float, float]]
    """Seconds since the beginning, and MB."""

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def load_soaked(path: Path) -> Soaked | None:
    """What `save` wrote; None if there was no soak."""
    if not path.exists():
        return None
    said = json.loads(path.read_text())
    before, after = Holdings(**said.pop("before")), Holdings(**said.pop("after"))
    return Soaked(before=before, after=after, **said)


class _Watched(Llmlb):
    """Under the same command, with an app that tells of its tasks."""

    def __init__(self, tasks_file: Path) -> None:
        super().__init__()
        self.tasks_file = tasks_file

    def command(self, scene: Scene, port: int) -> Sequence[str]:
        return [
            w.replace("llmlb.http:app", "bench.watched:app") for w in super().command(scene, port)
        ]

    def environment(self, scene: Scene) -> Mapping[str, str]:
        return {**super().environment(scene), TASKS_FILE: str(self.tasks_file)}

    def tasks(self) -> int:
        """How many there are now. Raises NotShown if it does not say."""
        self.tasks_file.unlink(missing_ok=True)
        os.kill(int(self.tasks_file.with_suffix(".pid").read_text()), signal.SIGUSR1)

        def look() -> int | None:
            with suppress(FileNotFoundError):
                return int(self.tasks_file.read_text())
            return None

        return until(look, "the tasks were not told")


def soak(tools: Tools, directory: Path, minutes: float) -> Soaked:
    """Put half a load on for so long. Raises Faulty, NotShown. Blocks."""
    balancer = _Watched(directory / "tasks")
    with stubs(tools.stub, directory / "stub.log") as ports:
        scene = balancer.prepare(Scene(ports[0], "", directory))
        with balancer.started(scene) as running, balancer.manager(running.port) as manager:
            manager.prove(running.key)
            rate_per_s = _trial(tools, running) * SHARE_OF_REQUESTS
            say(f"half load: {rate_per_s:.0f} requests/s beside {STREAMS} streams")
            _put_on(tools, running, rate_per_s, TRIAL_S)
            before = _settled(balancer, manager, running, None)
            loads, samples = _put_on(tools, running, rate_per_s, minutes * 60)
            after = _settled(balancer, manager, running, before)
    plain, streams = loads
    return Soaked(
        minutes=minutes,
        requests=plain.started,
        streams=streams.started,
        left=streams.left,
        chunks=streams.chunks,
        slope_mb_per_h=slope_per_h(samples, from_s=minutes * 60 * WARMUP_SHARE),
        before=before,
        after=after,
        samples=samples,
    )


def slope_per_h(samples: Sequence[tuple[float, float]], *, from_s: float) -> float:
    """How fast the second value grows in an hour, by least squares, from *from_s* seconds on."""
    late = [sample for sample in samples if sample[0] >= from_s]
    if len(late) < 2:
        return 0.0
    return linear_regression(*zip(*late, strict=True)).slope * 3600


def _trial(tools: Tools, running: Running) -> float:
    """Requests per second at full load."""
    found = put_load(
        tools.lg, Ask(32, TRIAL_S, 1.0), running.port, key=running.key, pid=running.pid
    )
    if found.load.fault is not None:
        raise Faulty(f"soak, trial: {found.load.fault}")
    return found.load.requests_per_s


def _put_on(
    tools: Tools, running: Running, rate_per_s: float, for_s: float
) -> tuple[list[Load], list[tuple[float, float]]]:
    """Both loads at once, and how much memory was held in the course of it."""
    assert running.pid is not None
    asks = [
        Ask(64, for_s, 0.0, rate_per_s=rate_per_s),
        Ask(STREAMS, for_s, 0.0, FAST_MODEL, streams=True, leaving_percent=LEAVING_PERCENT),
    ]
    generators = [_generator(tools, ask, running) for ask in asks]
    samples, began_s = [], time.monotonic()
    try:
        while any(generator.poll() is None for generator in generators):
            at_s = time.monotonic() - began_s
            samples.append((round(at_s, 1), proc.memory(running.pid).pss / 1e6))
            time.sleep(min(LOOK_EVERY_S, max(for_s / 20, 0.1)))
        loads = [parse(generator.communicate()[0]) for generator in generators]
    finally:
        for generator in generators:
            generator.kill()
            generator.wait()
    for load in loads:
        if load.fault is not None:
            raise Faulty(f"soak: {load.fault}")
    return loads, samples


def _generator(tools: Tools, ask: Ask, running: Running) -> subprocess.Popen[str]:
    command = ["taskset", "-c", str(LOAD_CORE), str(tools.lg)]
    return subprocess.Popen(  # noqa: S603 - our own command, without a shell
        [*command, *ask.arguments(running.port, running.key)], stdout=subprocess.PIPE, text=True
    )


def _settled(
    balancer: _Watched, manager: Manager, running: Running, before: Holdings | None
) -> Holdings:
    """What is held once nobody asks anything: as soon as it is no more than *before*."""
    assert running.pid is not None
    end_s = time.monotonic() + (TRIAL_S if before is None else SETTLE_LIMIT_S)
    while True:
        time.sleep(1)
        leases = int(manager.metric("llmlb_endpoint_leases"))
        held = Holdings(proc.sockets(running.pid), balancer.tasks(), leases)
        given_back = before is not None and not grown(before, held)
        if given_back or time.monotonic() > end_s:
            return held


def grown(before: Holdings, after: Holdings) -> dict[str, int]:
    """What has become more, and by how much."""
    were, are = asdict(before), asdict(after)
    return {name: are[name] - were[name] for name in were if are[name] > were[name]}
