"""The management routes on a real house, with a store in memory and endpoints that are fakes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
import trio
from quart.typing import TestClientProtocol
from quart_trio import QuartTrio

from llmlb.errors import ShuttingDown
from llmlb.house import House, open_house
from llmlb.http.hooks import install_hooks
from llmlb.http.manage.endpoints import management
from llmlb.settings import Settings
from llmlb.store.opening import Store, open_store
from llmlb.world import World
from tests.fakes.gates import gate_of
from tests.fakes.surveyor import FakeSurveyor

T = TypeVar("T")

LOOPBACK = {"client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 32768)}
"""Others are not served before there are users and keys."""

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def run_inline(sync_fn: Callable[[], T], /) -> T:
    await trio.lowlevel.checkpoint()
    return sync_fn()


@dataclass
class Answer:
    status: int
    json: Any

    @property
    def error(self) -> dict[str, Any]:
        assert self.status >= 400, self
        error: dict[str, Any] = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error


class Api:
    """Speaks to the management routes, as an operator would, and knows what is behind them."""

    def __init__(
        self, client: TestClientProtocol, house: House, surveyor: FakeSurveyor, store: Store
    ) -> None:
        self._client = client
        self.house, self.surveyor, self.store = house, surveyor, store
        self.closed = False

    async def __call__(
        self, method: str, path: str, body: Any = None, *, prefix: str = "/api", **options: Any
    ) -> Answer:
        if body is not None:
            options["json"] = body
        response = await self._client.open(
            f"{prefix}{path}", method=method, scope_base=LOOPBACK, **options
        )
        raw = await response.get_data(as_text=False)
        return Answer(response.status_code, await response.get_json() if raw else None)

    async def registered(self, name: str = "gpu", **fields: Any) -> dict[str, Any]:
        """Register an endpoint, and wait until it has been probed."""
        body = {"name": name, "base_url": f"http://{name}.lan:8000", **fields}
        answer = await self("POST", "/endpoints", body)
        assert answer.status == 201, answer
        await trio.testing.wait_all_tasks_blocked()
        created: dict[str, Any] = answer.json
        return created

    async def shown(self, endpoint: dict[str, Any]) -> dict[str, Any]:
        answer = await self("GET", f"/endpoints/{endpoint['id']}")
        assert answer.status == 200, answer
        shown: dict[str, Any] = answer.json
        return shown


@pytest.fixture
def surveyor() -> FakeSurveyor:
    return FakeSurveyor()


@pytest.fixture
async def api(nursery: trio.Nursery, surveyor: FakeSurveyor, tmp_path: Path) -> AsyncIterator[Api]:
    settings = Settings(data_dir=tmp_path)
    store = await open_store("sqlite::memory:", data_dir=tmp_path, run_in_thread=run_inline)
    ids, ticks = count(1), count()
    world = World(
        now=lambda: START + timedelta(seconds=next(ticks)),
        rng=random.Random(1),
        new_id=lambda: str(UUID(int=next(ids))),
    )
    house = await open_house(settings, store, surveyor, world=world)
    await nursery.start(house.run)
    gate = gate_of(house)
    ticks = count()  # how often the start has looked at the clock is no test's business
    app = QuartTrio("test")
    install_hooks(app, lambda: gate, "this-instance")

    def standing() -> House:
        if not house.open:
            raise ShuttingDown("The balancer is not serving.")
        return house

    for prefix in ("/api", "/v0"):
        routes = management(standing, lambda: surveyor)
        app.register_blueprint(routes, url_prefix=prefix, name=f"management_{prefix[1:]}")
    yield Api(app.test_client(), house, surveyor, store)
    house.close()
    await trio.testing.wait_all_tasks_blocked()
    await store.close()
