"""The stream of events on a real socket, read as curl would read it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer
from tests.e2e.stub import Stub

EVENTS = (
    "/api/dashboard/events"
    "?types=EndpointRegistered,EndpointStatusChanged,ModelsChanged,Draining,ServerStopping"
)
PATIENCE_S = 10.0


@contextmanager
def following(balancer: Balancer, last_id: str = "") -> Iterator[Iterator[dict[str, str]]]:
    """The frames of the stream, as they come."""

    def frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
        frame: dict[str, str] = {}
        for line in lines:
            if line:
                name, _, frame[name] = line.partition(": ")
            else:
                yield frame
                frame = {}
        assert not frame, "the last frame is whole"

    headers = {"last-event-id": last_id} if last_id else {}
    url = f"{balancer.base_url}{EVENTS}"
    with httpx.stream("GET", url, headers=headers, trust_env=False, timeout=PATIENCE_S) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield frames(answer.iter_lines())


def until(frames: Iterator[dict[str, str]], kind: str) -> list[dict[str, Any]]:
    """What is said up to the first event of that *kind*."""
    said: list[dict[str, Any]] = []
    for frame in frames:
        said.append(json.loads(frame["data"]) | {"id": frame["id"]})
        if said[-1]["type"] == kind:
            return said
    raise AssertionError(f"no {kind} in {said}")


def test_an_endpoint_that_is_registered_is_seen_at_once_and_again_on_coming_back(
    start_balancer: StartBalancer, stub: Stub
) -> None:
    balancer = start_balancer()
    with following(balancer) as frames:
        (connected,) = until(frames, "connected")
        form = {"name": "stub", "base_url": stub.url}
        created = balancer.ask("POST", "/api/endpoints", form)
        seen = until(frames, "ModelsChanged")
    assert [event["type"] for event in seen][:2] == ["EndpointRegistered", "EndpointStatusChanged"]
    assert {event["data"]["endpoint_id"] for event in seen} == {created["id"]}
    with following(balancer, connected["id"]) as frames:
        assert until(frames, "ModelsChanged")[1:] == seen

    assert balancer.stop() == 0
    balancer.start()
    with following(balancer, seen[-1]["id"]) as frames:
        assert len(until(frames, "reset")) == 1


def test_a_stop_ends_all_streams_at_once_also_those_that_nobody_reads(
    start_balancer: StartBalancer,
) -> None:
    balancer = start_balancer()
    host, port = balancer.base_url.removeprefix("http://").split(":")
    with (
        socket.create_connection((host, int(port))) as deaf,
        following(balancer) as frames,
    ):
        deaf.sendall(f"GET {EVENTS} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        until(frames, "connected")
        started_s = time.monotonic()
        assert balancer.stop() == 0
        took_s = time.monotonic() - started_s
        kinds = [json.loads(frame["data"])["type"] for frame in frames]
        assert kinds == ["Draining", "ServerStopping"], "and the stream was complete"
        assert took_s < 3
