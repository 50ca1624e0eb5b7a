"""hypercorn's own command, whose connections are ours: what it is told to do beside them stays."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from llmlb.demo.children import environment_for_children
from tests.e2e.fleet import wait_for

ASKED = {"model": "nobody", "messages": []}


class Hypercorn:
    """One that listens at a path, keeps an access log, and ends after a few requests."""

    def __init__(self, directory: Path) -> None:
        self.socket, self.log = directory / "llmlb.sock", directory / "access.log"
        options = ["--worker-class", "trio", "--bind", f"unix:{self.socket}"]
        options += ["--access-logfile", str(self.log), "--access-logformat", "%(s)s %(R)s"]
        self.output = directory / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hypercorn", "llmlb.http:app", *options],
                env=environment_for_children(LLMLB_DATA_DIR=str(directory), LLMLB_AUTH="off"),
                stdout=output,
                stderr=output,
            )
        self.client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://x"
        )

    def is_up(self) -> bool:
        return self.client.get("/health").is_success

    def said(self, line: str) -> bool:
        return line in self.log.read_text()


@pytest.fixture
def hypercorn(tmp_path: Path) -> Iterator[Hypercorn]:
    server = Hypercorn(tmp_path)
    with server.client:
        try:
            wait_for(lambda: "Running on" in server.output.read_text(), "hypercorn to listen")
            yield server
        finally:
            server.process.terminate()
            server.process.wait(20)


def test_a_path_in_place_of_an_address_and_an_access_log(hypercorn: Hypercorn) -> None:
    answer = hypercorn.client.post("/v1/messages?beta=true", json=ASKED)
    # Who comes by a path has no address, so it is not known to be this machine.
    assert answer.status_code in (403, 404)
    assert answer.json()["error"]
    said = f"{answer.status_code} POST /v1/messages?beta=true 1.1"
    wait_for(lambda: hypercorn.said(said), "the access log to tell of it")

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(hypercorn.socket))
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
    assert hypercorn.is_up()
