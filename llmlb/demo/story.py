"""What the demonstration shows, from the first model file to the answer on the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import trio

from llmlb.demo.children import Child, environment_for_children
from llmlb.demo.ports import LOOPBACK
from llmlb.demo.screen import Screen, table
from llmlb.demo.servers import LlamaServer, address_of, hypercorn_command
from llmlb.demo.stopping import DemoFailed
from llmlb.demo.talk import EndpointRow, Talk

MODEL = "tiny-llama"
PROMPT = "Say hello to the world."
MAX_TOKENS = 96
SERVER_NAMES = ("llama-a", "llama-b")

LOOK_EVERY_S = 0.1
SERVER_START_TIMEOUT_S = 30.0
BALANCER_START_TIMEOUT_S = 30.0
MODELS_TIMEOUT_S = 60.0
COMPLETION_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demonstration keeps its files: nothing outside *directory* is touched."""

    directory: Path
    port: int

    @property
    def models(self) -> Path:
        return self.directory / "models"

    @property
    def run(self) -> Path:
        """What belongs to this run only; no other can have the same port."""
        return self.directory / f"run-{self.port}"

    @property
    def data(self) -> Path:
        return self.run / "data"

    def prepare(self) -> None:
        """Make the directories, and forget what an earlier run left. Raises DemoFailed."""
        try:
            if self.run.exists():
                shutil.rmtree(self.run)
            self.models.mkdir(parents=True, exist_ok=True)
            self.data.mkdir(parents=True)
        except OSError as error:
            raise DemoFailed(
                f"cannot write to {self.directory} ({error.strerror}); "
                "start the demonstration in a directory of yours."
            ) from None


