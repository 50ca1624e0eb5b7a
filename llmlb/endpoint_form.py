"""What may be said of an endpoint, over HTTP and in llmlb.toml alike, and what it changes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator

from llmlb.errors import InvalidRequest
from llmlb.forms import Form
from llmlb.headers import CONNECTION_HEADERS
from llmlb.types import Endpoint
from llmlb.urls import normalise_base_url

T = TypeVar("T")

DEFAULT_INFERENCE_TIMEOUT_S = 120

NAME_CHARS = 200
NOTES_CHARS = 10_000
KEY_CHARS = 4096
HEADERS = 32
HEADER_CHARS = 4096

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_KEY = re.compile(r"[\x21-\x7e]+")

_NOT_THE_OPERATORS = CONNECTION_HEADERS | {"accept-encoding", "content-type"}
"""They frame each message, so they are computed for each; `x-llmlb-*` is ours as well."""


def _name(text: str) -> str:
    name = text.strip()
    if not name:
        raise ValueError("may not be blank")
    if len(name) > NAME_CHARS:
        raise ValueError(f"may not be longer than {NAME_CHARS} characters")
    if any(unicodedata.category(c) in _CONTROLS for c in name):
        raise ValueError("may not hold control characters or line breaks")
    return name


def _key(text: str) -> str | None:
    key = text.strip()
    if not key:
        return None
    if len(key) > KEY_CHARS:
        raise ValueError(f"may not be longer than {KEY_CHARS} characters")
    if not _KEY.fullmatch(key):
        raise ValueError("may hold only visible ASCII characters")
    return key


def _notes(text: str) -> str:
    if len(text) > NOTES_CHARS:
        raise ValueError(f"may not be longer than {NOTES_CHARS} characters")
    return text


def _headers(given: dict[str, str]) -> dict[str, str]:
    if len(given) > HEADERS:
        raise ValueError(f"may not hold more than {HEADERS} headers")
    if len({name.lower() for name in given}) < len(given):
        raise ValueError("may not name a header twice")
    return {_header_name(name): _header_value(name, value) for name, value in given.items()}


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("must have names that HTTP allows: letters, digits and hyphens")
    if name.lower() in _NOT_THE_OPERATORS or name.lower().startswith("x-llmlb-"):
        raise ValueError(f"may not hold '{name}': llmlb sets that header itself")
    return name


def _header_value(name: str, text: str) -> str:
    value = text.strip(" \t")
    if len(value) > HEADER_CHARS:
        raise ValueError(f"'{name}' may not be longer than {HEADER_CHARS} characters")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"may hold only printable Latin-1 characters in '{name}'")
    return value


def _whole(low: int, high: int) -> AfterValidator:
    def check(number: int) -> int:
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return AfterValidator(check)


class EndpointEdit(Form):
    """Any subset of what may be said; null brings back the default.

    The defaults here only stand for "not said": see `model_fields_set`.
    """

    leftovers: ClassVar = frozenset({"endpoint_type", "device_type", "type", "capabilities"})

    name: Annotated[str, AfterValidator(_name)] = ""
    base_url: Annotated[str, AfterValidator(normalise_base_url)] = ""
    api_key: Annotated[str, AfterValidator(_key)] | None = None
    health_check_interval_secs: Annotated[int, _whole(10, 300)] | None = None
    inference_timeout_secs: Annotated[int, _whole(1, 86_400)] | None = None
    notes: Annotated[str, AfterValidator(_notes)] | None = None
    max_concurrency: Annotated[int, _whole(1, 10_000)] | None = None
    extra_headers: Annotated[dict[str, str], AfterValidator(_headers)] | None = None

    def applied_to(self, endpoint: Endpoint, *, default_interval_s: float) -> Endpoint:
        """*endpoint* with all that is said here.

        Raises InvalidRequest where that contradicts what was said before.
        """

        def said(field: str, new: T, before: T) -> T:
            return new if field in self.model_fields_set else before

        edited = replace(
            endpoint,
            name=said("name", self.name, endpoint.name),
            base_url=said("base_url", self.base_url, endpoint.base_url),
            api_key=said("api_key", self.api_key, endpoint.api_key),
            health_check_interval_s=said(
                "health_check_interval_secs",
                self.health_check_interval_secs or default_interval_s,
                endpoint.health_check_interval_s,
            ),
            inference_timeout_s=said(
                "inference_timeout_secs",
                self.inference_timeout_secs or DEFAULT_INFERENCE_TIMEOUT_S,
                endpoint.inference_timeout_s,
            ),
            notes=said("notes", self.notes, endpoint.notes),
            max_concurrency=said("max_concurrency", self.max_concurrency, endpoint.max_concurrency),
            extra_headers=said(
                "extra_headers", tuple((self.extra_headers or {}).items()), endpoint.extra_headers
            ),
        )
        refuse_two_credentials(edited.api_key, [name for name, _ in edited.extra_headers])
        return edited


class EndpointForm(EndpointEdit):
    """All of a new endpoint: what is not said takes its default."""

    name: Annotated[str, AfterValidator(_name)]
    base_url: Annotated[str, AfterValidator(normalise_base_url)]


def refuse_two_credentials(api_key: str | None, header_names: Iterable[str]) -> None:
    """Raise InvalidRequest if a header says what the key says already."""
    if api_key is not None and "authorization" in {name.lower() for name in header_names}:
        raise InvalidRequest(
            "'Authorization' cannot be an extra header while there is an 'api_key', "
            "which is sent in it.",
            param="extra_headers",
        )
