"""Real processes for the end-to-end tests: llama.cpp servers, and a balancer in front of them.

Everything here blocks; in async tests call what takes time (`start`, `restart`, `stop`, the
waits) through `trio.to_thread.run_sync`. `kill` is quick.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from llmlb.demo.children import Child, end_all, environment_for_children
from llmlb.demo.ports import LOOPBACK, free_port
from llmlb.demo.servers import LlamaServer, address_of, hypercorn_command, llmlb_serve_command
from llmlb.demo.tiny_models import write_tiny_llama

Face = Literal["serve", "hypercorn"]

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
LOOK_EVERY_S = 0.05


class Server:
    """Owns one llama.cpp server process, which keeps its port when it is restarted."""

    def __init__(self, spec: LlamaServer, log_dir: Path) -> None:
        self.spec = spec
        self._log_dir = log_dir
        self._child: Child | None = None
        self._port = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def model(self) -> str:
        """The id that it lists in /v1/models."""
        return self.spec.alias

    @property
    def base_url(self) -> str:
        assert self._port, f"{self.name} was never started"
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.exit_code() is None

    def launch(self) -> None:
        """Start the process without waiting; a second start takes the first one's port."""
        assert not self.is_running, f"{self.name} is running already"
        self._child = self.spec.start(
            self._log_dir, port=self._port, environment=environment_for_children()
        )

    def wait_until_ready(self) -> None:
        child = self._child
        assert child is not None
        wait_for(lambda: address_of(child), f"{self.name} to be ready", watched=child)
        address = address_of(child)
        assert address is not None
        self._port = httpx.URL(address).port or 0

    def start(self) -> None:
        self.launch()
        self.wait_until_ready()

    def kill(self) -> None:
        """SIGKILL: no goodbye to anybody."""
        assert self._child is not None
        self._child.kill()

    def restart(self) -> None:
        """Start it again on the same port, killing it first if it still runs."""
        if self.is_running:
            self.kill()
        self.start()

    def stop(self) -> int | None:
        """End it if it runs, by force if it must be. Gives the exit code."""
        if self._child is None:
            return None
        end_all([self._child], within_s=STOP_TIMEOUT_S)
        return self._child.exit_code()


@dataclass(frozen=True, slots=True)
class Fleet:
    """Five servers: two models of one endpoint each, one model of two, and embeddings."""

    a: Server
    b: Server
    s1: Server
    s2: Server
    embed: Server

    def __iter__(self) -> Iterator[Server]:
        return (getattr(self, field.name) for field in fields(self))

    def ensure_running(self) -> None:
        """Start those that a test has killed."""
        down = [server for server in self if not server.is_running]
        for server in down:
            server.launch()
        for server in down:
            server.wait_until_ready()


@contextmanager
def run_fleet(directory: Path) -> Iterator[Fleet]:
    """Make the models, start all five servers, and end them whatever happens."""

    def server(seed: int, name: str, alias: str, *, embeddings: bool = False) -> Server:
        path = write_tiny_llama(directory / f"{name}.gguf", name=alias, seed=seed)
        return Server(LlamaServer(name, path, alias, embeddings=embeddings), directory)

    fleet = Fleet(
        a=server(0, "a", "tiny-a"),
        b=server(1, "b", "tiny-b"),
        s1=server(2, "s1", "tiny-s"),
        s2=server(3, "s2", "tiny-s"),
        embed=server(4, "embed", "tiny-embed", embeddings=True),
    )
    try:
        fleet.ensure_running()
        yield fleet
    finally:
        for one in fleet:
            one.stop()


