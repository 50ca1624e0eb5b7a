"""Clients of the balancer: patient, slow, stuck ones, and those that leave at any moment."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import trio

from llmlb.http.application import LlmlbApp
from tests.fakes.asgi import Message, Request
from tests.fakes.lane import LaneRequest
from tests.fakes.openai import chat
from tests.simulation.ledger import Account, current
from tests.simulation.parts import Leaving, Manner, Moment, Wish
from tests.simulation.world import SimWorld


class SimRequest(LaneRequest):
    """A connection whose client takes its time over each piece: on the lane, unless that is off."""

    def __init__(self, app: LlmlbApp, account: Account) -> None:
        wish = account.wish
        super().__init__(
            app,
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
        if self._left.is_set():
            await trio.lowlevel.checkpoint()
        else:
            await super()._hear(message)


@dataclass
class Client:
    """One request, from when it is sent until the balancer has let go of it."""

    world: SimWorld
    wish: Wish
    account: Account = field(init=False)
    _request: SimRequest = field(init=False)

    async def run(self) -> Account:
        world, wish = self.world, self.wish
        await world.standing.wait()
        account = self.account = Account(wish, trio.current_time())
        current.set(account)
        world.ledger.opened(account)
        world.clients[wish.tag] = self
        asked = "stream" if wish.stream else "plain"
        self._note(f"asks {wish.model}, {asked}, {wish.manner}")
        self._request = SimRequest(world.app, account)
        async with trio.open_nursery() as nursery:
            if wish.leaving is not None:
                nursery.start_soon(self._leave_at, wish.leaving)
            await self._request.run()
            nursery.cancel_scope.cancel()
        account.ended_at_s = trio.current_time()
        del world.clients[wish.tag]
        _read(self._request, account)
        whole = ", whole" if account.whole else ""
        self._note(f"{account.status} {account.error or ''}: {len(account.text)} characters{whole}")
        return account

    def leave(self) -> None:
        """Close the connection."""
        if self.account.left_at_s is None:
            self.account.left_at_s = trio.current_time()
            self._note("leaves")
            self._request.leave()

    async def _leave_at(self, leaving: Leaving) -> None:
        if leaving.moment is Moment.RECEIVED:
            await self.account.received.wait()
        while leaving.moment is Moment.PIECE and self._request.handed <= leaving.piece:
            await self._request.handed_more.wait()
        await trio.sleep(leaving.after_s)
        for _ in range(leaving.steps):
            await trio.lowlevel.checkpoint()
        self.leave()

    def _note(self, what: str) -> None:
        self.world.trace.note(self.wish.tag, what)


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
        elif not raw.startswith(b":"):  # a comment says nothing
            _read_json(json.loads(raw.removeprefix(b"data: ")), account)


def _read_json(said: Any, account: Account) -> None:
    if "error" in said:
        account.error = said["error"]["code"] or said["error"]["type"]
        return
    for choice in said["choices"]:
        part = choice.get("delta") or choice.get("message") or {}
        account.text += part.get("content") or ""
