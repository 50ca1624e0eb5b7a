"""Fixtures of the end-to-end tests: the fleet, and balancers in front of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.fleet import Balancer, Face, Fleet, run_fleet
from tests.e2e.media_stub import MediaStub
from tests.e2e.stub import Stub
from tests.fakes.local_server import running

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this directory, and run it after all that is faster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)


@pytest.fixture(scope="session")
def session_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with run_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture
def fleet(session_fleet: Fleet) -> Fleet:
    """All five servers, running; a test may kill some."""
    session_fleet.ensure_running()
    return session_fleet


class StartBalancer(Protocol):
    def __call__(
        self,
        *,
        face: Face = "serve",
        settings: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Balancer: ...


@pytest.fixture
def start_balancer(tmp_path: Path) -> Iterator[StartBalancer]:
    """Start balancers of the test's own, with nothing registered; they end with the test."""
    with ExitStack() as running:
        count = 0

        def start(
            *,
            face: Face = "serve",
            settings: Mapping[str, str] | None = None,
            directory: Path | None = None,
        ) -> Balancer:
            nonlocal count
            count += 1
            directory = directory or tmp_path / f"balancer-{count}"
            balancer = Balancer(directory, face=face, settings=settings)
            running.callback(_show_log, balancer)
            return running.enter_context(balancer)

        yield start


@pytest.fixture(scope="session")
def session_balancer(
    session_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balancer]:
    with Balancer(tmp_path_factory.mktemp("balancer")) as balancer:
        balancer.register_all(*session_fleet)
        yield balancer


@pytest.fixture
def balancer(fleet: Fleet, session_balancer: Balancer) -> Balancer:
    """`llmlb serve`, shared by the tests, with the whole fleet registered and online."""
    session_balancer.wait_until_online(*(server.name for server in fleet))
    return session_balancer


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running(Stub()) as stub:
        yield stub


@pytest.fixture
def media_stub() -> Iterator[MediaStub]:
    with running(MediaStub()) as stub:
        yield stub


def _show_log(balancer: Balancer) -> None:
    print(  # noqa: T201 - pytest shows it with a failing test
        f"--- end of the log of {balancer.base_url}\n{balancer.log_tail()}"
    )
