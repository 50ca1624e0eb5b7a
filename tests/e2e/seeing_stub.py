"""An endpoint that takes images, and keeps the last body that it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
_CHAT = {
    "id": "chatcmpl-1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}
    ],
    "usage": _USAGE,
}
_EVENTS = (
    {"choices": [{"index": 0, "delta": {"content": "Yes"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": _USAGE},
)
_RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": [{}]}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "Yes"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 4},
}


class SeeingStub(ThreadingHTTPServer):
    """Owns the path and the body of its last inference call; `url` is its base URL."""

    daemon_threads = True

    def __init__(self, model: str, *, speaks_messages: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.speaks_messages = speaks_messages
        self.asked: tuple[str, bytes] = ("", b"")
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def run_seeing_stub(model: str, *, speaks_messages: bool) -> Iterator[SeeingStub]:
    stub = SeeingStub(model, speaks_messages=speaks_messages)
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SeeingStub

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            eyes = {"input_modalities": ["text", "image"]}
            entry = {"id": self.server.model, "object": "model", "architecture": eyes}
            self._json({"object": "list", "data": [entry]})
        else:
            self._json({"error": {"message": "not here"}}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        known = self.path != "/v1/messages" or self.server.speaks_messages
        if not known or self.path == "/v1/messages/count_tokens":
            self._json({"error": {"message": "not here"}}, 404)
            return
        asked: dict[str, Any] = json.loads(body)
        if asked:  # nothing at all is asked to find out whether there is such a route
            self.server.asked = (self.path, body)
        match self.path:
            case "/v1/chat/completions" if asked.get("stream"):
                lines = [f"data: {json.dumps(event)}\n\n" for event in _EVENTS]
                self._send(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())
            case "/v1/chat/completions":
                self._json(_CHAT)
            case "/v1/responses":
                self._json(_RESPONSE)
            case _:
                self._json(_MESSAGE)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
