"""How an endpoint becomes a row and a row an endpoint, even one that was edited by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
from pypika import Table

from llmlb.store.columns import (
    Value,
    apis_of,
    capabilities_json,
    capabilities_of,
    device_json,
    device_of,
    duration_of,
    instant_of,
    instant_text,
    json_of,
    number_of,
    overruled_json,
    overruled_of,
    pairs_of,
    storable,
    whole_of,
)
from llmlb.store.secret_box import SecretBox
from llmlb.types import Endpoint, EndpointId, Engine, Mode, Model, Status

log = structlog.get_logger()

T = TypeVar("T")

ENDPOINTS = Table("endpoints")

_UNKNOWN_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)

CHOSEN: Mapping[str, Callable[[Endpoint], Value]] = {
    "name": lambda e: e.name,
    "base_url": lambda e: e.base_url,
    "mode": lambda e: e.mode.value,
    "api_key": lambda e: e.api_key,
    "extra_headers": lambda e: json.dumps(e.extra_headers),
    "tls_verify": lambda e: int(e.tls_verify),
    "ca_certificate": lambda e: e.ca_certificate,
    "health_check_interval_s": lambda e: e.health_check_interval_s,
    "inference_timeout_s": lambda e: e.inference_timeout_s,
    "max_concurrency": lambda e: e.max_concurrency,
    "model_aliases": lambda e: json.dumps(e.model_aliases),
    "model_capabilities": lambda e: overruled_json(e.model_capabilities),
    "notes": lambda e: e.notes,
    "declared": lambda e: int(e.declared),
}
"""The columns that an operator sets."""

OBSERVED: Mapping[str, Callable[[Endpoint], Value]] = {
    "status": lambda e: e.status.value,
    "engine": lambda e: None if e.engine is None else e.engine.value,
    "engine_concurrency": lambda e: e.engine_concurrency,
    "native_apis": lambda e: json.dumps(sorted(e.native_apis)),
    "device_info": lambda e: device_json(e.device_info),
    "device_note": lambda e: e.device_note,
    "last_seen_at": lambda e: None if e.last_seen_at is None else instant_text(e.last_seen_at),
    "last_error": lambda e: e.last_error,
    "error_count": lambda e: e.error_count,
}
"""The columns that probes set."""

BORN: Mapping[str, Callable[[Endpoint], Value]] = {
    "id": lambda e: e.id,
    "registered_at": lambda e: instant_text(e.registered_at),
    "latency_ms": lambda e: e.latency_ms,
}
"""The columns that are set once, or (latency) are the statistics' to change."""

ALL: Mapping[str, Callable[[Endpoint], Value]] = {**BORN, **CHOSEN, **OBSERVED}

SECRETS: Mapping[str, str] = {"api_key": "API key", "extra_headers": "extra headers"}
"""The columns that are encrypted, and what people call them; no headers are no secret."""

NO_HEADERS = json.dumps(())

MODEL_COLUMNS = ("endpoint_id", "model_id", "position", "capabilities", "max_tokens")


def values(columns: Mapping[str, Callable[[Endpoint], Value]], endpoint: Endpoint) -> list[Value]:
    """What these columns hold of *endpoint*, in their order."""
    return [read(endpoint) for read in columns.values()]


def sealed_values(
    columns: Mapping[str, Callable[[Endpoint], Value]], endpoint: Endpoint, box: SecretBox
) -> list[Value]:
    """The same, with secrets sealed."""
    return [
        box.seal(value)
        if column in SECRETS and isinstance(value, str) and value != NO_HEADERS
        else value
        for column, value in zip(columns, values(columns, endpoint), strict=True)
    ]


def opened(row: Mapping[str, Any], box: SecretBox) -> dict[str, Any]:
    """*row* with its secrets as they were given. Raises WrongKey."""
    return {
        column: box.open(value) if column in SECRETS and isinstance(value, str) else value
        for column, value in row.items()
    }


def model_rows(endpoint: Endpoint) -> Iterable[tuple[Value, ...]]:
    """One row per model; a model that is listed twice counts once."""
    models: dict[Value, Model] = {}
    for model in endpoint.models:
        models.setdefault(storable(model.id), model)
    for position, (model_id, model) in enumerate(models.items()):
        capabilities = capabilities_json(model.capabilities)
        yield endpoint.id, model_id, position, capabilities, model.max_tokens


def model_of(row: Mapping[str, Any]) -> Model:
    """The model of one row."""
    capabilities = capabilities_of(json_of(row["capabilities"]))
    model = Model(str(row["model_id"]), max_tokens=whole_of(row["max_tokens"]))
    return model if capabilities is None else Model(model.id, capabilities, model.max_tokens)


def endpoint_of(row: Mapping[str, Any], models: tuple[Model, ...]) -> Endpoint:
    """The endpoint of one row. What cannot be read is replaced, and said in the log."""
    read = _Reader(row)
    return Endpoint(
        id=EndpointId(str(row["id"])),
        name=read.text("name") or str(row["id"]),
        base_url=read.text("base_url") or "",
        registered_at=read.column("registered_at", instant_of) or _UNKNOWN_INSTANT,
        status=read.column("status", _member(Status)) or Status.PENDING,
        # whoever edited the mode hardly meant "send requests there"
        mode=read.column("mode", _member(Mode)) or Mode.DISABLED,
        latency_ms=read.column("latency_ms", number_of),
        native_apis=read.column("native_apis", lambda text: apis_of(json_of(text))) or frozenset(),
        device_info=read.column("device_info", lambda text: device_of(json_of(text))),
        device_note=read.text("device_note"),
        engine=read.column("engine", _member(Engine)),
        api_key=read.text("api_key"),
        extra_headers=read.column("extra_headers", lambda t: pairs_of(json_of(t))) or (),
        # whoever edited it badly did not mean "believe anybody"
        tls_verify=read.column("tls_verify", whole_of) != 0,
        ca_certificate=read.text("ca_certificate"),
        health_check_interval_s=read.column("health_check_interval_s", duration_of) or 30,
        inference_timeout_s=read.column("inference_timeout_s", duration_of) or 120,
        max_concurrency=read.column("max_concurrency", whole_of) or None,
        engine_concurrency=read.column("engine_concurrency", whole_of) or None,
        model_aliases=read.column("model_aliases", lambda t: pairs_of(json_of(t))) or (),
        model_capabilities=read.column("model_capabilities", lambda t: overruled_of(json_of(t)))
        or (),
        notes=read.text("notes"),
        declared=bool(read.column("declared", whole_of)),
        models=models,
        last_seen_at=read.column("last_seen_at", instant_of),
        last_error=read.text("last_error"),
        error_count=read.column("error_count", whole_of) or 0,
    )


class _Reader:
    """Reads the columns of one row; says in the log which of them it could not read."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row

    def column(self, name: str, read: Callable[[object], T | None]) -> T | None:
        """What *read* makes of the column; None where it is empty or unreadable."""
        stored = self._row[name]
        value = None if stored is None else read(stored)
        if value is None and stored is not None:
            # the value itself is not logged: it may be a secret
            log.warning("unreadable column in the database", endpoint=self._row["id"], column=name)
        return value

    def text(self, name: str) -> str | None:
        return self.column(name, lambda stored: stored if isinstance(stored, str) else None)


def _member(kind: type[T]) -> Callable[[object], T | None]:
    def read(stored: object) -> T | None:
        try:
            return kind(stored)  # type: ignore[call-arg]  # an enum is called with a value
        except ValueError:
            return None

    return read
