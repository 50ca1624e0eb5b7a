"""Which engine can be asked for what."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from llmlb.errors import (
    Conflict,
    InvalidRequest,
    LbError,
    NotFound,
    NotImplementedYet,
    UnsupportedCapability,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.http.engines.weights import Weights, weights_of
from llmlb.http.jobs.lmstudio import LIST
from llmlb.http.jobs.models import DELETE_PATH, Wanted, delete, wanted
from llmlb.types import Engine, Mode
from tests.fakes.upstream import (
    Answer,
    FakeUpstream,
    Handler,
    disconnected,
    hangs,
    json_answer,
    make_endpoint,
    refused,
    replies,
)

URL = "http://a:1"
SECRET = "sk-of-the-endpoint"  # pragma: allowlist secret


async def asked(engine: Engine | None, *, mode: Mode = Mode.ENABLED, **more: str | None) -> Wanted:
    upstream = FakeUpstream()
    upstream.get(URL, LIST, {"models": []})
    fields: dict[str, Any] = {"hf_repo": None, "quantization": None, **more}
    endpoint = make_endpoint(engine=engine, mode=mode)
    return await wanted(upstream, endpoint, "m", stall_s=60, **fields)


@pytest.mark.parametrize(
    ("engine", "more", "name"),
    [
        (Engine.OLLAMA, {}, "m"),
        (Engine.OLLAMA, {"hf_repo": "o/r"}, "hf.co/o/r"),
        (Engine.OLLAMA, {"hf_repo": "o/r", "quantization": "Q8_0"}, "hf.co/o/r:Q8_0"),
        (Engine.LM_STUDIO, {}, "m"),
        (Engine.LM_STUDIO, {"hf_repo": "o/r"}, "https://huggingface.co/o/r"),
        (Engine.LM_STUDIO, {"quantization": "Q8_0"}, "m@Q8_0"),
    ],
)
async def test_a_model_is_asked_for_by_the_name_that_the_engine_understands(
    engine: Engine, more: dict[str, Any], name: str
) -> None:
    assert (await asked(engine, **more)).name == name


@pytest.mark.parametrize(
    ("engine", "error"),
    [
        (Engine.LLAMACPP, UnsupportedCapability),
        (Engine.VLLM, UnsupportedCapability),
        (Engine.OPENAI, UnsupportedCapability),
        (Engine.XLLM, NotImplementedYet),
        (None, Conflict),
    ],
)
async def test_other_engines_are_refused_with_the_names_of_those_that_can(
    engine: Engine | None, error: type[LbError]
) -> None:
    with pytest.raises(error, match="Ollama, and LM Studio from version"):
        await asked(engine)
    with pytest.raises(error, match="Ollama can delete models"):
        await delete(FakeUpstream(), make_endpoint(engine=engine), "m")


async def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await asked(Engine.OLLAMA, quantization="Q8_0")
    assert caught.value.param == "quantization"
    with pytest.raises(Conflict, match="enable it first"):
        await asked(Engine.OLLAMA, mode=Mode.DISABLED)
    with pytest.raises(NotImplementedYet, match="no API for that"):
        await delete(FakeUpstream(), make_endpoint(engine=Engine.LM_STUDIO), "m")


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (Answer(200), None),
        (json_answer({"error": "model 'm' not found"}, 404), NotFound),
        (json_answer({"error": f"{SECRET}?"}, 500), UpstreamError),
        (replies(refused()), UpstreamUnreachable),
        (replies(disconnected()), UpstreamError),
        (hangs, UpstreamTimeout),
    ],
)
async def test_ollama_deletes_a_model_or_why_not_is_told(
    handler: Answer | Handler, error: type[LbError] | None
) -> None:
    upstream = FakeUpstream()
    upstream.on(URL, "DELETE", DELETE_PATH, handler)
    endpoint = make_endpoint(engine=Engine.OLLAMA, api_key=SECRET)
    if error is None:
        await delete(upstream, endpoint, "m")
    else:
        with pytest.raises(error) as caught:
            await delete(upstream, endpoint, "m")
        assert SECRET not in str(caught.value)
    assert [call.json for call in upstream.calls] == [{"model": "m"}]
    assert not upstream.open_calls
    assert trio.current_time() <= 30


OLLAMA_ENTRY = {
    "name": "m",
    "size": 4_000,
    "details": {
        "format": "gguf",
        "family": "llama",
        "parameter_size": "8.0B",
        "quantization_level": "Q4_0",
    },
}
STUDIO_ENTRY = {
    "key": "m",
    "architecture": "llama",
    "publisher": "p",
    "quantization": {"name": "Q4_0", "bits_per_weight": 4},
    "size_bytes": 4_000,
    "params_string": "8.0B",
    "format": "gguf",
}
TOLD = Weights(4_000, "8.0B", "Q4_0", "llama", "gguf")


@pytest.mark.parametrize(
    ("engine", "path", "listed", "found"),
    [
        (Engine.OLLAMA, "/api/tags", {"models": [{"name": "n"}, OLLAMA_ENTRY]}, TOLD),
        (Engine.OLLAMA, "/api/tags", {"models": [{"name": "m", "size": -1}]}, Weights()),
        (Engine.OLLAMA, "/api/tags", {"models": "none"}, Weights()),
        (Engine.LM_STUDIO, "/api/v1/models", {"models": [STUDIO_ENTRY]}, TOLD),
        (
            Engine.LM_STUDIO,
            "/api/v0/models",
            {"data": [{"id": "m", "arch": "llama", "state": "loaded", "quantization": "Q4_0"}]},
            Weights(quantization="Q4_0", family="llama"),
        ),
        (Engine.VLLM, "/api/tags", {"models": [OLLAMA_ENTRY]}, Weights()),
        (Engine.OLLAMA, "/elsewhere", {}, Weights()),
    ],
)
async def test_what_an_engine_tells_of_the_files_of_a_model(
    engine: Engine, path: str, listed: object, found: Weights
) -> None:
    upstream = FakeUpstream()
    upstream.get(URL, path, listed)
    assert await weights_of(upstream, make_endpoint(engine=engine), "m") == found
