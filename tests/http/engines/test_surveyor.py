"""HttpSurveyor against each engine's recorded or documented answers, and against silence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from llmlb.errors import ProbeFailed
from llmlb.http.engines.capabilities import plain_model
from llmlb.http.engines.surveyor import HttpSurveyor
from llmlb.types import Capability, DeviceType, Endpoint, Engine, GpuDevice, Model, Survey
from tests.fakes.upstream import (
    Answer,
    FakeUpstream,
    SeenCall,
    hangs,
    json_answer,
    make_endpoint,
    refused,
    replies,
)

ASKED = ("/v1/messages", "/v1/messages/count_tokens")
"""Of every endpoint, with nothing in the question."""

URL = "http://a:1"
A = make_endpoint(URL)
CHAT = frozenset({Capability.CHAT_COMPLETION})
VISION = frozenset({Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING})
EMBEDDINGS = frozenset({Capability.EMBEDDINGS})
UNTOLD = frozenset(Capability) - CHAT
LLAMACPP = {"server": "llama.cpp"}


def recorded(name: str) -> Any:
    return json.loads((Path(__file__).parent / "fixtures" / f"{name}.json").read_text())


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
def surveyor(upstream: FakeUpstream) -> HttpSurveyor:
    return HttpSurveyor(upstream)


def serve_llamacpp(upstream: FakeUpstream, models: str = "llamacpp_models") -> None:
    upstream.get(URL, "/v1/models", recorded(models), **LLAMACPP)
    upstream.get(URL, "/props", recorded("llamacpp_props"), **LLAMACPP)


def serve_ollama(upstream: FakeUpstream) -> None:
    upstream.get(URL, "/v1/models", recorded("ollama_models"))
    upstream.get(URL, "/api/tags", recorded("ollama_tags"))
    shown = recorded("ollama_show")

    async def show(call: SeenCall) -> Answer:
        await trio.sleep(0.1)
        return json_answer(shown[call.json["model"]])

    upstream.on(URL, "POST", "/api/show", show)


def serve_lmstudio(upstream: FakeUpstream, version: int) -> None:
    upstream.get(URL, "/v1/models", recorded("lmstudio_models"))
    wrong_route = {"error": "Unexpected endpoint or method. (GET /api/system)"}
    for path in ("/api/system", "/v0/system", "/api/tags", "/api/v1/models"):
        upstream.get(URL, path, wrong_route)
    upstream.get(URL, f"/api/v{version}/models", recorded(f"lmstudio_v{version}_models"))


def paths(upstream: FakeUpstream) -> list[str]:
    """What was asked, but for the routes that every endpoint is asked about."""
    return [call.path for call in upstream.calls if call.path not in ASKED]


# --- check ----------------------------------------------------------------------------------


async def test_a_check_asks_for_the_models_once_and_keeps_their_order(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.get(URL, "/v1/models", {"data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]})
    assert await surveyor.check(A) == ("b", "a")
    assert paths(upstream) == ["/v1/models"]
    assert upstream.open_calls == []


async def test_a_check_fails_with_the_reason(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.on(URL, "GET", "/v1/models", replies(refused()))
    with pytest.raises(ProbeFailed, match=r"Connection refused\."):
        await surveyor.check(A)


async def test_a_check_is_over_after_five_seconds(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    upstream.on(URL, "GET", "/v1/models", hangs)
    started = trio.current_time()
    with pytest.raises(ProbeFailed, match=r"No answer within 5 s\."):
        await surveyor.check(A)
    assert trio.current_time() - started == 5


# --- what is in memory ----------------------------------------------------------------------


OLLAMA, LM_STUDIO = (replace(A, engine=e) for e in (Engine.OLLAMA, Engine.LM_STUDIO))


@pytest.mark.parametrize(
    ("endpoint", "path", "said", "found"),
    [
        (OLLAMA, "/api/ps", {"models": [{"name": "a:1b", "model": "a:1b"}]}, {"a:1b"}),
        (OLLAMA, "/api/ps", {"models": []}, set()),
        (OLLAMA, "/api/ps", {"models": [7, {}, {"name": None}, {"model": "b"}]}, {"b"}),
        (OLLAMA, "/api/ps", {"models": None}, None),
        (OLLAMA, "/api/ps", {"error": "no"}, None),
        (OLLAMA, "/api/tags", {"models": []}, None),
        (
            LM_STUDIO,
            "/api/v0/models",
            {
                "data": [
                    {"id": "a", "state": "loaded", "arch": "x"},
                    {"id": "b", "state": "not-loaded", "arch": "x"},
                ]
            },
            {"a"},
        ),
        (
            LM_STUDIO,
            "/api/v1/models",
            {
                "models": [
                    {"key": "a", "publisher": "x", "loaded_instances": [{"id": "a:2"}]},
                    {"key": "b", "publisher": "x", "loaded_instances": []},
                ]
            },
            {"a", "a:2"},
        ),
        (LM_STUDIO, "/api/v1/models", {"models": [{"key": "a", "publisher": "x"}]}, None),
        (LM_STUDIO, "/api/v1/models", [], None),
        (A, "/api/ps", {"models": []}, None),
    ],
)
async def test_those_that_load_on_demand_tell_what_is_in_memory(
    upstream: FakeUpstream, endpoint: Endpoint, path: str, said: object, found: set[str] | None
) -> None:
    upstream.get(URL, path, said)
    assert await HttpSurveyor(upstream).in_memory(endpoint) == found
    assert upstream.open_calls == []


# --- each engine ----------------------------------------------------------------------------


async def test_llamacpp_tells_its_slots_and_the_context_of_one(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    serve_llamacpp(upstream)
    assert await surveyor.survey(A) == Survey(
        Engine.LLAMACPP, (Model("tiny.gguf", CHAT, 512),), engine_concurrency=4
    )
    assert paths(upstream) == ["/v1/models", "/props"]


async def test_llamacpp_with_a_projector_sees_images(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    serve_llamacpp(upstream, "llamacpp_vision_models")
    (model,) = (await surveyor.survey(A)).models
    assert model.capabilities == VISION


async def test_llamacpp_behind_a_proxy_is_known_by_its_owner_and_may_hide_its_props(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.get(URL, "/v1/models", recorded("llamacpp_models"), server="nginx")
    found = await surveyor.survey(A)
    assert (found.engine, found.engine_concurrency) == (Engine.LLAMACPP, None)


async def test_ollama_tells_of_each_model_in_show(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    serve_ollama(upstream)
    assert await surveyor.survey(A) == Survey(
        Engine.OLLAMA,
        (
            Model("llama3.2:latest", CHAT, 131072),
            Model("gemma3:4b", VISION, 131072),
            Model("nomic-embed-text:latest", EMBEDDINGS, 2048),
        ),
    )


async def test_ollama_without_any_model_is_still_ollama(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.get(URL, "/v1/models", {"object": "list", "data": None})
    upstream.get(URL, "/api/tags", {"models": []})
    assert await surveyor.survey(A) == Survey(Engine.OLLAMA, ())


async def test_of_many_models_64_are_asked_about_4_at_a_time(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    upstream.get(URL, "/v1/models", {"data": [{"id": f"m{i}"} for i in range(100)]})
    upstream.get(URL, "/api/tags", {"models": []})
    most = 0

    async def show(call: SeenCall) -> Answer:
        nonlocal most
        most = max(most, len(upstream.open_calls))
        await trio.sleep(0.1)
        return json_answer({"model_info": {"x.context_length": 9}})

    upstream.on(URL, "POST", "/api/show", show)
    found = await surveyor.survey(A)
    assert len(upstream.seen("/api/show")) == 64
    assert most == 4
    assert [m.max_tokens for m in found.models] == [9] * 64 + [None] * 36


async def test_slow_details_are_left_out_rather_than_waited_for(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    serve_ollama(upstream)
    upstream.on(URL, "POST", "/api/show", hangs)
    started = trio.current_time()
    found = await surveyor.survey(A)
    assert found.engine is Engine.OLLAMA
    assert [m.max_tokens for m in found.models] == [None] * 3
    assert trio.current_time() - started <= 10


async def test_vllm_tells_its_length(upstream: FakeUpstream, surveyor: HttpSurveyor) -> None:
    upstream.get(URL, "/v1/models", recorded("vllm_models"), server="uvicorn")
    assert await surveyor.survey(A) == Survey(
        Engine.VLLM, (Model("Qwen/Qwen2.5-VL-7B-Instruct", VISION, 32768),)
    )
    assert paths(upstream) == ["/v1/models", "/openapi.json"]


@pytest.mark.parametrize(
    ("routes", "capabilities", "perhaps"),
    [
        (("chat/completions", "completions"), CHAT, {Capability.IMAGE_UNDERSTANDING}),
        (("embeddings",), EMBEDDINGS, ()),
        (("audio/transcriptions",), {Capability.AUDIO_TRANSCRIPTION}, ()),
        (
            ("chat/completions", "audio/transcriptions"),
            {*CHAT, Capability.AUDIO_TRANSCRIPTION},
            {Capability.IMAGE_UNDERSTANDING},
        ),
        (("chat/completions", "embeddings", "audio/transcriptions"), CHAT, UNTOLD),
        ((), CHAT, UNTOLD),
    ],
)
async def test_vllm_has_the_routes_of_what_it_serves(
    upstream: FakeUpstream,
    surveyor: HttpSurveyor,
    routes: tuple[str, ...],
    capabilities: set[Capability],
    perhaps: set[Capability],
) -> None:
    listed = {"data": [{"id": "m", "max_model_len": 9, "owned_by": "vllm"}]}
    upstream.get(URL, "/v1/models", listed)
    upstream.get(URL, "/openapi.json", {"paths": {f"/v1/{route}": {} for route in routes}})
    (model,) = (await surveyor.survey(A)).models
    assert set(model.capabilities) == capabilities
    assert set(model.perhaps) == set(perhaps)


async def test_what_vllm_serves_is_not_forgotten_while_it_is_busy(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    listed = {"data": [{"id": m, "max_model_len": 9} for m in ("m", "new", "llava")]}
    upstream.get(URL, "/v1/models", listed, server="vllm")
    upstream.on(URL, "GET", "/openapi.json", hangs)
    before = (Model("m", EMBEDDINGS, 5), Model("llava", CHAT, 5))
    known = make_endpoint(URL, engine=Engine.VLLM, models=before)
    assert (await surveyor.survey(known)).models == (
        Model("m", EMBEDDINGS, 9),
        Model("new", CHAT, 9, UNTOLD),
        Model("llava", VISION, 9),
    )


@pytest.mark.parametrize(
    ("entry", "server", "engine"),
    [
        ({"id": "m"}, "vLLM/0.9", Engine.VLLM),
        ({"id": "m", "max_model_len": 9}, "uvicorn", Engine.VLLM),
        ({"id": "m", "max_model_len": 9, "owned_by": "sglang"}, "uvicorn", Engine.OPENAI),
        ({"id": "m", "owned_by": "llamacpp"}, "", Engine.LLAMACPP),
        ({"id": "m", "owned_by": "lmstudio-community"}, "", Engine.LM_STUDIO),
        ({"id": "m", "owned_by": ["vllm"]}, "", Engine.OPENAI),
    ],
)
async def test_the_listing_alone_can_show_the_engine(
    upstream: FakeUpstream,
    surveyor: HttpSurveyor,
    entry: dict[str, object],
    server: str,
    engine: Engine,
) -> None:
    upstream.get(URL, "/v1/models", {"data": [entry]}, server=server)
    assert (await surveyor.survey(A)).engine is engine


@pytest.mark.parametrize("version", [0, 1])
async def test_lm_studio_tells_type_and_context_in_both_versions(
    upstream: FakeUpstream, surveyor: HttpSurveyor, version: int
) -> None:
    serve_lmstudio(upstream, version)
    assert await surveyor.survey(A) == Survey(
        Engine.LM_STUDIO,
        (
            Model("google/gemma-3-4b", VISION, 131072),
            Model("qwen/qwen3.5-9b", CHAT, 262144),
            Model("text-embedding-nomic-embed-text-v1.5", EMBEDDINGS, 2048),
        ),
    )


async def test_xllm_is_known_by_its_version_and_tells_contexts_one_by_one(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.get(URL, "/v1/models", {"data": [{"id": "org/llama:q4"}, {"id": "b"}]})
    upstream.get(URL, "/api/system", recorded("xllm_system"))
    upstream.get(URL, "/api/models/org%2Fllama%3Aq4/info", {"n_ctx": 4096})
    upstream.get(URL, "/api/tags", {"models": []})
    assert await surveyor.survey(A) == Survey(
        Engine.XLLM, (Model("org/llama:q4", CHAT, 4096, UNTOLD), Model("b", CHAT, None, UNTOLD))
    )


async def test_whatever_else_speaks_the_api_is_plain_openai(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    entries = [
        {"id": "gpt-x", "context_window": 8192},
        {"id": "seer", "capabilities": {"image_understanding": True, "chat_completion": True}},
    ]
    upstream.get(URL, "/v1/models", {"object": "list", "data": entries})
    assert await surveyor.survey(A) == Survey(
        Engine.OPENAI, (Model("gpt-x", CHAT, 8192, UNTOLD), Model("seer", VISION, None))
    )
    asked = ["/api/system", "/api/v1/models", "/api/v0/models", "/api/tags"]
    assert paths(upstream) == ["/v1/models", *asked]


# --- what was known before ------------------------------------------------------------------


async def test_a_known_engine_is_asked_first(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    serve_ollama(upstream)
    await surveyor.survey(make_endpoint(URL, engine=Engine.OLLAMA))
    assert paths(upstream)[:2] == ["/v1/models", "/api/tags"]
    assert set(paths(upstream)[2:]) == {"/api/show"}


async def test_another_engine_under_the_same_url_is_noticed(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    serve_llamacpp(upstream)
    for known in Engine:
        found = await surveyor.survey(make_endpoint(URL, engine=known))
        assert found.engine is Engine.LLAMACPP


async def test_an_engine_that_does_not_answer_for_a_while_keeps_what_was_known(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    upstream.get(URL, "/v1/models", recorded("ollama_models"))
    upstream.on(URL, "GET", "/api/tags", hangs)
    before = (Model("gemma3:4b", VISION, 131072), Model("gone", CHAT, 5))
    known = make_endpoint(URL, engine=Engine.OLLAMA, models=before, engine_concurrency=2)
    found = await surveyor.survey(known)
    assert (found.engine, found.engine_concurrency) == (Engine.OLLAMA, 2)
    assert found.models == (
        Model("llama3.2:latest", CHAT, None, UNTOLD),
        Model("gemma3:4b", VISION, 131072),
        Model("nomic-embed-text:latest", EMBEDDINGS, None),
    )


async def test_an_engine_found_beside_a_silent_route_is_believed(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    serve_lmstudio(upstream, 1)
    upstream.on(URL, "GET", "/api/system", hangs)
    found = await surveyor.survey(make_endpoint(URL, engine=Engine.XLLM))
    assert found.engine is Engine.LM_STUDIO


async def test_a_survey_of_an_endpoint_that_answers_nothing_else_is_bounded(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    upstream.get(URL, "/v1/models", {"data": [{"id": "m"}]})
    for path in ("/api/system", "/api/v1/models", "/api/v0/models", "/api/tags"):
        upstream.on(URL, "GET", path, hangs)
    started = trio.current_time()
    assert await surveyor.survey(A) == Survey(Engine.OPENAI, (Model("m", perhaps=UNTOLD),))
    assert trio.current_time() - started <= 30


async def test_a_survey_that_takes_too_long_as_a_whole_is_cut(
    upstream: FakeUpstream, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlb.http.engines.surveyor.QUESTIONS_IN_A_ROW", 2)
    upstream.get(URL, "/v1/models", {"data": [{"id": "m"}]})
    for path in ("/api/system", "/api/v1/models", "/api/v0/models"):
        upstream.on(URL, "GET", path, hangs)
    started = trio.current_time()
    assert (await HttpSurveyor(upstream).survey(A)).engine is Engine.OPENAI
    assert trio.current_time() - started == 10
    assert upstream.open_calls == []


async def test_nothing_that_loads_a_model_or_costs_tokens_is_ever_asked(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    serve_ollama(upstream)
    for engine in (None, *Engine):
        await surveyor.survey(make_endpoint(URL, engine=engine))
        await surveyor.device(make_endpoint(URL, engine=engine))
    asked = {(c.path, c.body if c.path in ASKED else None) for c in upstream.calls}
    posts = {c.path for c in upstream.calls if c.method != "GET"}
    assert posts == {"/api/show", *ASKED}
    assert {(path, b"{}") for path in ASKED} <= asked


# --- the device -----------------------------------------------------------------------------


async def test_the_device_is_read_from_v0_system(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.get(URL, "/v0/system", recorded("xllm_system"))
    report = await surveyor.device(A)
    assert report.note is None
    assert report.info is not None
    assert report.info.device_type is DeviceType.GPU
    assert report.info.gpu_devices == (GpuDevice("NVIDIA RTX 4090", 25769803776, 1073741824),)
    assert paths(upstream) == ["/v0/system"]


async def test_the_later_name_of_the_route_is_tried_second(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.get(URL, "/v0/system", {"hello": 1})
    upstream.get(URL, "/api/system", {"device": {"device_type": "CPU", "gpu_devices": []}})
    report = await surveyor.device(A)
    assert report.info is not None
    assert report.info.device_type is DeviceType.CPU


async def test_an_endpoint_that_tells_no_device_is_left_alone_with_a_note(
    upstream: FakeUpstream, surveyor: HttpSurveyor
) -> None:
    upstream.get(URL, "/v1/models", {"data": []})
    upstream.get(URL, "/api/system", {})
    report = await surveyor.device(A)
    assert report.info is None
    assert report.note == "/v0/system: HTTP 404: not found; /api/system: no device in the answer"


async def test_asking_for_the_device_never_raises_and_is_bounded(
    upstream: FakeUpstream, surveyor: HttpSurveyor, autojump_clock: MockClock
) -> None:
    upstream.on(URL, "GET", "/v0/system", hangs)
    upstream.on(URL, "GET", "/api/system", hangs)
    started = trio.current_time()
    assert (await surveyor.device(A)).info is None
    assert trio.current_time() - started == 10
    assert (await surveyor.device(make_endpoint("http://down:1"))).info is None


@pytest.mark.parametrize(
    ("model", "doubtful"),
    [
        ("gemma-3-4b", True),
        ("mistralai/Pixtral-12B-2409", True),
        ("qwen2.5-omni-7b", True),
        ("phi-4-multimodal-instruct", True),
        ("llama-4-scout", True),
        ("whisper-1", False),
        ("llama-3.1-8b", False),
        ("llama3.1:8b", False),
        ("mistral-7b", False),
        ("meta-llama/Llama-3.3-70B-Instruct", False),
        ("llava-v1.5-7b", False),
        ("nomic-embed-text", False),
    ],
)
def test_a_name_is_believed_only_where_it_says_something(model: str, doubtful: bool) -> None:
    found = plain_model(model, {})
    assert bool(found.perhaps) is doubtful
    assert not found.perhaps & found.capabilities
    told = plain_model(model, {"architecture": {"input_modalities": ["text"]}})
    assert told.perhaps == frozenset()
