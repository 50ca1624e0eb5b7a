"""How the balancer starts, refuses to start, stops and falls, as processes on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from llmlb.demo.children import environment_for_children
from llmlb.http import hosting
from llmlb.http.application import LlmlbApp, create_app
from llmlb.settings import Settings
from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import wait_for
from tests.e2e.stub import Stub
from tests.fakes.local_server import running

ELSEWHERE = "http://127.0.0.1:9"


def llmlb_serve(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `llmlb serve` to its own end."""
    environment = environment_for_children(
        **{"LLMLB_DATA_DIR": str(tmp_path / "data"), "LLMLB_PORT": "0", **settings}
    )
    return subprocess.run(
        [sys.executable, "-m", "llmlb", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def refusal(finished: subprocess.CompletedProcess[str]) -> str:
    """The one sentence on standard error with which it did not start."""
    assert finished.returncode == 1, finished
    assert "Traceback" not in finished.stderr
    lines = [line for line in finished.stderr.splitlines() if "cannot start" in line]
    return lines[-1]


def test_a_port_in_use_is_said_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        said = refusal(llmlb_serve(tmp_path, LLMLB_PORT=port))
    assert f"127.0.0.1:{port} is in use" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no.such.host.invalid", "cannot be resolved"),
        ("192.0.2.1", "not an address of this machine"),
    ],
)
def test_an_address_that_cannot_be_bound_is_said(tmp_path: Path, host: str, words: str) -> None:
    assert words in refusal(llmlb_serve(tmp_path, LLMLB_HOST=host))


def test_each_wrong_setting_gets_a_sentence_that_names_it(tmp_path: Path) -> None:
    finished = llmlb_serve(tmp_path, LLMLB_PORT="abc", LLMLB_QUEUE_MAX="-1")
    assert finished.returncode == 1
    assert "LLMLB_PORT=abc" in finished.stderr
    assert "LLMLB_QUEUE_MAX=-1" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to look like something" * 50)
    said = refusal(llmlb_serve(tmp_path, LLMLB_DATABASE_URL=f"sqlite:{file}"))
    assert str(file) in said


def test_a_database_of_a_newer_version_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert llmlb_once(tmp_path) == 0
    with sqlite3.connect(data / "llmlb.db") as database:
        database.execute(
            "insert into schema_migrations (version, name, checksum, applied_at)"
            " values (999, 'future', '0', '2030-01-01T00:00:00Z')"
        )
    database.close()
    said = refusal(llmlb_serve(tmp_path))
    assert str(data / "llmlb.db") in said
    assert "newer" in said


def llmlb_once(tmp_path: Path) -> int:
    """Start it, wait until it serves, stop it."""
    environment = environment_for_children(
        LLMLB_DATA_DIR=str(tmp_path / "data"), LLMLB_PORT="0", LLMLB_LOG_LEVEL="info"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlb", "serve"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    url = json.loads(line)["url"]

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    wait_for(answers, "it to be ready")
    process.terminate()
    process.communicate(timeout=20)
    return process.returncode


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands in the way")
    assert str(tmp_path / "data") in refusal(llmlb_serve(tmp_path))


def test_a_second_process_on_the_same_database_refuses_and_says_why(
    tmp_path: Path, start_balancer: StartBalancer
) -> None:
    first = start_balancer(directory=tmp_path / "shared")
    said = refusal(llmlb_serve(tmp_path, LLMLB_DATA_DIR=str(first.data_dir)))
    assert "llmlb.db" in said
    assert first.is_up()


def test_kill_9_loses_no_endpoint_and_the_next_start_serves_them(
    tmp_path: Path, start_balancer: StartBalancer
) -> None:
    balancer = start_balancer(directory=tmp_path / "killed")
    for n in range(5):
        balancer.ask("POST", "/api/endpoints", {"name": f"e{n}", "base_url": f"{ELSEWHERE}/{n}"})
    balancer.kill()
    again = start_balancer(directory=tmp_path / "killed")
    assert set(again.endpoints()) == {f"e{n}" for n in range(5)}


def test_kill_9_loses_at_most_a_second_of_statistics(
    tmp_path: Path, start_balancer: StartBalancer
) -> None:
    with running(Stub()) as stub:
        balancer = start_balancer(directory=tmp_path / "killed")
        balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": stub.url})
        balancer.wait_until_online("stub")
        for _ in range(3):
            balancer.ask("POST", "/v1/chat/completions", {"model": "quick", "messages": []})
        time.sleep(1)
        before = balancer.endpoints()["stub"]
        balancer.kill()
        again = start_balancer(directory=tmp_path / "killed")
        after = again.endpoints()["stub"]
    for figure in ("total_requests", "successful_requests", "total_tokens", "latency_ms"):
        assert after[figure] == before[figure]
    assert after["total_requests"] == 3


def test_the_bare_command_serves_and_stops_at_sigterm(start_balancer: StartBalancer) -> None:
    balancer = start_balancer(face="hypercorn")
    balancer.ask("POST", "/api/endpoints", {"name": "e", "base_url": ELSEWHERE})
    balancer.wait_until_status("offline", "e")
    assert balancer.stop() == 0


def test_the_bare_command_exits_0_after_a_failed_start(tmp_path: Path) -> None:
    """What it cannot do, and why `llmlb serve` exists."""
    (tmp_path / "data").write_text("a file stands in the way")
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "hypercorn", "llmlb.http:app"),
            *("--worker-class", "trio", "--bind", "127.0.0.1:0"),
        ],
        env=environment_for_children(LLMLB_DATA_DIR=str(tmp_path / "data")),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0
    assert "llmlb cannot start" in finished.stderr
    assert str(tmp_path / "data") in finished.stderr


