"""What llmlb.toml says, or every mistake in it, each in one sentence."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmlb.endpoint_form import EndpointForm, refuse_two_credentials
from llmlb.errors import InvalidRequest, StartupError
from llmlb.forms import problems
from llmlb.settings import Settings

FILE_NAME = "llmlb.toml"
MAX_FILE_BYTES = 1024 * 1024

Table = dict[str, Any]  # TOML's values are of any kind until the form has judged them


def read_declared(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> list[EndpointForm]:
    """The endpoints that the file declares, in its order; none if there is no file.

    Raises StartupError: one line per mistake, naming file, entry and field.
    """
    path = settings.config_file
    named = path is not None
    path = (path or settings.data_path / FILE_NAME).expanduser()
    raw = _read(path, named=named)
    return [] if raw is None else parse_declared(raw, str(path), environment)


def parse_declared(raw: bytes, file: str, environment: Mapping[str, str]) -> list[EndpointForm]:
    """The endpoints that *raw* declares; *file* is its name in messages. Raises StartupError."""
    try:
        document = tomllib.loads(raw.decode())
    except UnicodeDecodeError:
        raise StartupError(f"{file} is not UTF-8 text.") from None
    except (ValueError, RecursionError) as error:  # also for numbers of thousands of digits
        raise StartupError(f"{file} is not TOML: {str(error).rstrip('.')}.") from None
    mistakes = [
        f"{file}: '{key}' is not known there: endpoints are declared as [[endpoints]]."
        for key in document
        if key != "endpoints"
    ]
    entries = document.get("endpoints", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        mistakes.append(
            f"{file}: 'endpoints' must be a list of tables, each begun by [[endpoints]]."
        )
        entries = []
    forms: dict[str, EndpointForm] = {}
    for number, entry in enumerate(entries, start=1):
        label = _label(number, entry)
        form, found = _entry(entry, environment)
        if form is not None:
            found = _repetitions(form, forms)
            forms[label] = form
        mistakes.extend(_sentence(f"{file}, {label}, {mistake}") for mistake in found)
    if mistakes:
        raise StartupError("\n".join(mistakes))
    return list(forms.values())


def _read(path: Path, *, named: bool) -> bytes | None:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if not named:
            return None
        raise StartupError(
            f"LLMLB_CONFIG names {path}, which does not exist: create it, or unset LLMLB_CONFIG."
        ) from None
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(raw) > MAX_FILE_BYTES:
        raise StartupError(f"{path} is larger than {MAX_FILE_BYTES // 1024} KiB.")
    return raw


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _label(number: int, entry: Table) -> str:
    name = entry.get("name")
    known = f" ('{name[:100]}')" if isinstance(name, str) and name.isprintable() else ""
    return f"endpoint {number}{known}"


def _entry(entry: Table, environment: Mapping[str, str]) -> tuple[EndpointForm | None, list[str]]:
    """The form that *entry* fills in, or what is wrong with it, each as "field: reason"."""
    given, found = _with_key(entry, environment)
    form = None
    try:
        form = EndpointForm.model_validate(given)
        refuse_two_credentials(form.api_key, form.extra_headers or ())
    except ValidationError as error:
        found += [f"{p.field}: {p.reason}" for p in problems(error)]
    except InvalidRequest as error:
        found.append(f"{error.param}: {error.message}")
    return (None if found else form), found


def _with_key(entry: Table, environment: Mapping[str, str]) -> tuple[Table, list[str]]:
    """*entry* with the key that `api_key_env` names in its place, or what is wrong with that."""
    given = dict(entry)
    variable = given.pop("api_key_env", None)
    if variable is None:
        return given, []
    if not isinstance(variable, str):
        return given, ["api_key_env: must be a text, the name of an environment variable"]
    if "api_key" in given:
        return given, ["api_key_env: is one way to give the key, and 'api_key' is another"]
    key = environment.get(variable, "").strip()
    if not key:
        return given, [f"api_key_env: the environment variable {variable} is not set"]
    return {**given, "api_key": key}, []


def _repetitions(form: EndpointForm, earlier: Mapping[str, EndpointForm]) -> list[str]:
    found = []
    for label, other in earlier.items():
        if other.name == form.name:
            found.append(f"name: is also that of {label}")
        if other.base_url == form.base_url:
            found.append(f"base_url: is also that of {label}")
    return found
