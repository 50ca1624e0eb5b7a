"""What is said of the models on endpoints and of benchmarks: the routes, and their answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from llmlb.errors import (
    Conflict,
    InvalidJson,
    MissingField,
    ModelNotFound,
    NoCapableEndpoints,
    NotFound,
    NotImplementedYet,
    Overloaded,
    UnsupportedCapability,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.http.manage.job_form import BenchmarkForm, DeletionForm, DownloadForm
from llmlb.http.openapi.management import PAGED, operator
from llmlb.http.openapi.route import Answer, Parameter, Route, json_content
from llmlb.http.openapi.shown import ListedModelShown, Shown

DownloadStatus = Literal["pending", "downloading", "completed", "failed", "cancelled"]
RunStatus = Literal["running", "completed", "failed", "cancelled"]
ApiKind = Literal["chat_completions", "completions", "responses"]


class ModelInfoShown(ListedModelShown):
    """One model of one endpoint; null is what the engine does not tell."""

    endpoint_id: str
    loaded: bool | None
    """Whether it is in memory."""
    last_checked: datetime | None
    """When the endpoint last answered a probe."""
    size_bytes: int | None
    parameters: str | None
    quantization: str | None
    family: str | None
    format: str | None


class DownloadShown(Shown):
    """A model on its way to an endpoint."""

    task_id: str
    endpoint_id: str
    model: str
    """As the endpoint was asked for it."""
    status: DownloadStatus
    progress: float
    """From 0 to 1, by the bytes that the endpoint has told of so far."""
    speed_mbps: float | None
    """Megabits per second, of the last ten seconds; null: not known yet, or over."""
    eta_seconds: int | None
    error_message: str | None
    """Why it failed, or what cancelling it could not stop; for people."""
    stage: str | None
    """What the endpoint says that it is doing."""
    downloaded_bytes: int
    total_bytes: int
    """0: the endpoint has not said yet."""
    started_at: datetime
    finished_at: datetime | None


class DownloadListShown(Shown):
    """The downloads of one endpoint since the start, the newest first."""

    endpoint_id: str
    tasks: list[DownloadShown]


class BenchmarkBegunShown(Shown):
    """It runs from now on."""

    run_id: str
    status: RunStatus


class BenchmarkPlanShown(Shown):
    """What was asked for."""

    model: str
    api_kind: ApiKind
    total_requests: int
    concurrency: int
    max_tokens: int
    temperature: float


class FiguresShown(Shown):
    """Tokens per second are null where none could be measured."""

    successful_requests: int
    measured_requests: int
    """Those whose endpoint has told how many tokens it made."""
    success_rate: float
    mean_tps: float | None
    p50_tps: float | None
    p95_tps: float | None


class EndpointFiguresShown(FiguresShown):
    """What one endpoint did."""

    endpoint_id: str
    endpoint_name: str
    requests: int


class BenchmarkResultShown(FiguresShown):
    """What was found so far."""

    api_kind: ApiKind
    source: Literal["benchmark"]
    total_requests: int
    """That are over."""
    per_endpoint: list[EndpointFiguresShown]


class BenchmarkShown(Shown):
    """One run."""

    run_id: str
    status: RunStatus
    progress: float
    """From 0 to 1."""
    requested_at: datetime
    completed_at: datetime | None
    request: BenchmarkPlanShown
    result: BenchmarkResultShown
    error: str | None


class BenchmarkListShown(Shown):
    """One page of the runs since the start, the newest first."""

    runs: list[BenchmarkShown]
    total: int
    page: int
    per_page: int


_MODEL = Parameter(
    "model", "As the endpoint lists it.", {"type": "string", "minLength": 1}, "path", "llama3.2:3b"
)
_TASK_ID = Parameter(
    "task_id", "The download's `task_id`.", {"type": "string", "format": "uuid"}, "path"
)
_RUN_ID = Parameter("run_id", "The run's `run_id`.", {"type": "string", "minLength": 1}, "path")

_OF_ENGINES = (Conflict, UnsupportedCapability, NotImplementedYet)
"""What is said where the engine of an endpoint cannot do it."""

JOBS: tuple[Route, ...] = (
    operator(
        "GET",
        "/endpoints/{endpoint_id}/models/{model}/info",
        "show_model_of_endpoint",
        "What is known of one model of an endpoint",
        Answer(200, "The endpoint is asked, too.", (json_content(ModelInfoShown),)),
        parameters=(_MODEL,),
    ),
    operator(
        "POST",
        "/endpoints/{endpoint_id}/download",
        "download_model",
        "Have an endpoint fetch a model",
        Answer(202, "It has begun, or had before.", (json_content(DownloadShown),)),
        says="On Ollama, and on LM Studio from version 0.4 on. It goes on by itself; the model is "
        "served as soon as it is there. One of a kind at a time: asked again, the same task "
        "answers.",
        body=json_content(DownloadForm, {"model": "llama3.2:3b"}),
        errors=(
            InvalidJson,
            MissingField,
            *_OF_ENGINES,
            Overloaded,
            UpstreamError,
            UpstreamUnreachable,
        ),
    ),
    operator(
        "GET",
        "/endpoints/{endpoint_id}/download/progress",
        "list_downloads",
        "The downloads of an endpoint",
        Answer(200, "Since the start, the newest first.", (json_content(DownloadListShown),)),
    ),
    operator(
        "DELETE",
        "/endpoints/{endpoint_id}/download/{task_id}",
        "cancel_download",
        "Stop a download",
        Answer(200, "As it is now; over is over.", (json_content(DownloadShown),)),
        says="Ollama stops, and keeps what it has for the next time. LM Studio cannot be stopped: "
        "the balancer only looks away.",
        parameters=(_TASK_ID,),
    ),
    operator(
        "POST",
        "/endpoints/{endpoint_id}/models/delete",
        "delete_model_of_endpoint",
        "Have an endpoint delete a model",
        Answer(204, "It is deleted."),
        says="On Ollama.",
        body=json_content(DeletionForm, {"model": "llama3.2:3b"}),
        errors=(
            InvalidJson,
            MissingField,
            *_OF_ENGINES,
            UpstreamError,
            UpstreamTimeout,
            UpstreamUnreachable,
        ),
    ),
    operator(
        "POST",
        "/benchmarks/tps",
        "begin_benchmark",
        "Measure how many tokens per second a model makes",
        Answer(202, "It runs.", (json_content(BenchmarkBegunShown),)),
        says="On each endpoint that serves it now. Its requests wait in line like those of "
        "clients, and are not counted among them.",
        body=json_content(BenchmarkForm, {"model": "llama3.2:3b"}),
        errors=(InvalidJson, MissingField, ModelNotFound, NoCapableEndpoints, Overloaded),
    ),
    operator(
        "GET",
        "/benchmarks/tps",
        "list_benchmarks",
        "The runs since the start",
        Answer(200, "One page, the newest first.", (json_content(BenchmarkListShown),)),
        parameters=PAGED,
    ),
    operator(
        "GET",
        "/benchmarks/tps/{run_id}",
        "show_benchmark",
        "One run, and what it has found so far",
        Answer(200, "The run.", (json_content(BenchmarkShown),)),
        parameters=(_RUN_ID,),
        errors=(NotFound,),
    ),
    operator(
        "DELETE",
        "/benchmarks/tps/{run_id}",
        "cancel_benchmark",
        "Stop a run",
        Answer(200, "As it is now, with what was measured.", (json_content(BenchmarkShown),)),
        parameters=(_RUN_ID,),
        errors=(NotFound,),
    ),
)
