"""What of a JSON inference request decides its way; the rest of the body is the endpoint's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec
from msgspec import UNSET

from llmlb.errors import InvalidJson
from llmlb.http.holes import Holes, take_out
from llmlb.http.inference import Call, Remember
from llmlb.http.members import renaming, values_of
from llmlb.http.openai.dialects import dialect_for
from llmlb.http.openai.routed import Routed, read_routed
from llmlb.http.openai.stored import CONVERSATION, RESPONSE
from llmlb.http.splicing import Edit, spliced
from llmlb.types import Api, Capability, Endpoint, EndpointId

_NEVER_STREAMED = frozenset({Api.EMBEDDINGS, Api.RERANK})

_COUNTED_ON_REQUEST = frozenset({Api.CHAT_COMPLETIONS, Api.COMPLETIONS})
"""Their streams tell the usage only to those who ask for it."""

_SEVERAL_CHOICES = frozenset({Api.CHAT_COMPLETIONS, Api.COMPLETIONS, Api.IMAGE_GENERATIONS})

_MOST_CHOICES = 10_000
"""Beyond any engine's limit; so many are followed to their ends."""

_NEEDS = {
    Api.IMAGE_GENERATIONS: Capability.IMAGE_GENERATION,
    Api.SPEECH: Capability.AUDIO_SPEECH,
}

_NOTHING: Mapping[str, object] = MappingProxyType({})

_INCLUDE_USAGE = b'"stream_options":{"include_usage":true},'


class JsonRequest(msgspec.Struct, frozen=True):
    """One inference request with a JSON body."""

    api: Api
    path: str
    model: str
    stream: bool
    choices: int
    """How many choices the answer will have."""
    body: bytes
    """As the client sent it."""
    asking_for_usage: tuple[Edit, ...] = ()
    """What makes it ask for usage at the end of the stream, if it does not."""
    goes_on_from: Mapping[str, object] = msgspec.field(default_factory=lambda: _NOTHING)
    """Fields that name what an endpoint keeps, as the client sent them: not judged yet."""
    remembered: bool = False

    @property
    def needs(self) -> frozenset[Capability]:
        need = _NEEDS.get(self.api)
        return frozenset() if need is None else frozenset({need})

    def beyond(self, offering: Iterable[Endpoint]) -> frozenset[EndpointId]:  # noqa: ARG002
        return frozenset()

    def call_to(
        self,
        endpoint: Endpoint,  # noqa: ARG002 - the same for every endpoint
        model: str,
        named: str,
        remember: Remember,
    ) -> Call:
        names = [] if model == self.model else renaming(self.body, "model", model)
        return Call(
            self.path,
            dialect_for(self.api, remember),
            spliced(self.body, names),
            spliced(self.body, [*names, *usage]) if (usage := self.asking_for_usage) else None,
            stream=self.stream,
            choices=self.choices,
            content_type="application/json",  # it is, whatever the client called it
            named=named if names and self.api is not Api.SPEECH else None,
        )


def parse_request(api: Api, path: str, body: bytes) -> JsonRequest:
    """Read what routing needs of *body*. Raises InvalidJson, MissingField, InvalidRequest."""
    hollow, holes = take_out(body)
    try:
        routed = read_routed(hollow)
    except InvalidJson:
        routed = read_routed(body)  # raises, too, and knows the fault's true place
    stream = _streams(api, routed)
    return JsonRequest(
        api=api,
        path=path,
        model=routed.model,
        stream=stream,
        choices=_choices(api, routed),
        body=body,
        asking_for_usage=(
            _for_usage(body, routed, holes) if stream and api in _COUNTED_ON_REQUEST else ()
        ),
        goes_on_from=_named_in(routed) if api is Api.RESPONSES else _NOTHING,
        remembered=api is Api.RESPONSES and routed.store is not False,
    )


def _named_in(routed: Routed) -> Mapping[str, object]:
    return {RESPONSE: routed.previous_response_id, CONVERSATION: routed.conversation}


def _streams(api: Api, routed: Routed) -> bool:
    if api is Api.SPEECH:
        return bool(routed.stream_format == "sse")
    return bool(routed.stream) and api not in _NEVER_STREAMED


def _choices(api: Api, routed: Routed) -> int:
    if api not in _SEVERAL_CHOICES:
        return 1
    n = min(routed.n, _MOST_CHOICES) if isinstance(routed.n, int) and routed.n > 0 else 1
    if api is Api.COMPLETIONS and isinstance(routed.prompt, list):
        several = [p for p in routed.prompt if isinstance(p, str | list)]
        return min(n * max(1, len(several)), _MOST_CHOICES)
    return n


def _for_usage(body: bytes, routed: Routed, holes: Holes) -> tuple[Edit, ...]:
    """`stream_options.include_usage`, merged with the client's own options."""
    options = routed.stream_options
    if options is UNSET:
        start = body.index(b"{") + 1
        return (Edit(start, start, _INCLUDE_USAGE),)
    if options is not None and not isinstance(options, dict):
        return ()  # the endpoint will say what it thinks of that
    if options and options.get("include_usage") is True:
        return ()
    try:
        merged = json.dumps({**(options or {}), "include_usage": True}, allow_nan=False).encode()
    except ValueError:
        return ()  # a number that Python cannot write as it was read
    written = holes.fill_whole(merged)
    return tuple(Edit(*span, written) for span in values_of(body, "stream_options"))