class Balancer:
    """Owns one balancer process on a free port, and the directory of its data."""

    def __init__(
        self,
        directory: Path,
        *,
        face: Face = "serve",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = directory / "data"
        self.face = face
        self.port = free_port()
        self._settings = dict(settings or {})
        self._log = directory / "balancer.log"
        self._child: Child | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end_somehow()

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def child(self) -> Child:
        assert self._child is not None, "the balancer was never started"
        return self._child

    def launch(self) -> Child:
        """Start the process without waiting; a second start finds the first one's data."""
        command = hypercorn_command if self.face == "hypercorn" else llmlb_serve_command
        environment = environment_for_children(
            **{
                "LLMLB_DATA_DIR": str(self.data_dir),
                "LLMLB_PORT": str(self.port),
                "LLMLB_HEALTH_CHECK_INTERVAL": "1",
                "LLMLB_LANE": os.environ.get("LLMLB_LANE", "on"),
                **self._settings,
            }
        )
        self._child = Child("balancer", command(self.port), log=self._log, environment=environment)
        return self._child

    def start(self) -> None:
        """Start the process and wait until it answers /health."""
        child = self.launch()
        wait_for(self.is_up, "the balancer to answer /health", watched=child)

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.base_url}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """SIGTERM; gives the exit code. Fails if it does not end by itself in time."""
        child = self.child
        child.ask_to_end()
        assert child.wait(STOP_TIMEOUT_S), f"still running after SIGTERM:\n{self.log_tail()}"
        code = child.exit_code()
        assert code is not None
        return code

    def kill(self) -> None:
        """SIGKILL, to hypercorn's worker too."""
        self.child.kill()

    def end_somehow(self) -> None:
        """For teardown: it is gone afterwards, in whatever state it was."""
        if self._child is not None:
            end_all([self._child], within_s=STOP_TIMEOUT_S)

    def log_tail(self) -> str:
        """The end of what the latest process wrote."""
        return self.child.output()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One management request; gives its JSON (None for 204), fails on an error status."""
        response = httpx.request(
            method, f"{self.base_url}{path}", json=body, trust_env=False, timeout=30
        )
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def register(self, server: Server, *, name: str | None = None, **more: object) -> str:
        """Register *server* as an endpoint; gives its id. Does not wait for its models."""
        body = {"name": name or server.name, "base_url": server.base_url, **more}
        endpoint_id: str = self.ask("POST", "/api/endpoints", body)["id"]
        return endpoint_id

    def register_all(self, *servers: Server) -> dict[str, str]:
        """Register and wait until all their models are served; gives ids by name."""
        ids = {server.name: self.register(server) for server in servers}
        self.wait_until_online(*ids)
        self.wait_for_models(*{server.model for server in servers})
        return ids

    def endpoints(self) -> dict[str, dict[str, Any]]:
        """All endpoints as /api/endpoints shows them, by name."""
        return {item["name"]: item for item in self.ask("GET", "/api/endpoints")["endpoints"]}

    def model_ids(self) -> set[str]:
        return {item["id"] for item in self.ask("GET", "/v1/models")["data"]}

    def wait_until_online(self, *names: str) -> None:
        """Wait until these endpoints are online with their models known."""
        self.wait_until_status("online", *names)
        wait_for(
            lambda: all(self.endpoints()[name]["model_count"] for name in names),
            f"{names} to have models",
            watched=self.child,
        )

    def wait_until_status(self, status: str, *names: str) -> None:
        wait_for(
            lambda: all(self.endpoints()[name]["status"] == status for name in names),
            f"{names} to be {status}",
            watched=self.child,
        )

    def wait_for_models(self, *model_ids: str) -> None:
        """Wait until clients are offered these models."""
        wait_for(
            lambda: set(model_ids) <= self.model_ids(),
            f"/v1/models to list {model_ids}",
            watched=self.child,
        )


def wait_for(
    condition: Callable[[], object],
    what: str,
    *,
    watched: Child | None = None,
    within_s: float = START_TIMEOUT_S,
) -> None:
    """Look until *condition* is true; fails with the log of *watched*, at once if that died."""
    end_s = time.monotonic() + within_s
    while not condition():
        log = watched.output() if watched is not None else ""
        if watched is not None and watched.exit_code() is not None:
            raise AssertionError(f"waiting for {what}: {watched!r}\n{log}")
        assert time.monotonic() < end_s, f"waited {within_s} s for {what}\n{log}"
        time.sleep(LOOK_EVERY_S)
