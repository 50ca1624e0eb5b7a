"""One run: everybody in turn, round after round, each alone with its core."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import machine
from bench.balancer import Llmlb
from bench.building import Tools, compile_tools, say
from bench.contenders import Contender, Scene, others
from bench.database import large_database
from bench.growth import grow
from bench.measures import FULL, QUICK, Faulty, Plan, measure
from bench.places import BUILD, PROXY_CORE, Unavailable
from bench.results import DIRECT, LLMLB, Results
from bench.stubs import stubs
from llmlb.demo.ports import LOOPBACK, free_port

LARGE = (10_000, 1_000_000)
QUICK_LARGE = (10_000, 20_000)
"""Keys, and requests in the history."""


class Run:
    """Owns the results of one run as they come."""

    def __init__(self, tools: Tools, directory: Path, *, quick: bool, plan: Plan) -> None:
        self._tools, self._directory = tools, directory
        self._quick, self._plan = quick, plan
        self._balancer = Llmlb()
        self.results = Results(quick, plan.window_s, machine.describe())

    def compare(self, wanted: Sequence[str]) -> None:
        """Let those of *wanted* who can be had take their turns; all, if it is empty. Blocks."""
        with ExitStack() as held:
            ports = held.enter_context(stubs(self._tools.stub, self._directory / "stub.log"))
            scenes = {
                contender: scene
                for contender in (*others(), self._balancer)
                if not wanted or contender.name in (*wanted, DIRECT, LLMLB)
                if (scene := self._installed(contender, ports[0])) is not None
            }
            for number in range(self._plan.rounds):
                self.results.rounds.append({})
                # each round in the other direction: what drifts favours nobody
                for contender in list(scenes)[:: -1 if number % 2 else 1]:
                    self._turn(number, contender, scenes[contender])
            self._start_large(scenes[self._balancer])

    def _installed(self, contender: Contender, stub_port: int) -> Scene | None:
        place = self._directory / contender.name
        place.mkdir()
        scene = Scene(stub_port, f"sk-{secrets.token_hex(16)}", place)
        try:
            version = contender.install()
        except Unavailable as reason:
            say(f"{contender.name} is skipped: {reason}")
            self.results.skipped[contender.name] = str(reason)
            return None
        self.results.versions[contender.name] = version
        self.results.about[contender.name] = contender.about
        self._note_command(contender, scene)
        return contender.prepare(scene)

    def _note_command(self, contender: Contender, scene: Scene) -> None:
        if contender.name == DIRECT:
            return
        names = {
            sys.executable: "python",
            f"{BUILD}/": "bench/build/",
            str(scene.directory): "DIR",
            f"{LOOPBACK}:{scene.stub_port}": "STUB",
        }
        port = free_port()
        command = " ".join(("taskset", "-c", str(PROXY_CORE), *contender.command(scene, port)))
        for place, name in {**names, str(port): "PORT"}.items():
            command = command.replace(place, name)
        command = re.sub(r"(--prometheus-port) \d+", r"\1 PORT", command)
        self.results.commands[contender.name] = command

    def _turn(self, number: int, contender: Contender, scene: Scene) -> None:
        say(f"round {number + 1} of {self._plan.rounds}: {contender.name}")
        try:
            with contender.started(scene) as running:
                if contender is self._balancer:
                    self._balancer.prove(running)
                    self.results.proofs += 1
                figures, faults = measure(self._tools.lg, self._plan, running, weigh=number == 0)
                if contender is self._balancer and (lost := self._balancer.unrecorded(running)):
                    faults.append(f"{contender.name}: {lost:,} requests were not recorded")
        except Unavailable as reason:
            figures, faults = {}, [f"{contender.name}: {reason}"]
        for fault in faults:
            say(f"not counted: {fault}")
        self.results.rounds[-1][contender.name] = figures
        self.results.faults += [f"round {number + 1}, {fault}" for fault in faults]

    def _start_large(self, scene: Scene) -> None:
        """Start llmlb on a large database, as often as there are rounds."""
        keys, rows = QUICK_LARGE if self._quick else LARGE
        large = large_database(Llmlb(), scene, keys, rows)
        self.results.large = {"keys": keys, "rows": rows}
        for of in self.results.rounds:
            with self._balancer.started(large) as running:
                assert running.start_s is not None
                of.setdefault(self._balancer.name, {})["start_large_s"] = running.start_s

    def grow(self) -> None:
        """Measure what a request costs among many endpoints and models. Blocks."""
        for sizes in grow(self._tools, self._plan, self._directory, quick=self._quick):
            self.results.growth.append(sizes)


def compare_all(
    *, quick: bool, rounds: int | None, window_s: float | None, wanted: Sequence[str]
) -> Results:
    """The whole benchmark. Raises Unavailable, NotShown. Blocks for minutes."""
    usual = QUICK if quick else FULL
    plan = replace(usual, window_s=window_s or usual.window_s, rounds=rounds or usual.rounds)
    with TemporaryDirectory(prefix="bench-") as directory:
        one = Run(compile_tools(), Path(directory), quick=quick, plan=plan)
        one.compare(wanted)
        try:
            one.grow()
        except Faulty as fault:
            one.results.faults.append(f"llmlb, {fault}")
    return one.results
