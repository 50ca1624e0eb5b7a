"""An endpoint that misbehaves on purpose, on real sockets; the model's name says how."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.local_server import Answering, LocalServer

MODELS = ("drip", "flood", "prefill", "cut", "broken-plain", "hold", "quick")
FLOOD_EVENT = (
    b"data: "
    + json.dumps(
        {"choices": [{"index": 0, "delta": {"content": "x" * 16_000}, "finish_reason": None}]}
    ).encode()
    + b"\n\n"
)


@dataclass(frozen=True)
class Asked:
    """A POST, exactly as it was received."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Seen:
    """What happened to one inference call, in monotonic seconds."""

    model: str
    headers: dict[str, str]
    body: dict[str, Any]
    sent_bytes: int = 0
    received_bytes: int = 0
    """Of an upload."""
    peer_closed_at: float | None = None
    finished: threading.Event = field(default_factory=threading.Event)


class Stub(LocalServer):
    """Owns the record of the calls; `url` is its base URL."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.calls: list[Seen] = []
        self.posts: list[Asked] = []
        self.lines: list[str] = []
        """The first line of each request, whatever it was."""

    def call(self, model: str) -> Seen:
        """The newest call of *model*."""
        return [c for c in self.calls if c.model == model][-1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is what these tests are about."""


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


class _Handler(Answering):
    server: Stub

    def parse_request(self) -> bool:
        taken = super().parse_request()
        self.server.lines.append(self.requestline)
        return taken

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        if self.path == "/v1/models":
            self.list_models(MODELS)
        else:
            self.not_here()

    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        if self.headers.get("content-type", "").startswith("multipart/"):
            self._upload()
            return
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.append(Asked(self.requestline, self.headers.items(), raw))
        body = json.loads(raw)
        if "model" not in body:
            self.not_here()
            return
        headers = {k.lower(): v for k, v in self.headers.items()}
        seen = Seen(body["model"], headers, body)
        self.server.calls.append(seen)
        try:
            getattr(self, "_" + seen.model.replace("-", "_"))(seen)
        except OSError:
            seen.peer_closed_at = seen.peer_closed_at or time.monotonic()
            self.close_connection = True
        finally:
            seen.finished.set()

    def _upload(self) -> None:
        """Take an upload slowly, at 5 MB/s, and answer nothing."""
        seen = Seen("upload", dict(self.headers), {})
        self.server.calls.append(seen)
        left = int(self.headers["content-length"])
        with suppress(OSError):
            while left and (data := self.connection.recv(min(left, 256 * 1024))):
                left -= len(data)
                seen.received_bytes += len(data)
                time.sleep(0.05)
        seen.peer_closed_at = time.monotonic()
        self.close_connection = True
        seen.finished.set()

    # -- one way to misbehave each

    def _drip(self, seen: Seen) -> None:
        """A token every 200 ms, for at most 20 s."""
        self._begin_stream()
        for n in range(100):
            self._chunk(event(f"{n} "), seen)
            if self._peer_left(0.2):
                seen.peer_closed_at = time.monotonic()
                return
        self._end_stream(seen)

    def _flood(self, seen: Seen) -> None:
        """100 MB as quickly as the other side takes it."""
        self._begin_stream()
        for _ in range(100_000_000 // len(FLOOD_EVENT)):
            self._chunk(FLOOD_EVENT, seen)
        self._end_stream(seen)

    def _prefill(self, seen: Seen) -> None:
        """Never says anything; notes when the other side gives up."""
        if self._peer_left(20):
            seen.peer_closed_at = time.monotonic()
        self.close_connection = True

    def _cut(self, seen: Seen) -> None:
        """Three tokens, then a reset."""
        self._begin_stream()
        for n in range(3):
            self._chunk(event(f"{n} "), seen)
        time.sleep(0.1)
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def _broken_plain(self, seen: Seen) -> None:
        """Half a JSON document, with the length of a whole one."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        self.close_connection = True

    def _hold(self, seen: Seen) -> None:
        """A plain answer after 1 s."""
        time.sleep(1)
        self._quick(seen)

    def _quick(self, seen: Seen) -> None:
        """A plain answer."""
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        message = {"role": "assistant", "content": "done"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.answer_json({"choices": choices, "usage": usage})

    # -- the wire

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes, seen: Seen) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        seen.sent_bytes += len(data)

    def _end_stream(self, seen: Seen) -> None:
        self._chunk(event("", "stop"), seen)
        self._chunk(b"data: [DONE]\n\n", seen)
        self.wfile.write(b"0\r\n\r\n")

    def _peer_left(self, within_s: float) -> bool:
        readable, _, _ = select.select([self.connection], [], [], within_s)
        if not readable:
            return False
        with suppress(OSError):
            return not self.connection.recv(1, socket.MSG_PEEK)
        return True
