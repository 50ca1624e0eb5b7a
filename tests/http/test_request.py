"""Inference requests: what is read of them, what is refused, and what is left alone."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import InvalidJson, InvalidRequest, LbError, MissingField
from llmlb.http.openai.request import JsonRequest, parse_request
from llmlb.http.splicing import edited
from llmlb.types import Api

CHAT, COMPLETIONS, EMBEDDINGS = Api.CHAT_COMPLETIONS, Api.COMPLETIONS, Api.EMBEDDINGS


def parsed(body: bytes | str, api: Api = CHAT) -> JsonRequest:
    return parse_request(api, "/v1/x", body.encode() if isinstance(body, str) else body)


def metered(request: JsonRequest) -> bytes:
    """The body as it is sent to an endpoint that is asked for usage."""
    return edited(request.body, request.asking_for_usage)


def refusal(body: bytes | str) -> LbError:
    with pytest.raises(LbError) as caught:
        parsed(body)
    assert caught.value.http_status() == 400
    assert caught.value.error_type() == "invalid_request_error"
    return caught.value


# -- bad input

NOT_JSON = {
    "nothing": b"",
    "blank": b" \n",
    "half": b'{"model": "m"',
    "more": b'{"model": "m"} x',
    "a trailing comma": b'{"model": "m",}',
    "single quotes": b"{'model': 'm'}",
    "a form": b"model=m&stream=true",
    "a BOM": b'\xef\xbb\xbf{"model": "m"}',
    "UTF-16": '{"model": "m"}'.encode("utf-16"),
    "UTF-16 without BOM": '{"model": "m"}'.encode("utf-16-le"),
    "not UTF-8": b'{"model": "\xff"}',
    "an overlong form": b'{"model": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"model": "\xed\xa0\x80"}',
    "half a surrogate pair": b'{"model": "\\ud800"}',
    "a control character": b'{"model": "a\nb"}',
    "NUL": b'{"model": "m"}\x00',
    "deep": b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep and open": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a list": b'[{"model": "m"}]',
    "a string": b'"model"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "NaN": b"NaN",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_a_json_object_is_invalid_json(name: str) -> None:
    error = refusal(NOT_JSON[name])

    assert isinstance(error, InvalidJson)
    assert (error.error_code(), error.param) == ("invalid_json", None)
    assert "JSON" in error.message
    assert len(error.message) < 300


def test_a_model_has_to_be_named() -> None:
    error = refusal('{"messages": []}')
    assert isinstance(error, MissingField)
    assert (error.error_code(), error.param) == ("missing_field", "model")
    assert error.message == "'model' is required."


@pytest.mark.parametrize("model", ["null", "1", "true", '""', "[]", "{}", '["m"]'])
def test_a_model_is_a_string_that_says_something(model: str) -> None:
    error = refusal(f'{{"model": {model}, "stream": true}}')
    assert isinstance(error, InvalidRequest)
    assert (error.error_code(), error.param) == ("invalid_value", "model")
    assert error.message == "'model' must be a non-empty string."


@pytest.mark.parametrize("stream", ["1", "0", '"true"', '""', "[]", "{}", "1.0"])
def test_stream_is_a_boolean(stream: str) -> None:
    error = refusal(f'{{"model": "m", "stream": {stream}}}')
    assert (error.error_code(), error.param) == ("invalid_value", "stream")
    assert error.message == "'stream' must be a boolean."


@given(body=st.binary(max_size=200))
def test_whatever_the_bytes_only_a_refusal_is_raised(body: bytes) -> None:
    for raw in (body, b'{"model":"m","x":' + body + b"}", b'{"model":"' + body + b'"}'):
        try:
            request = parsed(raw)
        except LbError:
            refusal(raw)
        else:
            assert request.model
            request.model.encode()


# -- what is read


@pytest.mark.parametrize("stream", ["false", "null"])
def test_a_plain_request_is_left_alone(stream: str) -> None:
    request = parsed(f'{{"model": "m", "stream": {stream}, "stream_options": {{}}}}')

    assert not request.stream
    assert metered(request) is request.body


def test_the_last_of_two_models_counts_as_everywhere() -> None:
    assert parsed('{"model": "a", "model": "b"}').model == "b"


def test_embeddings_are_never_streamed() -> None:
    request = parsed('{"model": "m", "stream": true}', EMBEDDINGS)
    assert not request.stream
    assert metered(request) is request.body


@pytest.mark.parametrize(
    ("api", "fields", "choices"),
    [
        (CHAT, {}, 1),
        (CHAT, {"n": 3}, 3),
        (CHAT, {"n": 0}, 1),
        (CHAT, {"n": -2}, 1),
        (CHAT, {"n": "3"}, 1),
        (CHAT, {"n": 2.0}, 1),
        (CHAT, {"n": True}, 1),
        (CHAT, {"n": None}, 1),
        (CHAT, {"prompt": ["a", "b"]}, 1),
        (COMPLETIONS, {"prompt": ["a", "b"]}, 2),
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 2}, 4),
        (COMPLETIONS, {"prompt": [[1], [2], [3]]}, 3),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 1),
        (COMPLETIONS, {"prompt": []}, 1),
        (COMPLETIONS, {"prompt": "a"}, 1),
        (COMPLETIONS, {"prompt": {"a": 1}}, 1),
    ],
)
def test_how_many_choices_an_answer_will_have(
    api: Api, fields: dict[str, Any], choices: int
) -> None:
    assert parsed(json.dumps({"model": "m", **fields}), api).choices == choices


# -- asking for usage


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","stream":true}',
        b' \r\n\t{ "stream" : true , "model" : "m" } \n',
        b'{"model":"m","stream":true,"seed":123456789012345678901234567890,"t":1.10,"u":1E2}',
        '{"model":"é","stream":true,"x":"\\u00e9\\"{"}'.encode(),
    ],
)
def test_usage_is_asked_for_without_touching_the_rest(body: bytes) -> None:
    request = parsed(body)

    added = b'"stream_options":{"include_usage":true},'
    assert metered(request).replace(added, b"", 1) == request.body == body
    assert json.loads(metered(request))["stream_options"] == {"include_usage": True}
    assert request.asking_for_usage


def test_whoever_asks_for_usage_is_left_alone() -> None:
    request = parsed('{"model":"m","stream":true,"stream_options":{"include_usage":true}}')
    assert metered(request) is request.body
    assert not request.asking_for_usage


@pytest.mark.parametrize("options", ['"yes"', "1", "[]", "true", "0", "false", '""'])
def test_options_that_are_none_are_the_endpoints_to_refuse(options: str) -> None:
    request = parsed(f'{{"model":"m","stream":true,"stream_options":{options}}}')
    assert metered(request) is request.body


@pytest.mark.parametrize("usage", ["false", "null", "0", '"no"'])
def test_a_client_that_declines_usage_does_not_get_it(usage: str) -> None:
    body = f'{{"model":"m","stream":true,"stream_options":{{"include_usage":{usage},"a":1}}}}'
    request = parsed(body)
    assert json.loads(metered(request))["stream_options"] == {"include_usage": True, "a": 1}
    assert request.asking_for_usage


def test_a_null_of_options_is_replaced() -> None:
    request = parsed('{"model":"m","stream_options":null,"stream":true}')
    assert json.loads(metered(request))["stream_options"] == {"include_usage": True}
    assert request.asking_for_usage


def test_an_escaped_name_is_the_same_name() -> None:
    request = parsed('{"model":"m","stream":true,"stream\\u005foptions":{"a":1}}')
    assert json.loads(metered(request))["stream_options"] == {"include_usage": True, "a": 1}
    request = parsed('{"model":"m","stream":true,"stream\\u005foptions":null}')
    assert json.loads(metered(request))["stream_options"] == {"include_usage": True}


def test_text_that_looks_like_options_is_text() -> None:
    body = json.dumps({"model": "m", "stream": True, "x": '"stream_options"'})
    assert json.loads(metered(parsed(body))) == {
        **json.loads(body),
        "stream_options": {"include_usage": True},
    }


def test_options_inside_something_else_are_no_options() -> None:
    body = json.dumps({"model": "m", "stream": True, "x": {"stream_options": {"a": 1}}})
    assert json.loads(metered(parsed(body))) == {
        **json.loads(body),
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    "number", ["1" * 5000, "-" + "9" * 5000, "1" * 4301, "1e999", "NaN", "-Infinity", "1e-999"]
)
@pytest.mark.parametrize("options", ["", ',"stream_options":{}'])
def test_no_number_breaks_the_parser(number: str, options: str) -> None:
    body = f'{{"model":"m","stream":true,"seed":{number}{options}}}'.encode()
    try:
        request = parsed(body)
    except LbError:
        return
    assert number.encode() in request.body
    assert number.encode() in metered(request) or number == "1e-999"
    assert b"Infinity" not in metered(request) or number == "-Infinity"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner)
    ),
    max_leaves=10,
)
objects = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["messages", "n", "prompt", "include_usage", "stream_option"]),
    json_values,
    max_size=6,
)
options = st.one_of(
    st.just({}),
    st.builds(lambda value: {"stream_options": value}, st.none() | objects),
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    stream = draw(st.sampled_from([{}, {"stream": True}, {"stream": False}]))
    whole = {**draw(objects), **draw(options), **stream, "model": "m"}
    return {key: whole[key] for key in draw(st.permutations(list(whole)))}


@given(
    whole=requests(),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
    api=st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS, Api.RERANK, Api.RESPONSES]),
)
def test_a_metered_body_is_the_same_object_and_asks_for_usage(
    whole: dict[str, Any], ascii_only: bool, indent: int | None, api: Api
) -> None:
    body = json.dumps(whole, ensure_ascii=ascii_only, indent=indent).encode()

    request = parsed(body, api)

    assert request.body == body
    streamed = api not in (EMBEDDINGS, Api.RERANK)
    assert request.stream == (whole.get("stream") is True and streamed)
    if not request.stream or api is Api.RESPONSES:
        assert metered(request) == body
        return
    expected = {**(whole.get("stream_options") or {}), "include_usage": True}
    assert json.loads(metered(request)) == {**whole, "stream_options": expected}
    assert (not request.asking_for_usage) == (metered(request) == body)


def test_a_number_of_choices_is_never_a_burden() -> None:
    assert parsed('{"model":"m","n":999999999999999999999999}').choices == 10_000
    prompts = json.dumps({"model": "m", "n": 9999, "prompt": ["a"] * 9})
    assert parsed(prompts, COMPLETIONS).choices == 10_000
    assert math.isfinite(parsed('{"model":"m","n":1e30}').choices)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_a_number_to_python_alone_is_invalid_json(number: str) -> None:
    with pytest.raises(InvalidJson):
        parsed(f'{{"model":"m","temperature":{number}}}')


def test_text_may_speak_of_such_numbers() -> None:
    assert parsed('{"model":"m","messages":[{"content":"NaN and Infinity"}]}').model == "m"