class Story:
    """Owns the order of events; *children* grows as processes are started."""

    def __init__(self, place: Place, screen: Screen, children: list[Child]) -> None:
        self._place = place
        self._screen = screen
        self._children = children

    async def tell(self) -> None:
        """From nothing to one streamed answer. Raises DemoFailed."""
        servers = self._write_models()
        addresses = await self._start_servers(servers)
        base_url = f"http://{LOOPBACK}:{self._place.port}"
        self._start_balancer()
        async with httpx.AsyncClient(
            base_url=base_url, timeout=REQUEST_TIMEOUT_S, trust_env=False
        ) as http:
            talk = Talk(http)
            await self._wait_for_balancer(talk)
            await self._register(talk, addresses)
            await self._wait_for_models(talk, expected=len(addresses))
            await self._show_answer(talk)
            self._show_endpoints(await talk.endpoints())
        self._show_what_next(base_url)

    def _write_models(self) -> list[LlamaServer]:
        try:
            from llmlb.demo.tiny_models import (  # noqa: PLC0415 - only the `demo` extra brings it
                write_tiny_llama,
            )
        except ImportError as error:
            raise DemoFailed(
                f"the demonstration's packages are not installed ({error}); "
                "install them with: pip install 'llmlb[demo]'"
            ) from None
        self._screen.step("Making two tiny models with random weights (their text is noise)")
        servers = []
        for seed, name in enumerate(SERVER_NAMES):
            path = write_tiny_llama(self._place.models / f"{name}.gguf", name=MODEL, seed=seed)
            self._screen.detail(f"{path} ({path.stat().st_size // 1024} KiB)")
            servers.append(LlamaServer(name, path, MODEL))
        return servers

    async def _start_servers(self, servers: list[LlamaServer]) -> dict[str, str]:
        self._screen.step("Starting two llama.cpp servers")
        environment = environment_for_children()
        started = [s.start(self._place.run, environment=environment) for s in servers]
        self._children += started
        addresses: dict[str, str] = {}

        async def all_have_announced() -> bool:
            for child in started:
                if child.name not in addresses and (address := address_of(child)) is not None:
                    addresses[child.name] = address
                    self._screen.detail(f"{child.name}: {address}, process {child.pid}")
            await trio.lowlevel.checkpoint()
            return len(addresses) == len(started)

        await self._until(all_have_announced, SERVER_START_TIMEOUT_S, "the servers were not ready")
        return addresses

    def _start_balancer(self) -> None:
        command = hypercorn_command(self._place.port)
        self._screen.step("Starting the balancer")
        self._screen.detail(" ".join(["hypercorn", *command[3:]]))
        environment = environment_for_children(
            LLMLB_DATA_DIR=str(self._place.data.resolve()), LLMLB_PORT=str(self._place.port)
        )
        log = self._place.run / "balancer.log"
        self._children.append(Child("balancer", command, log=log, environment=environment))

    async def _wait_for_balancer(self, talk: Talk) -> None:
        await self._until(talk.is_up, BALANCER_START_TIMEOUT_S, "the balancer did not answer")

    async def _register(self, talk: Talk, addresses: dict[str, str]) -> None:
        self._screen.step("Registering both servers as endpoints")
        for name, address in addresses.items():
            await talk.register(name, address)
            self._screen.detail(f"POST /api/endpoints name={name} base_url={address}")

    async def _wait_for_models(self, talk: Talk, *, expected: int) -> None:
        self._screen.step("Waiting until their models show up in /v1/models")
        shown = ""

        async def all_are_online() -> bool:
            nonlocal shown
            rows = await talk.endpoints()
            progress = ", ".join(f"{row.name} {row.status}" for row in rows)
            if progress != shown:
                self._screen.detail(progress)
                shown = progress
            ready = [row for row in rows if row.status == "online" and row.model_count]
            return len(ready) >= expected and MODEL in await talk.model_ids()

        await self._until(all_are_online, MODELS_TIMEOUT_S, "the endpoints did not come online")

    async def _show_answer(self, talk: Talk) -> None:
        self._screen.step(f"Streaming one chat completion from {MODEL}: {PROMPT!r}")
        with self._bound(COMPLETION_TIMEOUT_S, "the completion did not end"):
            answer = await talk.stream_chat(
                MODEL, PROMPT, max_tokens=MAX_TOKENS, on_text=self._screen.token
            )
        self._screen.end_line()
        if not answer.finished or not answer.pieces:
            raise DemoFailed(
                f"the stream ended after {answer.pieces} pieces of text "
                f"and {'with' if answer.finished else 'without'} its [DONE]."
            )
        self._screen.step(f"Served by endpoint {answer.endpoint}, {answer.pieces} pieces of text")

    def _show_endpoints(self, rows: list[EndpointRow]) -> None:
        self._screen.step("The registered endpoints")
        header = ("name", "status", "engine", "models", "at once", "latency ms", "base url")
        cells = [
            (
                *(row.name, row.status, row.engine, row.model_count, row.max_concurrency),
                *(None if row.latency_ms is None else f"{row.latency_ms:.1f}", row.base_url),
            )
            for row in rows
        ]
        self._screen.detail(table(header, cells))

    def _show_what_next(self, base_url: str) -> None:
        self._screen.step("Try next")
        self._screen.detail(
            f"curl {base_url}/v1/models\n"
            f"curl {base_url}/api/endpoints\n"
            f"curl -N {base_url}/v1/chat/completions -H 'content-type: application/json' \\\n"
            f'  -d \'{{"model": "{MODEL}", "stream": true, "max_tokens": 32, '
            '"messages": [{"role": "user", "content": "hello"}]}\'\n'
            f"OpenAI(base_url='{base_url}/v1', api_key='any')  # the openai package\n"
            f"logs: {self._place.run}"
        )

    def say_it_stays_up(self) -> None:
        """The last line before the terminal is quiet."""
        self._screen.step("All of it stays up until Ctrl-C")

    async def _until(
        self, look: Callable[[], Awaitable[bool]], timeout_s: float, what: str
    ) -> None:
        with self._bound(timeout_s, what):
            while True:
                if await look():
                    return
                await trio.sleep(LOOK_EVERY_S)

    @contextmanager
    def _bound(self, timeout_s: float, what: str) -> Iterator[None]:
        try:
            with trio.fail_after(timeout_s):
                yield
        except trio.TooSlowError:
            raise DemoFailed(
                f"{what} within {timeout_s:.0f} s; the logs are in {self._place.run}."
            ) from None
