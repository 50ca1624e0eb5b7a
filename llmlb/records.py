"""What is recorded of one request: how it came, whom it was given to and why, how it ended."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from llmlb.accounting import NOTHING_TOLD, Outcome, Usage, tokens_per_s
from llmlb.types import Api, EndpointId

if TYPE_CHECKING:
    from datetime import datetime

ENDPOINT_REFUSAL = "endpoint_refusal"
"""In place of an endpoint's own code: it makes up as many as it likes, and may quote a request."""

CLIENT_LEFT = 499
"""The status that is recorded where the client left before there was one, as nginx does."""

MOST_TEXT_CHARS = 500
"""Of what strangers wrote: names, and the reasons of errors."""


class Exclusion(StrEnum):
    """Why a request was not given to an endpoint that has its model."""

    DISABLED = "disabled"
    DRAINING = "draining"
    PENDING = "pending"
    """Nothing certain is known of it yet."""
    ERROR = "error"
    OFFLINE = "offline"
    COOLING = "cooling"
    """It has asked to be given nothing for a while."""
    CIRCUIT_OPEN = "circuit_open"
    """It failed several in a row, and others have not."""
    INCAPABLE = "incapable"
    """It cannot do what the request asks for."""
    TRIED = "tried"
    """This request has failed there already."""
    FULL = "full"
    """As many run there as may."""


class Candidate(Struct, frozen=True, gc=False):
    """One endpoint of the model that was asked for, as admission saw it."""

    endpoint_id: EndpointId
    name: str
    latency_ms: float | None
    """The EMA that decided; None: not measured."""
    in_flight: int
    """Leases that were out there."""
    capacity: int
    excluded: Exclusion | None
    """None: it could have been given the request."""


class View(Struct, frozen=True, gc=False):
    """What admission saw at one moment: who could serve, the best first, then who could not."""

    candidates: tuple[Candidate, ...] = ()
    omitted: int = 0
    """So many more were left out, to keep it short."""


NOTHING_SEEN = View()


class Decision(Struct, frozen=True, gc=False):
    """One answer of admission to one request."""

    model: str
    """The name that was asked for, or that of a fallback."""
    at_ms: float
    """Since the request came."""
    waited_ms: float
    answer: str
    """`granted`, or why not: `timeout`, `line_full`, `model_unknown`, `none_capable`,
    `rate_limited`, `closed`, `client_left`."""
    endpoint_id: EndpointId | None
    """Whom it was given to."""
    view: View
    """As it was when the answer was given, the request itself not counted."""
    on_arrival: View | None = None
    """As it was when the request had to go into the line."""


class Attempt(Struct, frozen=True, gc=False):
    """One endpoint's part in it."""

    endpoint_id: EndpointId
    endpoint_name: str
    model: str
    """The endpoint's own id."""
    at_ms: float
    """Since the request came."""
    duration_ms: float
    """Until the answer ended, what the client took to take it left out."""
    time_to_first_token_ms: float | None
    outcome: Outcome
    status: int | None = None
    """That it answered with, where that was no success."""
    reason: str | None = None
    """Why it did not succeed, for people."""
    usage: Usage = NOTHING_TOLD


class Bodies(Struct, frozen=True, gc=False):
    """What was sent and answered, as far as it may be kept: media taken out, and cut short."""

    request: str | None
    response: str | None


class RequestRecord(Struct, frozen=True, gc=False):
    """One client request of an inference route, from its arrival to its end."""

    id: str
    """Ours, and unique, as the id that a client may choose for its request is not."""
    request_id: str
    arrived_at: datetime
    finished_at: datetime
    api: Api
    path: str
    """That the client asked for, without its query."""
    stream: bool
    model: str
    """As the client named it; empty where it is not known."""
    known_model: bool
    """Some endpoint has it, or another model stands in for it: so it is one of few names, and not
    whatever a client makes up."""
    served_model: str | None
    """The own id of the model on the endpoint that was asked last."""
    endpoint_id: EndpointId | None
    """The endpoint that was asked last: the one that answered, if any did."""
    endpoint_name: str | None
    only: bool
    """No other endpoint could have served it: it was asked for, or keeps the conversation."""
    key_id: str | None
    user_id: str | None
    client_address: str | None
    outcome: Outcome
    """REFUSED: the request was at fault, or came too often or too early."""
    status: int
    """That the client was sent; CLIENT_LEFT if it had left before."""
    error_code: str | None
    """Also of an error inside a stream, whose status is 200."""
    error_message: str | None
    waited_ms: float
    """In line, all together."""
    duration_ms: float
    """From arrival to end, as the client saw it."""
    time_to_first_token_ms: float | None
    """Of the endpoint that answered, from when it was asked."""
    usage: Usage
    """Of all attempts together."""
    request_bytes: int
    response_bytes: int
    decisions: tuple[Decision, ...]
    attempts: tuple[Attempt, ...]
    bodies: Bodies | None = None
    """None: they are not kept."""

    @property
    def own_code(self) -> str | None:
        """`error_code` where it is one of ours; ENDPOINT_REFUSAL where the endpoint made it up."""
        refused = bool(self.attempts) and self.attempts[-1].outcome is Outcome.REFUSED
        return ENDPOINT_REFUSAL if refused and self.error_code is not None else self.error_code

    @property
    def tokens_per_s(self) -> float | None:
        """Output tokens per second after the first, of a stream that came to its end.

        None where that cannot be said: of one token there is no rate.
        """
        last = self.attempts[-1] if self.attempts else None
        if not self.stream or last is None or self.outcome is not Outcome.SUCCEEDED:
            return None
        return tokens_per_s(last.usage, last.duration_ms, last.time_to_first_token_ms)
