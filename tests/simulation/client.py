"""Clients of the balancer: patient, slow, stuck ones, and those that leave at any moment."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import trio

from llmlb.http.application import LlmlbApp
from tests.fakes.asgi import Message, Request
from tests.fakes.openai import chat
from tests.simulation.ledger import Account, Ledger, current
from tests.simulation.script import Leaving, Manner, Moment, Wish
from tests.simulation.trace import Trace


class SimRequest(Request):
    """A connection whose client takes its time over each piece."""

    def __init__(self, app: LlmlbApp, account: Account) -> None:
        wish = account.wish
        super().__init__(
            app,
            "POST",
            "/v1/chat/completions",
            chat(
                wish.model,
                stream=wish.stream,
                max_tokens=wish.tokens,
                messages=[{"role": "user", "content": "x" * wish.prompt_chars}],
            ),
            headers={"content-type": "application/json", "x-request-id": wish.tag},
        )
        self._account = account
        self.handed = 0
        """So many messages have been handed over to the client; it may still be taking one."""
        self.handed_more = trio.Event()
        self._left = trio.Event()

    def leave(self) -> None:
        self._left.set()  # whatever is being written to it, the server is told that it is in vain
        super().leave()

    async def _hear(self, message: Message) -> None:
        self.handed += 1
        more, self.handed_more = self.handed_more, trio.Event()
        more.set()
        wish = self._account.wish
        if wish.manner is Manner.SLOW:
            with trio.move_on_after(wish.read_s):
                await self._left.wait()
        elif wish.manner is Manner.STUCK and len(self.answer) >= wish.stuck_at:
            self._account.stuck = True
            await self._left.wait()
        await super()._hear(message)


@dataclass
class Client:
    """One request, from when it is sent until the balancer has let go of it."""

    app: LlmlbApp
    ledger: Ledger
    trace: Trace
    wish: Wish
    account: Account = field(init=False)

    async def run(self) -> Account:
        self.account = Account(self.wish, trio.current_time())
        current.set(self.account)
        self.ledger.opened(self.account)
        asked = "stream" if self.wish.stream else "plain"
        self.trace.note(self.wish.tag, f"asks {self.wish.model}, {asked}, {self.wish.manner}")
        request = SimRequest(self.app, self.account)
        async with trio.open_nursery() as nursery:
            if self.wish.leaving is not None:
                nursery.start_soon(self._leave, request, self.wish.leaving)
            await request.run()
            nursery.cancel_scope.cancel()
        self.account.ended_at_s = trio.current_time()
        _read(request, self.account)
        said = f"{self.account.status} {self.account.error or ''}"
        self.trace.note(
            self.wish.tag,
            f"ends: {said}, {len(self.account.text)} characters"
            f"{', whole' if self.account.whole else ''}",
        )
        return self.account

    async def _leave(self, request: SimRequest, leaving: Leaving) -> None:
        if leaving.moment is Moment.RECEIVED:
            await self.account.received.wait()
        while leaving.moment is Moment.PIECE and request.handed <= leaving.piece:
            await request.handed_more.wait()
        await trio.sleep(leaving.after_s)
        for _ in range(leaving.steps):
            await trio.lowlevel.checkpoint()
        self.account.left_at_s = trio.current_time()
        self.trace.note(self.wish.tag, "leaves")
        request.leave()


def _read(request: Request, account: Account) -> None:
    """Take down in *account* what of the answer was taken."""
    if not request.answer:
        return
    account.status = request.status
    stream = request.headers.get("content-type", "").startswith("text/event-stream")
    if not stream:
        whole = request.complete and int(request.headers["content-length"]) == len(request.body)
        if whole:
            _read_json(json.loads(request.body), account)
            account.whole = account.status == 200
        return
    events = request.body.split(b"\n\n")
    for raw in events[:-1]:
        if raw == b"data: [DONE]":
            account.whole = request.complete
        else:
            _read_json(json.loads(raw.removeprefix(b"data: ")), account)


def _read_json(said: Any, account: Account) -> None:
    if "error" in said:
        account.error = said["error"]["code"] or said["error"]["type"]
        return
    for choice in said["choices"]:
        part = choice.get("delta") or choice.get("message") or {}
        account.text += part.get("content") or ""
