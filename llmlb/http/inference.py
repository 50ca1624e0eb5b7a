"""What a client asks for, and what one endpoint is asked for its sake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from llmlb.http.dialect import Dialect
from llmlb.http.payload import Payload
from llmlb.types import Api, Capability, Endpoint, EndpointId

Remember = Callable[[str], None]
"""Told the id of what an endpoint keeps of its answer, as soon as that is known."""


def forget(kept_id: str, /) -> None:
    """Remember nothing."""


class Call(msgspec.Struct, frozen=True):
    """One request, as one endpoint is to get it. A frozen dataclass takes five times as long."""

    path: str
    """With its query."""
    dialect: Dialect
    """How that endpoint answers."""
    body: bytes | Payload | None = None
    metered_body: bytes | Payload | None = None
    """The body that also asks for usage at the end of the stream; None: that is not asked."""
    method: str = "POST"
    stream: bool = False
    choices: int = 1
    """How many choices the answer will have."""
    content_type: str | None = None
    """Of the body, if it is not the client's own."""
    passed_on: tuple[str, ...] = ()
    """Names of the client's headers that this endpoint understands, beside the usual ones."""
    named: str | None = None
    """The model's name for the client, where the endpoint knows it by another one."""
    notes: tuple[str, ...] = ()
    """What had to be left out for this endpoint, each in a few ASCII words."""


class InferenceRequest(Protocol):
    """One inference request: what decides its way, and how it is put to an endpoint."""

    @property
    def api(self) -> Api: ...

    @property
    def model(self) -> str:
        """The name that the client used."""
        ...

    @property
    def stream(self) -> bool:
        """Whether its answer is a stream of events."""
        ...

    @property
    def needs(self) -> frozenset[Capability]:
        """What a model has to be able to do, images apart."""
        ...

    @property
    def remembered(self) -> bool:
        """Whether an endpoint may keep its answer, to be referred to later."""
        ...

    def beyond(self, offering: Iterable[Endpoint]) -> frozenset[EndpointId]:
        """Which of *offering* cannot be asked this, whatever their models can do.

        Raises the LbError that says why, if it is every one of them.
        """
        ...

    def call_to(self, endpoint: Endpoint, model: str, named: str, remember: Remember) -> Call:
        """The request for *endpoint*, which knows the model as *model*, the client as *named*."""
        ...