def test_only_this_machine_is_served_until_there_are_users(start_balancer: StartBalancer) -> None:
    balancer = start_balancer()
    forwarded = {"x-forwarded-for": "198.51.100.7"}
    refused = httpx.get(f"{balancer.base_url}/v1/models", headers=forwarded, trust_env=False)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "setup_required"
    alive = httpx.get(f"{balancer.base_url}/health", headers=forwarded, trust_env=False)
    assert alive.status_code == 200


def test_a_header_block_of_32_kib_is_taken_and_a_larger_one_refused(
    start_balancer: StartBalancer,
) -> None:
    balancer = start_balancer()

    def status(size: int) -> int:
        headers = {f"x-{n}": "v" * 1000 for n in range(size // 1000)}
        return httpx.get(
            f"{balancer.base_url}/health", headers=headers, trust_env=False
        ).status_code

    assert status(30_000) == 200
    assert status(40_000) == 431


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_balancer_cannot_be_its_own_endpoint(start_balancer: StartBalancer, host: str) -> None:
    balancer = start_balancer(settings={"LLMLB_HOST": host})
    refused = httpx.post(
        f"{balancer.base_url}/api/endpoints",
        json={"name": "me", "base_url": balancer.base_url},
        trust_env=False,
    )
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "base_url")
    assert refused.json()["error"]["message"] == (
        f"The URL may not lead to 127.0.0.1, port {balancer.port}: llmlb itself is there."
    )
    named = f"http://localhost:{balancer.port}"
    balancer.ask("POST", "/api/endpoints", {"name": "me", "base_url": named})
    balancer.wait_until_status("offline", "me")
    assert "508" not in balancer.endpoints()["me"]["last_error"]


def test_who_does_not_know_where_it_listens_finds_out_by_the_loop(
    start_balancer: StartBalancer,
) -> None:
    balancer = start_balancer(face="hypercorn")
    balancer.ask("POST", "/api/endpoints", {"name": "me", "base_url": balancer.base_url})
    balancer.wait_until_status("offline", "me")
    assert "508" in balancer.endpoints()["me"]["last_error"]


class Dies(Exception):
    """What an actor of this test dies of."""


def test_an_actors_death_stops_the_server_with_exit_code_70(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    apps: list[LlmlbApp] = []

    def fragile_app(settings: Settings) -> LlmlbApp:
        apps.append(create_app(settings))
        return apps[0]

    monkeypatch.setattr(hosting, "create_app", fragile_app)

    def kill_an_actor() -> None:
        wait_for(lambda: apps and apps[0].served, "the house to stand")

        def die(_: object) -> None:
            raise Dies

        monkeypatch.setattr(apps[0].house.registry, "_checked", die)
        body = {"name": "e", "base_url": ELSEWHERE}
        with contextlib.suppress(httpx.TransportError):
            httpx.post(f"http://127.0.0.1:{port}/api/endpoints", json=body, trust_env=False)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(data_dir=tmp_path / "data", port=port, log_level="error")
    thread = threading.Thread(target=kill_an_actor)
    thread.start()
    assert hosting.run(settings) == hosting.EXIT_CRASHED
    thread.join()
    assert "an actor died" in capsys.readouterr().err
