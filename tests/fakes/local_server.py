"""Servers on real sockets of this machine, each in a thread, for as long as a test wants it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar


class LocalServer(ThreadingHTTPServer):
    """Listens on a free port; what a test wants to know is noted by a subclass."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


S = TypeVar("S", bound=LocalServer)


@contextmanager
def running(server: S) -> Iterator[S]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Quiet(BaseHTTPRequestHandler):
    """A handler that logs nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Answering(Quiet):
    """What an endpoint of a test answers."""

    def answer(self, content_type: str, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, value: object, status: int = 200) -> None:
        self.answer("application/json", json.dumps(value).encode(), status)

    def list_models(self, names: Iterable[str]) -> None:
        data = [{"id": name, "object": "model", "owned_by": "stub"} for name in names]
        self.answer_json({"object": "list", "data": data})

    def not_here(self) -> None:
        self.answer_json({"error": {"message": "not here"}}, 404)
