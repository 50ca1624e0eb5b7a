"""How a request of the Messages API is put to an endpoint: as it is, or as a chat completion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from llmlb.errors import LbError, UnsupportedCapability
from llmlb.http.anthropic.chat import ChatBody, to_chat
from llmlb.http.anthropic.dialect import MessagesDialect
from llmlb.http.anthropic.native import CLIENT_HEADERS, CountTokensDialect, NativeDialect
from llmlb.http.anthropic.request import MessagesRequest, parse_count_tokens, parse_messages
from llmlb.http.dialect import Dialect
from llmlb.http.inference import Call, Remember
from llmlb.http.members import renaming
from llmlb.http.paths import PATHS
from llmlb.http.splicing import edited, spliced
from llmlb.types import Api, Capability, Endpoint, EndpointId


@dataclass(frozen=True)
class _Asked(ABC):
    """What the questions of this API have in common: some endpoints know them as they are."""

    asked: MessagesRequest

    api: ClassVar[Api]
    needs: ClassVar[frozenset[Capability]] = frozenset()
    remembered: ClassVar[bool] = False

    @property
    def model(self) -> str:
        return self.asked.model

    @property
    def stream(self) -> bool:
        return self.asked.stream

    @property
    @abstractmethod
    def _refusal(self) -> LbError | None:
        """Why an endpoint that does not know this API cannot be asked; None: it can."""

    def beyond(self, offering: Iterable[Endpoint]) -> frozenset[EndpointId]:
        endpoints = tuple(offering)
        others = frozenset(e.id for e in endpoints if self.api not in e.native_apis)
        if not others or (refusal := self._refusal) is None:
            return frozenset()
        if len(others) == len(endpoints):
            raise refusal
        return others

    def _as_it_is(self, dialect: Dialect, model: str, named: str) -> Call:
        names = [] if model == self.model else renaming(self.asked.body, "model", model)
        return Call(
            PATHS[self.api],
            dialect,
            spliced(self.asked.body, names),
            stream=self.stream,
            content_type="application/json",
            passed_on=CLIENT_HEADERS,
            named=named if names else None,
        )


@dataclass(frozen=True)
class AskedMessage(_Asked):
    """One `POST /v1/messages`; what it is as a chat completion is found out when it matters."""

    api = Api.MESSAGES

    @cached_property
    def _chat(self) -> ChatBody | LbError:
        try:
            return to_chat(self.asked)
        except LbError as error:
            return error

    @property
    def _refusal(self) -> LbError | None:
        return self._chat if isinstance(self._chat, LbError) else None

    def call_to(self, endpoint: Endpoint, model: str, named: str, remember: Remember) -> Call:  # noqa: ARG002
        if self.api in endpoint.native_apis:
            return self._as_it_is(NativeDialect(), model, named)
        chat = self._chat
        if isinstance(chat, LbError):
            raise chat
        names = [] if model == self.model else renaming(chat.body, "model", model)
        return Call(
            PATHS[Api.CHAT_COMPLETIONS],
            MessagesDialect(named, self.asked.wants_thinking),
            self.asked.holes.fill(edited(chat.body, names)),
            stream=self.stream,
            content_type="application/json",
            notes=chat.notes,
        )


@dataclass(frozen=True)
class AskedCount(_Asked):
    """One `POST /v1/messages/count_tokens`, which only an endpoint that knows it can answer."""

    api = Api.COUNT_TOKENS

    @property
    def _refusal(self) -> LbError:
        return UnsupportedCapability(
            f"No endpoint of '{self.model[:200]}' counts tokens.", param="model"
        )

    def call_to(self, endpoint: Endpoint, model: str, named: str, remember: Remember) -> Call:  # noqa: ARG002
        return self._as_it_is(CountTokensDialect(), model, named)


def read_messages(body: bytes) -> AskedMessage:
    """Read `POST /v1/messages`. Raises InvalidJson, MissingField, InvalidRequest."""
    return AskedMessage(parse_messages(body))


def read_count(body: bytes) -> AskedCount:
    """Read `POST /v1/messages/count_tokens`. Raises like `read_messages`."""
    return AskedCount(parse_count_tokens(body))
