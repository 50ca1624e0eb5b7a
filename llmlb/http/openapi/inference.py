"""What is said of the inference routes: of their bodies, what decides their way."""

from __future__ import annotations

from llmlb.errors import (
    ModelNotFound,
    NotFound,
    ResponseStateUnavailable,
    ShuttingDown,
    UnsupportedCapability,
)
from llmlb.http.openapi.exchanges import (
    EVENTS,
    KEPT_ID,
    OF_IMAGES,
    STREAM,
    UNREAD,
    UNREAD_FLAG,
    asked,
    exchange,
    results,
)
from llmlb.http.openapi.headers import OF_ALL
from llmlb.http.openapi.management import ENDPOINT_ID
from llmlb.http.openapi.route import (
    Answer,
    JsonSchema,
    Parameter,
    Route,
    event_stream,
    json_content,
    open_object,
)
from llmlb.http.openapi.shown import ModelListShown, ModelShown
from llmlb.types import Api

_CONVERSATION: JsonSchema = {"description": "The conversation. Images in it are checked."}
_STREAM_OPTIONS: JsonSchema = {"description": "`include_usage`: a last event with the usage."}
_HELLO = [{"role": "user", "content": "hello"}]
_BLOCKS: JsonSchema = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"type": "string"}},
                "required": ["type"],
            },
        },
    ]
}
_TYPED: JsonSchema = {
    "type": ["object", "null"],
    "properties": {"type": {"type": "string"}},
    "required": ["type"],
}
_MESSAGE: dict[str, JsonSchema] = {
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "role": {"enum": ["user", "assistant", "system"]},
                "content": _BLOCKS,
            },
            "required": ["role", "content"],
        },
        **_CONVERSATION,
    },
    "system": {"anyOf": [*_BLOCKS["anyOf"], {"type": "null"}]},
    "temperature": {"type": ["number", "null"]},
    "top_p": {"type": ["number", "null"]},
    "top_k": {"type": ["integer", "null"]},
    "stop_sequences": {"type": ["array", "null"], "items": {"type": "string"}},
    "metadata": {
        "type": ["object", "null"],
        "properties": {"user_id": {"type": ["string", "null"]}},
    },
    "tools": {"type": ["array", "null"], "items": {"type": "object"}},
    "tool_choice": _TYPED,
    "thinking": _TYPED,
}
_CHAT = json_content(
    asked(
        stream=STREAM,
        stream_options=_STREAM_OPTIONS,
        n={"description": "How many answers."},
        messages=_CONVERSATION,
    ),
    {"model": "tiny", "messages": _HELLO},
)
_RESPONSE = open_object(output={"type": ["array", "null"]}, status={})
_REPLY = open_object(
    ("type", "role", "content", "model", "stop_reason", "usage"),
    type={"const": "message"},
    content={"type": "array", "items": {"type": "object"}},
)

INFERENCE: tuple[Route, ...] = (
    exchange(
        Api.CHAT_COMPLETIONS,
        "Answer a conversation",
        _CHAT,
        results("choices"),
        EVENTS,
        errors=OF_IMAGES,
    ),
    exchange(
        Api.COMPLETIONS,
        "Continue a text",
        json_content(
            asked(
                stream=STREAM,
                stream_options=_STREAM_OPTIONS,
                n={"description": "How many answers to each prompt."},
                prompt={"description": "A text, or several."},
            ),
            {"model": "tiny", "prompt": "Once upon a time"},
        ),
        results("choices"),
        EVENTS,
    ),
    exchange(
        Api.EMBEDDINGS,
        "Turn texts into vectors",
        json_content(asked(stream=UNREAD_FLAG, input=UNREAD), {"model": "tiny", "input": "hello"}),
        results("data"),
    ),
    exchange(
        Api.RESPONSES,
        "Make a response",
        json_content(
            asked(
                stream=STREAM,
                input={"description": "A text, or the conversation. Images in it are checked."},
                previous_response_id=KEPT_ID,
                conversation=KEPT_ID,
                store={"description": "False: nothing is kept of the answer."},
            ),
            {"model": "tiny", "input": "hello"},
        ),
        json_content(_RESPONSE),
        event_stream("Typed events: an `event:` line, then a `data:` line with JSON."),
        errors=(*OF_IMAGES, NotFound, ResponseStateUnavailable),
    ),
    exchange(
        Api.RERANK,
        "Order documents by how well they answer a query",
        json_content(
            asked(stream=UNREAD_FLAG, query=UNREAD, documents=UNREAD),
            {"model": "tiny", "query": "hello", "documents": ["good day", "good bye"]},
        ),
        results("results"),
        errors=(UnsupportedCapability,),
    ),
    exchange(
        Api.MESSAGES,
        "Answer a conversation, in Anthropic's words",
        json_content(
            asked(
                ("max_tokens", "messages"),
                max_tokens={"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
                stream=STREAM,
                **_MESSAGE,
            ),
            {"model": "tiny", "max_tokens": 100, "messages": _HELLO},
        ),
        json_content(_REPLY),
        event_stream("Typed events, from `message_start` to `message_stop`."),
        says="Passed on to endpoints that speak it, else translated to a chat completion and back. "
        "What cannot be translated is named in `x-llmlb-notes`.",
        errors=OF_IMAGES,
        anthropic=True,
    ),
    exchange(
        Api.COUNT_TOKENS,
        "Count the tokens of a conversation, in Anthropic's words",
        json_content(asked(("messages",), **_MESSAGE), {"model": "tiny", "messages": _HELLO}),
        json_content(open_object(("input_tokens",), input_tokens={"type": "integer"})),
        says="Only by endpoints that can.",
        errors=(UnsupportedCapability,),
        anthropic=True,
    ),
)

CHOSEN: Route = exchange(
    Api.CHAT_COMPLETIONS,
    "Chat with one endpoint",
    _CHAT,
    results("choices"),
    EVENTS,
    path="/api/endpoints/{endpoint_id}/chat/completions",
    name="chat_with_endpoint",
    tag="Management",
    parameters=(ENDPOINT_ID,),
    says="For trying it out: no other endpoint answers in its place.",
    errors=(*OF_IMAGES, NotFound),
)

MODELS: tuple[Route, ...] = (
    Route(
        methods=("GET",),
        path="/v1/models",
        name="models",
        tag="Inference",
        summary="The models that a request can be sent to now",
        answers=(Answer(200, "In order of their names.", (json_content(ModelListShown),)),),
        errors=(ShuttingDown,),
        headers=OF_ALL,
    ),
    Route(
        methods=("GET",),
        path="/v1/models/{name}",
        name="model",
        tag="Inference",
        summary="One model, also while its endpoints are offline",
        parameters=(
            Parameter(
                "name",
                "The model's id, with its slashes and colons as they are.",
                {"type": "string", "minLength": 1},
                "path",
                "tiny",
            ),
        ),
        answers=(Answer(200, "The model.", (json_content(ModelShown),)),),
        errors=(ModelNotFound, ShuttingDown),
        headers=OF_ALL,
    ),
)
