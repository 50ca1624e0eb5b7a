"""The document of the API is valid, complete, and says no more than the code does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from llmlb.endpoint_form import EndpointEdit, EndpointForm
from llmlb.errors import (
    EndpointRefusal,
    InvalidRequest,
    NotFound,
    UnsupportedCapability,
    UpstreamError,
)
from llmlb.http.application import create_app
from llmlb.http.manage.body import parse_body
from llmlb.http.openai.routed import Routed
from llmlb.http.openapi.document import ROUTES, build_document
from llmlb.http.openapi.exchanges import asked, exchange, results
from llmlb.http.openapi.headers import OF_ALL
from llmlb.http.openapi.refusals import code_of, refusals_of
from llmlb.http.openapi.route import (
    Answer,
    Parameter,
    Route,
    json_content,
    multipart_content,
)
from llmlb.settings import Settings
from llmlb.types import Api

DOCUMENT = build_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_what_is_routed_is_described_and_nothing_else_is() -> None:
    routed = set()
    for rule in create_app(Settings()).url_map.iter_rules():
        if rule.rule.startswith("/v0/") or rule.endpoint.startswith("api_later") or rule.websocket:
            continue  # OpenAPI has no words for a WebSocket
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        routed |= {(method, path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert OPERATIONS.keys() == routed


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


def test_every_parameter_of_a_path_is_described() -> None:
    for (_, path), operation in OPERATIONS.items():
        said = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert said == set(re.findall(r"{(\w+)}", path)), path


def test_every_field_that_is_routed_on_is_described() -> None:
    described: set[str] = set()
    for route in ROUTES:
        if route.tag == "Inference" and route.body is not None:
            assert isinstance(route.body.shape, dict)
            described |= route.body.shape["properties"].keys()
    assert {*Routed.__struct_fields__} <= described


def test_the_examples_of_bodies_and_parameters_fit_their_schemas() -> None:
    for operation in OPERATIONS.values():
        spoken = [*operation.get("requestBody", {}).get("content", {}).values()]
        for said in [*spoken, *operation.get("parameters", ())]:
            if "example" in said:
                schema = {**said["schema"], "components": DOCUMENT["components"]}
                OAS31Validator(schema).validate(said["example"])


def test_an_inference_body_may_hold_what_is_not_described() -> None:
    schema = OPERATIONS["POST", "/v1/chat/completions"]["requestBody"]["content"]
    assert schema["application/json"]["schema"]["additionalProperties"] is True


# -- forms


def test_a_form_is_described_without_defaults_but_with_what_is_ignored() -> None:
    for form in (EndpointForm, EndpointEdit):
        schema = SCHEMAS[form.__name__]
        assert schema["additionalProperties"] is False
        assert schema["properties"].keys() == form.model_fields.keys() | form.leftovers
        assert all("default" not in said for said in schema["properties"].values())
        assert all(said["description"] for said in schema["properties"].values())
    assert SCHEMAS["EndpointForm"]["required"] == ["name", "base_url"]
    assert "required" not in SCHEMAS["EndpointEdit"]


def property_of(field: str) -> dict[str, Any]:
    """The schema of one field of an endpoint, null aside."""
    said: dict[str, Any] = SCHEMAS["EndpointEdit"]["properties"][field]
    alternatives: list[dict[str, Any]] = said.get("anyOf", [said])
    return alternatives[0]


def matches(pattern: str, text: str) -> bool:
    """As JSON schema means it: `$` is the very end, and not before a last line break, too."""
    return re.search(pattern.removesuffix("$") + r"\Z", text) is not None


def accepted(field: str, value: object) -> bool:
    try:
        EndpointEdit.model_validate({field: value})
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "field", ["health_check_interval_secs", "inference_timeout_secs", "max_concurrency"]
)
def test_the_bounds_of_numbers_are_those_that_are_checked(field: str) -> None:
    said = property_of(field)
    for number in (said["minimum"], said["maximum"]):
        assert accepted(field, number)
    for number in (said["minimum"] - 1, said["maximum"] + 1):
        assert not accepted(field, number)


EDGES = st.sampled_from([" ", "\t", "\n", "\x00", "\x1f", "\x7f", "\x85", "\xa0", "\u2028", "é"])
TEXTS = st.lists(st.one_of(EDGES, st.characters(codec="utf-8")), max_size=8).map("".join)


@pytest.mark.parametrize("field", ["name", "api_key"])
@given(text=TEXTS)
def test_the_patterns_of_texts_are_what_is_checked(field: str, text: str) -> None:
    said = property_of(field)
    fits = matches(said["pattern"], text) and len(text) >= said.get("minLength", 0)
    assert fits == accepted(field, text)


@pytest.mark.parametrize("field", ["name", "api_key", "notes"])
def test_the_lengths_of_texts_are_what_is_checked(field: str) -> None:
    longest = property_of(field)["maxLength"]
    assert accepted(field, "x" * longest)
    assert not accepted(field, "x" * (longest + 1))
    assert field == "notes" or not accepted(field, "x" + " " * longest)


@given(
    rest=st.text(alphabet="abcXYZ019.-:/[]@?#% {}\\\x00\x7f\n", max_size=20),
    scheme=st.sampled_from(["http://", "HTTPS://", "ftp://", "http:/", " http://", ""]),
)
def test_no_url_is_accepted_that_the_pattern_refuses(scheme: str, rest: str) -> None:
    url = scheme + rest
    if accepted("base_url", url):
        assert matches(property_of("base_url")["pattern"], url)


def test_the_longest_url_is_as_long_as_is_said() -> None:
    longest = property_of("base_url")["maxLength"]
    assert accepted("base_url", "http://a/".ljust(longest, "x"))
    assert not accepted("base_url", "http://a/".ljust(longest + 1, "x"))
    assert not accepted("base_url", "http://a/" + " " * longest)


@given(name=st.text(alphabet="aZ0-_ \x00:é", max_size=4), value=TEXTS)
def test_the_patterns_of_extra_headers_are_what_is_checked(name: str, value: str) -> None:
    said = property_of("extra_headers")
    fits = matches(said["propertyNames"]["pattern"], name) and matches(
        said["additionalProperties"]["pattern"], value
    )
    assert fits == accepted("extra_headers", {name: value})


def test_as_many_extra_headers_are_taken_as_is_said() -> None:
    most = property_of("extra_headers")["maxProperties"]
    assert accepted("extra_headers", {f"x-{n}": "" for n in range(most)})
    assert not accepted("extra_headers", {f"x-{n}": "" for n in range(most + 1)})


def test_what_a_check_refuses_is_told_in_its_own_words() -> None:
    with pytest.raises(InvalidRequest, match=r"^'max_concurrency' must be from 1 to 10000\.$"):
        parse_body(EndpointEdit, b'{"max_concurrency": 0}')


# -- errors


def route(**more: Any) -> Route:
    said: dict[str, Any] = {
        "methods": ("POST",),
        "path": "/v1/rerank",
        "name": "thing",
        "tag": "Inference",
        "summary": "Make a thing",
        "answers": (Answer(200, "A thing."),),
        "headers": OF_ALL,
    }
    return Route(**{**said, **more})


def codes(response: dict[str, Any]) -> list[str]:
    """The codes that a response may have; KeyError if it may have any."""
    schema = response["content"]["application/json"]["schema"]
    found: list[str] = schema["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]
    return found


def test_what_every_route_may_say_is_said_of_each() -> None:
    refusals = refusals_of(route())
    assert {status: codes(said) for status, said in refusals.items()} == {
        "400": ["invalid_value"],
        "401": ["missing_api_key", "invalid_api_key", "expired_api_key"],
        "403": ["setup_required", "insufficient_permissions"],
        "431": ["headers_too_large"],
        "500": ["internal_error"],
        "508": ["loop_detected"],
    }


def test_credentials_are_spoken_of_where_they_are_asked_for() -> None:
    login, chat = OPERATIONS["POST", "/api/auth/login"], OPERATIONS["POST", "/v1/chat/completions"]
    users = OPERATIONS["GET", "/api/users"]
    assert (login["security"], "401" in login["responses"]) == ([], True)
    assert chat["security"] == [{"key": []}, {"key_header": []}]
    assert users["security"] == [{"key": []}, {"key_header": []}, {"token": []}, {"cookie": []}]
    assert users["description"] == "For an administrator or a key with `users.manage`."
    assert codes(users["responses"]["403"]) == [
        "setup_required",
        "insufficient_permissions",
        "csrf_failed",
        "password_change_required",
    ]
    schemes = DOCUMENT["components"]["securitySchemes"].keys()
    assert {s for o in OPERATIONS.values() for one in o["security"] for s in one} == schemes


def test_who_reads_a_body_may_refuse_it() -> None:
    refusals = refusals_of(route(body=json_content({})))
    assert {"408", "413", "503"} <= refusals.keys()
    assert "retry-after" in refusals["503"]["headers"]
    assert "retry-after" not in refusals["413"]["headers"]


def test_a_response_tells_what_each_of_its_codes_means() -> None:
    for operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            if status >= "4":
                assert re.fullmatch(r"(.+\.\n?)+", response["description"]), status


def test_what_an_endpoint_says_may_have_any_4xx_and_code() -> None:
    refusals = refusals_of(route(errors=(EndpointRefusal, NotFound, UpstreamError)))
    for status in ("4XX", "404", "400"):
        with pytest.raises(KeyError):
            codes(refusals[status])
    assert codes(refusals["502"]) == ["upstream_error"]


def test_anthropics_errors_have_anthropics_shape() -> None:
    refusals = refusals_of(route(anthropic=True))
    schemas = [said["content"]["application/json"]["schema"] for said in refusals.values()]
    assert all(schema == {"$ref": "#/components/schemas/AnthropicError"} for schema in schemas)
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            shown = str(operation["responses"])
            assert ("AnthropicError" in shown) == path.startswith("/v1/messages"), path


def test_every_error_of_the_routes_says_when_it_comes() -> None:
    for said in ROUTES:
        for error in said.errors:
            assert vars(error)["__doc__"], error
            assert error is EndpointRefusal or re.fullmatch("[a-z0-9_]+", code_of(error))


# -- how further routes are described


def test_a_route_of_multipart_needs_a_file_and_a_model() -> None:
    content = multipart_content(
        {"file": "The recording."},
        {"model": {"type": "string"}, "language": {}},
        {"file": "@speech.wav", "model": "tiny"},
    )
    assert content.media_type == "multipart/form-data"
    assert isinstance(content.shape, dict)
    assert content.shape["required"] == ["file", "model"]
    assert content.shape["properties"]["file"]["contentMediaType"] == "application/octet-stream"
    assert content.shape["properties"].keys() == {"file", "model", "language"}
    assert content.example == {"file": "@speech.wav", "model": "tiny"}


def test_a_further_route_of_an_api_is_one_entry() -> None:
    entry = exchange(
        Api.MESSAGES,
        "Count tokens",
        json_content(asked(("messages",), messages={"type": "array"})),
        json_content({"type": "object", "required": ["input_tokens"]}),
        errors=(UnsupportedCapability,),
        path="/v1/messages/count_tokens",
        name="count_tokens",
        anthropic=True,
    )
    assert (entry.methods, entry.path) == (("POST",), "/v1/messages/count_tokens")
    assert {"404", "4XX", "504"} <= refusals_of(entry).keys()
    assert UnsupportedCapability in entry.errors

    entry = exchange(
        Api.RESPONSES,
        "A response that was made before",
        None,
        results("output"),
        methods=("GET",),
        path="/v1/responses/{response_id}",
        name="show_response",
        parameters=(Parameter("response_id", "Its id.", {"type": "string"}, "path", "resp_1"),),
    )
    assert entry.body is None
    assert "413" not in refusals_of(entry)
