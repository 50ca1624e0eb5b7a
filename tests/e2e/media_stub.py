"""An endpoint that hears, speaks, paints and keeps responses; all of it is made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = ("whisper-tiny", "kokoro-82m", "flux-dev", "tiny")

SOUND = b"\xff\xfb\x90" + bytes(range(256)) * 400
PICTURE = {"created": 1, "data": [{"b64_json": "AAAA"}]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "tiny",
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hi", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}

Json = dict[str, Any]


class MediaStub(ThreadingHTTPServer):
    """Owns what it was asked: path, content type and length of each call."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, int]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@contextmanager
def run_media_stub() -> Iterator[MediaStub]:
    stub = MediaStub()
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
    server: MediaStub

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        match self.path:
            case "/v1/models":
                data = [{"id": m, "object": "model", "owned_by": "stub"} for m in MODELS]
                self._json({"object": "list", "data": data})
            case "/v1/responses/resp_1":
                self._json(RESPONSE)
            case "/v1/responses/resp_1/input_items":
                self._json({"object": "list", "data": [], "has_more": False})
            case _:
                self._json({"error": {"message": "not here"}}, 404)

    def do_DELETE(self) -> None:
        self._json({"id": "resp_1", "object": "response", "deleted": True})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        start, left = b"", length
        while left:  # an upload may be larger than what a test should hold
            piece = self.rfile.read(min(left, 1024 * 1024))
            start = (start + piece)[:65_536]
            left -= len(piece)
        self.server.asked.append((self.path, self.headers["content-type"] or "", length))
        streamed = b'name="stream"\r\n\r\ntrue' in start or b'"stream":true' in start
        self._answer(streamed)

    def _answer(self, streamed: bool) -> None:
        match self.path:
            case "/v1/audio/transcriptions" if streamed:
                self._events(
                    {"type": "transcript.text.delta", "delta": "hel"},
                    {"type": "transcript.text.done", "text": "hello"},
                )
            case "/v1/audio/transcriptions" | "/v1/audio/translations":
                self._json({"text": "hello"})
            case "/v1/audio/speech":
                self._send(200, "audio/mpeg", SOUND)
            case "/v1/images/generations" if streamed:
                self._events({"type": "image_generation.completed", "b64_json": "AAAA"})
            case "/v1/images/generations" | "/v1/images/edits" | "/v1/images/variations":
                self._json(PICTURE)
            case "/v1/responses" | "/v1/responses/resp_1/cancel":
                self._json(RESPONSE)
            case _:
                self._json({"error": {"message": "not here"}}, 404)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _events(self, *events: Json) -> None:
        body = b"".join(
            b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode())
            for e in events
        )
        self._send(200, "text/event-stream", body)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
