"""How a request of the Messages API is put to an endpoint: as it is, or as a chat completion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from llmlb.errors import LbError, UnsupportedCapability
from llmlb.http.anthropic.chat import ChatBody, to_chat
from llmlb.http.anthropic.dialect import MessagesDialect
from llmlb.http.anthropic.native import CLIENT_HEADERS, CountTokensDialect, NativeDialect
from llmlb.http.anthropic.request import MessagesRequest, parse_count_tokens, parse_messages
from llmlb.http.inference import Call, Remember
from llmlb.http.members import renaming
from llmlb.http.splicing import spliced
from llmlb.types import Api, Capability, Endpoint, EndpointId

PATH = "/v1/messages"
COUNT_PATH = f"{PATH}/count_tokens"


@dataclass(frozen=True)
class AskedMessage:
    """One `POST /v1/messages`; what it is as a chat completion is found out when it matters."""

    asked: MessagesRequest
    api: Api = Api.MESSAGES
    needs: frozenset[Capability] = frozenset()
    remembered: bool = False

    @property
    def model(self) -> str:
        return self.asked.model

    @property
    def stream(self) -> bool:
        return self.asked.stream

    @cached_property
    def _chat(self) -> ChatBody | LbError:
        try:
            return to_chat(self.asked)
        except LbError as error:
            return error

    def beyond(self, offering: Iterable[Endpoint]) -> frozenset[EndpointId]:
        endpoints = tuple(offering)
        foreign = frozenset(e.id for e in endpoints if Api.MESSAGES not in e.native_apis)
        if not foreign or isinstance(self._chat, ChatBody):
            return frozenset()
        if len(foreign) == len(endpoints):
            raise self._chat
        return foreign

    def call_to(self, endpoint: Endpoint, model: str, named: str, remember: Remember) -> Call:  # noqa: ARG002
        if Api.MESSAGES in endpoint.native_apis:
            return _as_it_is(self.asked, PATH, NativeDialect(), model, named)
        chat = self._chat
        if isinstance(chat, LbError):
            raise chat
        names = [] if model == self.model else renaming(chat.body, "model", model)
        return Call(
            "/v1/chat/completions",
            MessagesDialect(named, self.asked.wants_thinking),
            spliced(chat.body, names),
            stream=self.asked.stream,
            content_type="application/json",
            notes=chat.notes,
        )


@dataclass(frozen=True)
class AskedCount:
    """One `POST /v1/messages/count_tokens`, which only an endpoint that knows it can answer."""

    asked: MessagesRequest
    api: Api = Api.COUNT_TOKENS
    stream: bool = False
    needs: frozenset[Capability] = frozenset()
    remembered: bool = False

    @property
    def model(self) -> str:
        return self.asked.model

    def beyond(self, offering: Iterable[Endpoint]) -> frozenset[EndpointId]:
        endpoints = tuple(offering)
        unable = frozenset(e.id for e in endpoints if Api.COUNT_TOKENS not in e.native_apis)
        if unable and len(unable) == len(endpoints):
            raise UnsupportedCapability(
                f"No endpoint of '{self.model[:200]}' counts tokens.", param="model"
            )
        return unable

    def call_to(self, endpoint: Endpoint, model: str, named: str, remember: Remember) -> Call:  # noqa: ARG002
        return _as_it_is(self.asked, COUNT_PATH, CountTokensDialect(), model, named)


def read_messages(body: bytes) -> AskedMessage:
    """Read `POST /v1/messages`. Raises InvalidJson, MissingField, InvalidRequest."""
    return AskedMessage(parse_messages(body))


def read_count(body: bytes) -> AskedCount:
    """Read `POST /v1/messages/count_tokens`. Raises like `read_messages`."""
    return AskedCount(parse_count_tokens(body))


def _as_it_is(
    asked: MessagesRequest,
    path: str,
    dialect: NativeDialect | CountTokensDialect,
    model: str,
    named: str,
) -> Call:
    names = [] if model == asked.model else renaming(asked.body, "model", model)
    return Call(
        path,
        dialect,
        spliced(asked.body, names),
        stream=asked.stream,
        content_type="application/json",
        passed_on=CLIENT_HEADERS,
        named=named if names else None,
    )
