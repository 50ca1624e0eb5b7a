"""What may be said of an endpoint, over HTTP and in llmlb.toml alike, and what it changes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sized
from dataclasses import replace
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field

from llmlb.addresses import refuse_no_endpoint
from llmlb.certificates import PEM_BYTES, certificates_in
from llmlb.errors import InvalidRequest
from llmlb.forms import Checked, Form
from llmlb.headers import CONNECTION_HEADERS
from llmlb.name_tables import NAME_CHARS as MODEL_NAME_CHARS
from llmlb.name_tables import checked_name
from llmlb.types import Capability, Endpoint
from llmlb.urls import LONGEST_URL_CHARS, normalise_base_url

T = TypeVar("T")

DEFAULT_INFERENCE_TIMEOUT_S = 120

NAME_CHARS = 200
NOTES_CHARS = 10_000
KEY_CHARS = 4096
HEADERS = 32
HEADER_CHARS = 4096
MODEL_NAMES = 256
"""Aliases, or overruled models, of one endpoint."""

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
    if len(text) > NAME_CHARS:
        raise ValueError(f"may not be longer than {NAME_CHARS} characters")
    if any(unicodedata.category(c) in _CONTROLS for c in name):
        raise ValueError("may not hold control characters or line breaks")
    return name


def _key(text: str) -> str | None:
    key = text.strip()
    if not key:
        return None
    if len(text) > KEY_CHARS:
        raise ValueError(f"may not be longer than {KEY_CHARS} characters")
    if not _KEY.fullmatch(key):
        raise ValueError("may hold only visible ASCII characters")
    return key


def _base_url(text: str) -> str:
    return refuse_no_endpoint(normalise_base_url(text))


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
    if len(text) > HEADER_CHARS:
        raise ValueError(f"'{name}' may not be longer than {HEADER_CHARS} characters")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"may hold only printable Latin-1 characters in '{name}'")
    return value


def _model_aliases(given: dict[str, str]) -> dict[str, str]:
    aliases = {checked_name(alias): checked_name(model) for alias, model in given.items()}
    _refuse_too_many(given, aliases)
    return aliases


def _model_capabilities(given: dict[str, list[str]]) -> dict[str, list[str]]:
    overruled = {checked_name(model): _capabilities(names) for model, names in given.items()}
    _refuse_too_many(given, overruled)
    return overruled


def _capabilities(names: list[str]) -> list[str]:
    known = [capability.value for capability in Capability]
    if not names or not set(names) <= set(known):
        raise ValueError(f"must give each model one or more of {', '.join(known)}")
    return names


def _refuse_too_many(given: Sized, read: Sized) -> None:
    if len(given) > MODEL_NAMES:
        raise ValueError(f"may not hold more than {MODEL_NAMES} names")
    if len(read) < len(given):
        raise ValueError("may not hold a name twice")


def _whole(low: int, high: int) -> Checked:
    def check(number: int) -> int:
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return Checked(check, minimum=low, maximum=high)


_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_NO_URL = r"""\s\x00-\x1f\x7f?#\\<>"^`{|}"""

_MODEL_NAME = {"maxLength": MODEL_NAME_CHARS, "pattern": r"^[ -~]*[!-~][ -~]*$"}
"""Others are understood, too: any printable text is."""

