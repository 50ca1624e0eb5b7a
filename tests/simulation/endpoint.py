"""An inference server in virtual time: how fast it is, how much at once, how it misbehaves."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import trio

from llmlb.accounting import Usage
from tests.fakes.network import ServerSide
from tests.fakes.openai import DONE, Chunk, completion, counted, event, finish, says, usage_alone
from tests.simulation.ledger import Call, Ledger
from tests.simulation.parts import Lie, Make, UsageHabit
from tests.simulation.trace import Trace

JSON = b"content-type: application/json"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TURNED_AWAY_S = 0.005
"""An endpoint that lies does it fast."""


@dataclass(slots=True)
class Condition:
    """What an endpoint suffers from at present."""

    down: bool = False
    """Nothing listens: connects are refused."""
    hanging: bool = False
    """It accepts, and says nothing."""
    cut_off: bool = False
    """Nothing gets through, in either direction."""
    slowness: float = 1.0
    lie: Lie | None = None
    share: float = 1.0

    @property
    def reachable(self) -> bool:
        """Whether a probe gets an answer."""
        return not (self.down or self.hanging or self.cut_off)


@dataclass(eq=False)
class SimEndpoint:
    """One server: generates numbered tokens, so that it shows what becomes of them."""

    make: Make
    chance: random.Random
    ledger: Ledger
    trace: Trace
    condition: Condition = field(default_factory=Condition)
    n_calls: int = 0
    _lives: dict[trio.CancelScope, None] = field(default_factory=dict)
    """One per connection."""
    _used_at: dict[str, float] = field(default_factory=dict)
    """The models in memory, and when they were used last."""

    def __post_init__(self) -> None:
        self._slots = trio.Semaphore(self.make.slots)
        self._again = trio.Event()

    # -- what happens to it

    def kill(self) -> None:
        """The process is gone, with its connections and its memory."""
        self.condition.down = True
        self._used_at.clear()
        for life in self._lives:
            life.cancel()

    def changed(self) -> None:
        """Its condition is another one: whoever waits looks again."""
        again, self._again = self._again, trio.Event()
        again.set()

    async def _getting_through(self) -> None:
        while self.condition.hanging or self.condition.cut_off:
            await self._again.wait()

    async def _work(self, seconds: float) -> None:
        await trio.sleep(seconds * self.condition.slowness)
        await self._getting_through()

    async def reach(self) -> ConnectionRefusedError | None:
        """Take as long as a connect takes; why it is refused, if it is."""
        await trio.sleep(self.make.connect_s)
        while self.condition.cut_off:
            await self._again.wait()
        return ConnectionRefusedError("refused") if self.condition.down else None

    # -- one connection

    async def serve(self, side: ServerSide) -> None:
        with trio.CancelScope() as life:
            self._lives[life] = None
            try:
                await self._converse(side)
            finally:
                del self._lives[life]
        await side.hang_up()

    async def _converse(self, side: ServerSide) -> None:
        while side.closed_at is None:
            with trio.move_on_after(self.make.keepalive_s) as idle:
                request = await side.request()
            await self._getting_through()
            if idle.cancelled_caught or not request:
                return
            head, _, body = request.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            method, path, _ = lines[0].split(b" ")
            if (method, path) == (b"GET", b"/v1/models"):
                await self._work(0.001)
                await self._list(side)
            elif path == b"/v1/chat/completions":
                if not await self._chat(side, _tag(lines), json.loads(body)):
                    return
            else:
                await side.reply(b'{"error":"no such route"}', b"404 Not Found", JSON)

    async def _list(self, side: ServerSide) -> None:
        listed = [{"id": model, "object": "model"} for model in self.make.models]
        await side.reply(json.dumps({"object": "list", "data": listed}).encode(), b"200 OK", JSON)

    # -- one request

    async def _chat(self, side: ServerSide, tag: str, asked: Any) -> bool:
        """Answer it; whether the connection can be used again."""
        if side.closed_at is not None:
            return False
        self.n_calls += 1
        call = Call(self.make.name, tag, side)
        self.ledger.began(call)
        self.trace.note(self.make.name, f"gets {tag}")
        try:
            return await self._answer(call, asked)
        finally:
            call.ended = True

    async def _answer(self, call: Call, asked: Any) -> bool:
        number, side, stream = self.n_calls, call.side, asked.get("stream", False)
        if "stream_options" in asked and self.make.usage is UsageHabit.REFUSES:
            said = b'{"error":{"message":"unknown field stream_options"}}'
            await side.reply(said, b"400 Bad Request", JSON)
            return True
        lie = self.condition.lie
        if lie is not None and self.chance.random() < self.condition.share:
            self.trace.note(self.make.name, f"lies to {call.tag}: {lie}")
            if lie not in (Lie.CUT, Lie.STALL):
                await self._work(TURNED_AWAY_S)
                return await _lie(side, lie, stream=stream)
        else:
            lie = None
        async with self._slots:
            if side.closed_at is not None:
                return False
            await self._load(asked["model"])
            await self._work(len(asked["messages"][0]["content"]) / self.make.prefill_cps)
            tokens = [f"{self.make.name}.{number}.{i};" for i in range(asked["max_tokens"])]
            usage = counted(len(asked["messages"][0]["content"]) // 4 + 1, len(tokens))
            breaks_at = self.chance.randrange(len(tokens) + 1) if lie is not None else None
            if stream:
                wanted = asked.get("stream_options", {}).get("include_usage", False)
                tell = wanted and self.make.usage is not UsageHabit.NEVER
                return await self._stream(call, tokens, usage if tell else None, lie, breaks_at)
            await self._work(len(tokens) / self.make.decode_tps)
            return await self._plain(call, tokens, usage, lie)

    async def _load(self, model: str) -> None:
        used_at = self._used_at.get(model)
        if used_at is None or trio.current_time() - used_at > self.make.unload_after_s:
            await self._work(self.make.load_s)
        self._used_at[model] = trio.current_time()

    async def _plain(
        self, call: Call, tokens: list[str], usage: dict[str, int], lie: Lie | None
    ) -> bool:
        if lie is Lie.STALL:
            await call.side.request()  # returns when the client has closed
            return False
        answer = json.dumps(completion("".join(tokens), usage=usage)).encode()
        if lie is Lie.CUT:
            whole = b"HTTP/1.1 200 OK\r\n%s\r\ncontent-length: %d\r\n\r\n%s"
            await call.side.send((whole % (JSON, len(answer), answer))[:-5])
            return False
        self._tells(call, usage)
        await call.side.reply(answer, b"200 OK", JSON)
        return True

    async def _stream(
        self,
        call: Call,
        tokens: list[str],
        usage: dict[str, int] | None,
        lie: Lie | None,
        breaks_at: int | None,
    ) -> bool:
        side = call.side
        await side.send(STREAM)
        for i, token in enumerate(tokens):
            if i == breaks_at:
                break
            await self._work(1 / self.make.decode_tps)
            if side.closed_at is not None:
                return False
            call.n_events += 1
            await side.send(_chunked(says(token)))
        if lie is Lie.STALL:
            await side.request()  # returns when the client has closed
        if lie is not None:
            return False
        call.n_events += 1
        await side.send(_chunked(finish()))
        if usage is not None:
            self._tells(call, usage)
            await side.send(_chunked(usage_alone(usage["prompt_tokens"], len(tokens))))
        await side.send(_chunked(DONE), b"0\r\n\r\n")
        return True

    @staticmethod
    def _tells(call: Call, usage: dict[str, int]) -> None:
        if call.side.closed_at is None:
            call.told = Usage(
                usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]
            )


async def _lie(side: ServerSide, lie: Lie, *, stream: bool) -> bool:
    """Answer at once, but not with an answer; whether the connection can be used again."""
    said = b'{"error":{"message":"it broke"}}'
    match lie:
        case Lie.FAULT_500:
            await side.reply(said, b"500 Internal Server Error", JSON)
        case Lie.FAULT_503:
            await side.reply(said, b"503 Service Unavailable", JSON)
        case Lie.RATE_LIMITED:
            await side.reply(said, b"429 Too Many Requests", JSON, b"retry-after: 7")
        case Lie.ERROR_OBJECT:
            await side.reply(said, b"200 OK", JSON)
        case Lie.EMPTY:
            await side.reply(b"", b"200 OK", b"content-type: text/event-stream" if stream else JSON)
        case Lie.WRONG_TYPE:
            await side.reply(b"<html>Welcome!</html>", b"200 OK", b"content-type: text/html")
        case Lie.ERROR_EVENT:
            await side.send(STREAM, _chunked({"error": {"message": "it broke"}}), b"0\r\n\r\n")
        case Lie.CUT | Lie.STALL:
            raise ValueError(lie)  # these begin like an answer
    return True


def _chunked(what: Chunk | bytes) -> bytes:
    data = what if isinstance(what, bytes) else event(what)
    return b"%x\r\n%s\r\n" % (len(data), data)


def _tag(lines: list[bytes]) -> str:
    for line in lines:
        name, _, value = line.partition(b": ")
        if name.lower() == b"x-request-id":
            return value.decode()
    return "?"
