"""An endpoint that takes images, and keeps the last body that it was sent."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.local_server import Answering, LocalServer

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


class SeeingStub(LocalServer):
    """Owns the path and the body of its last inference call; `url` is its base URL."""

    def __init__(self, model: str, *, speaks_messages: bool) -> None:
        super().__init__(_Handler)
        self.model = model
        self.speaks_messages = speaks_messages
        self.asked: tuple[str, bytes] = ("", b"")


class _Handler(Answering):
    server: SeeingStub

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        if self.path == "/v1/models":
            eyes = {"input_modalities": ["text", "image"]}
            entry = {"id": self.server.model, "object": "model", "architecture": eyes}
            self.answer_json({"object": "list", "data": [entry]})
        else:
            self.not_here()

    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        body = self.rfile.read(int(self.headers["content-length"]))
        known = self.path != "/v1/messages" or self.server.speaks_messages
        if not known or self.path == "/v1/messages/count_tokens":
            self.not_here()
            return
        asked: dict[str, Any] = json.loads(body)
        if asked:  # nothing at all is asked to find out whether there is such a route
            self.server.asked = (self.path, body)
        match self.path:
            case "/v1/chat/completions" if asked.get("stream"):
                lines = [f"data: {json.dumps(event)}\n\n" for event in _EVENTS]
                events = "".join([*lines, "data: [DONE]\n\n"]).encode()
                self.answer("text/event-stream", events)
            case "/v1/chat/completions":
                self.answer_json(_CHAT)
            case "/v1/responses":
                self.answer_json(_RESPONSE)
            case _:
                self.answer_json(_MESSAGE)
