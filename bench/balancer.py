"""llmlb as a contender: with users, keys, history and metrics on, and proof that they are."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import httpx

from bench.contenders import Contender, Running, Scene, bearer
from llmlb import __version__
from llmlb.demo.children import Child, end_all, environment_for_children
from llmlb.demo.ports import LOOPBACK, free_port
from llmlb.demo.servers import hypercorn_command

T = TypeVar("T")

SLOTS = 5_000
"""Of each endpoint: what is measured is the relay, not the line."""

PATIENCE_S = 30.0
MOST_AT_ONCE = 100
"""A page of the management API."""

CHAT = {"model": "stub", "messages": [{"role": "user", "content": "Hello"}]}


class NotShown(Exception):
    """A run does not do what it claims to measure; the text says what is missing."""


class Llmlb(Contender):
    name = "llmlb"
    about = "checks the key, admits and leases, records history, statistics and metrics"

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._password = secrets.token_urlsafe(18)
        self._settings = dict(settings or {})

    def install(self) -> str:
        return __version__

    def environment(self, scene: Scene) -> Mapping[str, str]:
        return {
            "LLMLB_DATA_DIR": str(scene.directory / "data"),
            "LLMLB_ADMIN_PASSWORD": self._password,
            **self._settings,
        }

    def command(self, scene: Scene, port: int) -> Sequence[str]:  # noqa: ARG002
        return hypercorn_command(port)

    def prepare(self, scene: Scene, *, stub_ports: Sequence[int] | None = None) -> Scene:
        """With a key, and an endpoint for each stub, all registered through the API."""
        ports = stub_ports or [scene.stub_port]
        with self.managed(scene) as manager:
            key = manager.make_key()
            manager.register([f"http://{LOOPBACK}:{port}" for port in ports])
        return replace(scene, key=key)

    @contextmanager
    def managed(self, scene: Scene) -> Iterator[Manager]:
        """It runs, not pinned, and its administrator has logged in."""
        port = free_port()
        child = Child(
            self.name,
            hypercorn_command(port),
            log=scene.directory / "prepare.log",
            environment=environment_for_children(**self.environment(scene)),
        )
        try:
            with self.manager(port) as manager:
                yield manager
        finally:
            end_all([child], within_s=PATIENCE_S)

    @contextmanager
    def manager(self, port: int) -> Iterator[Manager]:
        """Its administrator, logged in at *port*."""
        url = f"http://{LOOPBACK}:{port}"
        # each request on a connection of its own: what is measured finds none of ours beside it
        own = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S, limits=own) as client:
            said = {"username": "admin", "password": self._password}
            token = until(partial(_logged_in, client, said), "nobody could log in")
            client.headers.update(bearer(token))
            yield Manager(client)

    def prove(self, running: Running) -> None:
        """Show by one request that key, lease, history and metrics are real. Raises NotShown."""
        with self.manager(running.port) as manager:
            manager.prove(running.key)

    def unrecorded(self, running: Running) -> int:
        """Of how many requests the history is lost: it could not keep up. 0, or it cheats."""
        with self.manager(running.port) as manager:
            return int(manager.metric("llmlb_history_dropped_total"))


def _logged_in(client: httpx.Client, said: object) -> str | None:
    try:
        response = client.post("/api/auth/login", json=said)
    except httpx.TransportError:
        return None
    if response.status_code != 200:
        return None
    token: str = response.json()["token"]
    return token


@dataclass(frozen=True, slots=True)
class Manager:
    """The administrator of a balancer that runs."""

    client: httpx.Client

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The JSON of one management request. Raises NotShown if it is refused."""
        response = self.client.request(method, path, json=body)
        if not response.is_success:
            raise NotShown(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return response.json()

    def make_key(self) -> str:
        """A key that may do what a client does, and no more."""
        permissions = ["openai.inference", "openai.models.read"]
        key: str = self.ask(
            "POST", "/api/me/api-keys", {"name": "bench", "permissions": permissions}
        )["key"]
        return key

    def register(self, urls: Sequence[str]) -> None:
        """Register endpoints, and wait until all are online and their models are known."""
        known = self._n_online()
        for url in urls:
            form = {"name": url, "base_url": url, "max_concurrency": SLOTS}
            self.ask("POST", "/api/endpoints", form)
        wanted = known + len(urls)
        until(lambda: self._n_online() >= wanted or None, f"not all {wanted} came online")

    def _n_online(self) -> int:
        page, found = 1, 0
        while True:
            path = f"/api/endpoints?status=online&page={page}&per_page={MOST_AT_ONCE}"
            shown = self.ask("GET", path)["endpoints"]
            found += sum(1 for endpoint in shown if endpoint["model_count"])
            if len(shown) < MOST_AT_ONCE:
                return found
            page += 1

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of *name* with these labels; 0 if there are none."""
        text = self.client.get("/metrics").text
        samples = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for said, value in samples if all(w in said for w in wanted))

    def prove(self, key: str) -> None:
        """What `Llmlb.prove` says."""
        unknown = httpx.post(self._chat_url, json=CHAT, trust_env=False)
        if unknown.status_code != 401:
            raise NotShown(f"Without a key the answer was {unknown.status_code}, not 401.")
        counted = self.metric("llmlb_requests_total", outcome="succeeded")
        answer = httpx.post(self._chat_url, json=CHAT, headers=bearer(key), trust_env=False)
        if answer.status_code != 200 or "x-llmlb-endpoint" not in answer.headers:
            raise NotShown(f"With the key the answer was {answer.status_code}, from no endpoint.")
        request_id = answer.headers["x-request-id"]
        path = f"/api/dashboard/request-responses?request_id={request_id}"
        until(lambda: self._rows(path) == 1 or None, "the request is not in the history")
        if self.metric("llmlb_requests_total", outcome="succeeded") <= counted:
            raise NotShown("The request was not counted.")

    @property
    def _chat_url(self) -> str:
        return f"{str(self.client.base_url).rstrip('/')}/v1/chat/completions"

    def _rows(self, path: str) -> int:
        records: Sequence[object] = self.ask("GET", path)["records"]
        return len(records)


def until(look: Callable[[], T | None], otherwise: str) -> T:
    """What *look* gives, as soon as it is something. Raises NotShown. Blocks."""
    end_s = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        if time.monotonic() > end_s:
            raise NotShown(f"{otherwise} in {PATIENCE_S:g} s.")
        time.sleep(0.05)
    return found
