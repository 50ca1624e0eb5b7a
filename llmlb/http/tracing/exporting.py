"""Whether there are traces, and how they get to whoever collects them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import trio

from llmlb import __version__
from llmlb.catalog import Catalog
from llmlb.errors import StartupError
from llmlb.http.tracing.trace import UNTRACED, Tracing
from llmlb.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

FLUSH_LIMIT_S = 1.0
"""So long the last spans may take to be sent when the balancer stops."""


COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""The variables that name whoever collects traces; the SDK reads them itself."""


def is_traced(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether *settings* ask for traces, or leave it to *environ* which does."""
    if settings.tracing == "auto":
        disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        return not disabled and any(environ.get(name) for name in COLLECTORS)
    return settings.tracing == "on"


_TELLS_OF_CLIENTS = ("opentelemetry.trace.propagation.tracecontext", "opentelemetry.trace.span")
"""Loggers of the SDK that warn of each `tracestate` that is none: anybody could fill the log so."""


@asynccontextmanager
async def tracing_by(
    settings: Settings, now: Callable[[], datetime], catalog: Callable[[], Catalog]
) -> AsyncIterator[Tracing]:
    """What the exchanges tell of their ways, until the end of the block; then it is sent.

    Nothing of OpenTelemetry is even imported unless *settings* ask for it. Raises StartupError
    if what that takes is not installed, or its SDK refuses a variable of its own.
    """
    if not is_traced(settings):
        yield UNTRACED
        return
    provider = _provider()
    for name in _TELLS_OF_CLIENTS:
        logging.getLogger(name).setLevel(logging.ERROR)
    from llmlb.http.tracing.spans import SpanTracing  # noqa: PLC0415 - half a second, if asked for

    try:
        yield SpanTracing(provider.get_tracer("llmlb", __version__), now, catalog)
    finally:
        # It joins a thread that may be waiting for a collector that is gone.
        with trio.move_on_after(FLUSH_LIMIT_S, shield=True):
            await trio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


def _provider() -> TracerProvider:
    """Sends spans from a thread of its own. Raises StartupError."""
    try:  # an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise StartupError(
            "traces are asked for (LLMLB_TRACING or OTEL_EXPORTER_OTLP_ENDPOINT), and what makes "
            "them is not installed: install llmlb[otel], or set LLMLB_TRACING=off."
        ) from None
    try:
        return provider_with(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise StartupError(
            f"a variable of OpenTelemetry's (OTEL_…) has a value that it refuses ({error}): "
            "correct it, or set LLMLB_TRACING=off."
        ) from None


def provider_with(processor: SpanProcessor) -> TracerProvider:
    """Makes spans for *processor*: as OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so on say."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    ours = Resource.create({"service.name": "llmlb", "service.version": __version__})
    provider = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,  # the house ends it, in bounded time
    )
    provider.add_span_processor(processor)
    return provider
