"""An endpoint that hears, speaks, paints and keeps responses; all of it is made up."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.local_server import Answering, LocalServer

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


class MediaStub(LocalServer):
    """Owns what it was asked: path, content type and length of each call."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.asked: list[tuple[str, str, int]] = []

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


class _Handler(Answering):
    server: MediaStub

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        match self.path:
            case "/v1/models":
                self.list_models(MODELS)
            case "/v1/responses/resp_1":
                self.answer_json(RESPONSE)
            case "/v1/responses/resp_1/input_items":
                self.answer_json({"object": "list", "data": [], "has_more": False})
            case _:
                self.not_here()

    def do_DELETE(self) -> None:  # noqa: N802 - as http.server calls it
        self.answer_json({"id": "resp_1", "object": "response", "deleted": True})

    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        length = int(self.headers["content-length"])
        start, left = b"", length
        while left:  # an upload may be larger than what a test should hold
            piece = self.rfile.read(min(left, 1024 * 1024))
            start = (start + piece)[:65_536]
            left -= len(piece)
        self.server.asked.append((self.path, self.headers["content-type"] or "", length))
        streamed = b'name="stream"\r\n\r\ntrue' in start or b'"stream":true' in start
        self._say(streamed)

    def _say(self, streamed: bool) -> None:
        match self.path:
            case "/v1/audio/transcriptions" if streamed:
                self._events(
                    {"type": "transcript.text.delta", "delta": "hel"},
                    {"type": "transcript.text.done", "text": "hello"},
                )
            case "/v1/audio/transcriptions" | "/v1/audio/translations":
                self.answer_json({"text": "hello"})
            case "/v1/audio/speech":
                self.answer("audio/mpeg", SOUND)
            case "/v1/images/generations" if streamed:
                self._events({"type": "image_generation.completed", "b64_json": "AAAA"})
            case "/v1/images/generations" | "/v1/images/edits" | "/v1/images/variations":
                self.answer_json(PICTURE)
            case "/v1/responses" | "/v1/responses/resp_1/cancel":
                self.answer_json(RESPONSE)
            case _:
                self.not_here()

    def _events(self, *events: Json) -> None:
        body = b"".join(
            b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode())
            for e in events
        )
        self.answer("text/event-stream", body)
