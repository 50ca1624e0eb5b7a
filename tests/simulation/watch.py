"""Where the books are kept: what is seen of a house at work, without changing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import structlog

from llmlb.accounting import FinishedRequest
from llmlb.actors.admission import Ready, WaitResult
from llmlb.house import House
from llmlb.types import Endpoint
from tests.simulation.ledger import Asking, Grant, Ledger, current
from tests.simulation.trace import Trace

FAULTS = ("an exchange failed", "the application failed", "a request failed", "an actor died")
"""Log lines that tell of a bug; "an endpoint failed a request" is none of them."""


def keep_books(house: House, ledger: Ledger, trace: Trace) -> None:
    """Take down every ask for a lease and every end of an attempt of *house* from now on."""
    wait, finished = house.admission.wait_for_ready, house.finished

    async def noted_wait(model: str, *args: Any, **more: Any) -> WaitResult:
        account = current.get()
        fresh = more.get("arrival") is None
        equal = fresh and more.get("only") is None and not more.get("excluding")
        asking = Asking(next(ledger.numbers), account.tag, model, equal, fresh)
        ledger.asking.append(asking)
        try:
            result = await wait(model, *args, **more)
        finally:
            ledger.asking.remove(asking)
        if isinstance(result, Ready):
            grant = Grant(asking, result.lease)
            account.grants.append(grant)
            ledger.granted.append(grant)
            trace.note(asking.tag, f"has {result.lease.endpoint.name}")
        else:
            trace.note(asking.tag, f"gets no lease: {type(result).__name__}")
        return result

    def noted_finished(endpoint: Endpoint, request: FinishedRequest) -> None:
        account = current.get()
        account.finished.append(request)
        trace.note(account.tag, f"{request.outcome} on {endpoint.name}")
        finished(endpoint, request)

    replaced: Any = house
    replaced.admission.wait_for_ready = noted_wait
    replaced.finished = noted_finished


class LogBook:
    """structlog's last processor: takes down what is said, and prints nothing."""

    def __init__(self, ledger: Ledger, trace: Trace) -> None:
        self._ledger, self._trace = ledger, trace

    def __call__(self, logger: Any, method: str, said: Mapping[str, Any]) -> NoReturn:
        event = str(said["event"])
        self._trace.note("log", event)
        if event.startswith(FAULTS):
            self._ledger.broken.append(f"{event}: {said.get('error') or said.get('exc_info')!r}")
        raise structlog.DropEvent


def high_water(house: House) -> dict[str, int]:
    """How full each mailbox was at its fullest."""
    actors: dict[str, Any] = {
        "admission": house.admission,
        "audit": house.audit,
        "history": house.history,
        "journal": house.journal,
        "latency": house.latency,
        "prober": house.prober,
        "registry": house.registry,
        "responses": house.responses,
    }
    return {name: actor._mailbox.statistics().high_water for name, actor in actors.items()}