Name = Annotated[
    str,
    Checked(
        _name,
        minLength=1,
        maxLength=NAME_CHARS,
        pattern=rf"^\s*[^\s{_CONTROL}]([^{_CONTROL}]*[^\s{_CONTROL}])?\s*$",
    ),
]
BaseUrl = Annotated[
    str,
    Checked(
        _base_url,
        maxLength=LONGEST_URL_CHARS,
        examples=["http://127.0.0.1:11434"],
        pattern=rf"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^{_NO_URL}/@]+(/[^{_NO_URL}]*)?\s*$",
    ),
]
Key = Annotated[str, Checked(_key, maxLength=KEY_CHARS, pattern=r"^\s*[!-~]*\s*$")]
Certificates = Annotated[str, Checked(certificates_in, maxLength=PEM_BYTES)]
Notes = Annotated[str, Checked(_notes, maxLength=NOTES_CHARS)]
Headers = Annotated[
    dict[str, str],
    Checked(
        _headers,
        maxProperties=HEADERS,
        propertyNames={"pattern": f"^{_HEADER_NAME.pattern}$"},
        additionalProperties={
            "type": "string",
            "maxLength": HEADER_CHARS,
            "pattern": rf"^[\t ]*{_HEADER_VALUE.pattern}[\t ]*$",
        },
    ),
]
ModelAliases = Annotated[
    dict[str, str],
    Checked(
        _model_aliases,
        maxProperties=MODEL_NAMES,
        propertyNames=_MODEL_NAME,
        additionalProperties={"type": "string", **_MODEL_NAME},
    ),
]
ModelCapabilities = Annotated[
    dict[str, list[str]],
    Checked(
        _model_capabilities,
        maxProperties=MODEL_NAMES,
        additionalProperties={
            "type": "array",
            "minItems": 1,
            "items": {"enum": [capability.value for capability in Capability]},
        },
        propertyNames=_MODEL_NAME,
    ),
]


class EndpointEdit(Form):
    """Any subset of what may be said; null brings back the default.

    The defaults here only stand for "not said": see `model_fields_set`.
    """

    leftovers: ClassVar = frozenset({"endpoint_type", "device_type", "type", "capabilities"})

    name: Name = ""
    """What people call it; no other endpoint has the same name."""
    base_url: BaseUrl = ""
    """Where it is, with http or https; a trailing `/v1` is understood."""
    api_key: Key | None = Field(None, repr=False)
    """Sent to it as a bearer token, and never shown."""
    health_check_interval_secs: Annotated[int, _whole(10, 300)] | None = None
    """Between two probes; `LLMLB_HEALTH_CHECK_INTERVAL` if not said."""
    inference_timeout_secs: Annotated[int, _whole(1, 86_400)] | None = None
    """For a whole plain answer; 120 if not said."""
    notes: Notes | None = None
    """For people."""
    max_concurrency: Annotated[int, _whole(1, 10_000)] | None = None
    """Requests at once; what the engine says, or is assumed to take, if not said."""
    extra_headers: Headers | None = Field(None, repr=False)
    """Sent with each request to it, and never shown; none that llmlb sets itself."""
    tls_verify: bool | None = None
    """Whether its certificate must be good, for https; true if not said."""
    ca_certificate: Certificates | None = None
    """Of those who alone may have signed its own, in PEM; the well-known ones if not said."""
    model_aliases: ModelAliases | None = None
    """Names that clients may use for its models, each with the model's own id."""
    model_capabilities: ModelCapabilities | None = None
    """What its models can do, by id, in place of what was found out."""

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
            tls_verify=said("tls_verify", self.tls_verify is not False, endpoint.tls_verify),
            ca_certificate=said("ca_certificate", self.ca_certificate, endpoint.ca_certificate),
            model_aliases=said(
                "model_aliases", tuple((self.model_aliases or {}).items()), endpoint.model_aliases
            ),
            model_capabilities=said(
                "model_capabilities",
                tuple(
                    (model, frozenset(map(Capability, names)))
                    for model, names in (self.model_capabilities or {}).items()
                ),
                endpoint.model_capabilities,
            ),
        )
        refuse_two_credentials(edited.api_key, [name for name, _ in edited.extra_headers])
        return edited


class EndpointForm(EndpointEdit):
    """All of a new endpoint: what is not said takes its default."""

    name: Name
    """What people call it; no other endpoint has the same name."""
    base_url: BaseUrl
    """Where it is, with http or https; a trailing `/v1` is understood."""


def refuse_two_credentials(api_key: str | None, header_names: Iterable[str]) -> None:
    """Raise InvalidRequest if a header says what the key says already."""
    if api_key is not None and "authorization" in {name.lower() for name in header_names}:
        raise InvalidRequest(
            "'Authorization' cannot be an extra header while there is an 'api_key', "
            "which is sent in it.",
            param="extra_headers",
        )
