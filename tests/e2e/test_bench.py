"""The benchmark's own tools are compiled, and measure one another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.building import Tools, compile_tools
from bench.load import Ask, put_load
from bench.stubs import stubs

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("taskset")), reason="gcc or taskset is not installed"
)

KEY = "sk-1"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return compile_tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def ports(tools: Tools, tmp_path: Path) -> Iterator[range]:
    with stubs(tools.stub, tmp_path / "stub.log", ports=2, models=3) as ports:
        yield ports


def test_plain_requests_and_streams_come_whole(tools: Tools, ports: range) -> None:
    plain = put_load(tools.lg, Ask(8, 0.5, 0.1), ports[0], key=KEY, pid=None).load
    assert plain.fault is None
    assert plain.statuses == {"200": plain.ok}

    ask = Ask(8, 0.5, 0.1, "stub-n5-i1000", streams=True)
    streams = put_load(tools.lg, ask, ports[1], key=KEY, pid=None).load
    assert streams.fault is None
    assert streams.chunks >= streams.ok * 5
    assert 0 <= streams.delivery.p50 < 1e6


def test_some_clients_leave_and_that_is_no_error(tools: Tools, ports: range) -> None:
    ask = Ask(8, 0.5, 0.0, "stub-n50-i1000", streams=True, leaving_percent=50)
    load = put_load(tools.lg, ask, ports[0], key=KEY, pid=None).load
    assert load.left > 0
    assert load.fault is None


def test_an_open_loop_asks_as_often_as_it_should(tools: Tools, ports: range) -> None:
    ask = Ask(8, 0.5, 0.1, rate_per_s=100)
    load = put_load(tools.lg, ask, ports[0], key=KEY, pid=None).load
    assert load.fault is None
    assert load.started <= 61


def test_errors_are_seen(tools: Tools, ports: range) -> None:
    load = put_load(tools.lg, Ask(2, 0.3, 0, "stub-e503"), ports[0], key=KEY, pid=None).load
    assert load.statuses.keys() == {"503"}
    assert load.fault == f"{load.bad} bad answers"


def test_the_stub_lists_as_many_models_as_it_is_told(ports: range) -> None:
    listed = httpx.get(f"http://127.0.0.1:{ports[1]}/v1/models", trust_env=False).json()["data"]
    assert [model["id"] for model in listed][-3:] == ["stub-x0", "stub-x1", "stub-x2"]
