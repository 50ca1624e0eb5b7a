"""A TCP relay that misbehaves on request, to stand between a balancer and a real server.

What it does to an answer is decided anew for each inference request; probes always pass, so that
the balancer takes the server for healthy and goes on choosing it.
"""

from __future__ import annotations

import itertools
import select
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from llmlb.demo.ports import LOOPBACK

PATIENCE_S = 20.0
"""How long a connection may be silent."""


class Harm(StrEnum):
    """What happens to an answer at a certain point."""

    CUT = "cut"
    """The connection is closed."""
    RESET = "reset"
    """It is reset: what was sent before may be lost, too."""
    HALF_CLOSE = "half-close"
    """One direction is closed; the other stays open."""
    STALL = "stall"
    """Nothing more comes."""
    DELAY = "delay"
    """Nothing comes for half a second."""
    TRICKLE = "trickle"
    """The rest comes a few bytes at a time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """*harm*, once so many bytes, or so many events of a stream, have passed."""

    harm: Harm
    after_bytes: int = 0
    after_events: int = 0

    def __str__(self) -> str:
        where = f"{self.after_events} events" if self.after_events else f"{self.after_bytes} bytes"
        return f"{self.harm} after {where}"

    def point(self, answer: bytearray) -> int:
        """How many bytes of an answer pass; more than it has, if it is not that far yet."""
        if not self.after_events:
            return self.after_bytes
        end = 0
        for _ in range(self.after_events):
            end = answer.find(b"\n\n", end) + 2
            if end < 2:
                return len(answer) + 1
        return end


class Relay:
    """Owns a listening port in front of *server_port*, and what happens to its connections."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.struck = 0
        """How many answers were harmed."""
        self._faults: Iterator[Fault] = iter(())
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: _Listener | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def misbehave(self, faults: Sequence[Fault]) -> None:
        """Harm the answers of the inference requests to come with these faults, in turn.

        Without faults everything passes.
        """
        self._faults, self.struck = itertools.cycle(faults), 0

    def listen(self) -> None:
        assert self._listener is None
        self._listener = _Listener(self)
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def refuse(self) -> None:
        """Close the port and all connections, until told to listen again."""
        if self._listener is not None:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener = None
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def connected(self, client: socket.socket) -> None:
        """Serve one connection until it ends."""
        with self._lock:
            self._open.add(client)
        try:
            with socket.create_connection((LOOPBACK, self.server_port)) as server:
                self._pass_on(client, server)
        except OSError:
            return  # one of the two has left, as they may
        finally:
            with self._lock:
                self._open.discard(client)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        fault: Fault | None = None
        answer = bytearray()
        while readable := select.select([client, server], [], [], PATIENCE_S)[0]:
            if client in readable:
                asked = client.recv(65_536)
                if not asked:
                    return
                if asked.startswith(b"POST /v1/"):
                    fault, answer = self._next_fault(), bytearray()
                elif asked.startswith(b"GET "):
                    fault = None
                server.sendall(asked)
            if server in readable:
                said = server.recv(65_536)
                if not said:
                    return
                if fault is None:
                    client.sendall(said)
                    continue
                sent = len(answer)
                answer += said
                point = fault.point(answer)
                if point > len(answer):
                    client.sendall(said)
                    continue
                client.sendall(answer[sent:point])
                with self._lock:
                    self.struck += 1
                if not _harm(fault.harm, client, server, bytes(answer[point:])):
                    return
                fault = None

    def _next_fault(self) -> Fault | None:
        with self._lock:
            return next(self._faults, None)


def _harm(harm: Harm, client: socket.socket, server: socket.socket, rest: bytes) -> bool:
    """Do it. Whether the connection goes on."""
    match harm:
        case Harm.CUT:
            return False
        case Harm.RESET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        case Harm.HALF_CLOSE | Harm.STALL:
            server.close()
            if harm is Harm.HALF_CLOSE:
                client.shutdown(socket.SHUT_WR)
            client.settimeout(PATIENCE_S)
            while client.recv(65_536):
                pass  # until the other side gives up
            return False
        case Harm.DELAY:
            time.sleep(0.5)
            client.sendall(rest)
            return True
        case Harm.TRICKLE:
            for start in range(0, len(rest), 7):
                client.sendall(rest[start : start + 7])
                time.sleep(0.001)
            return True


@contextmanager
def relay_to(base_url: str) -> Iterator[Relay]:
    """A relay before the server at *base_url*, listening."""
    relay = Relay(int(base_url.rpartition(":")[2]))
    relay.listen()
    try:
        yield relay
    finally:
        relay.refuse()


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        super().__init__((LOOPBACK, relay.port), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.relay.connected(self.request)
