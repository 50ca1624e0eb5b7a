"""What the pure readers of foreign JSON make of good, odd and hostile bodies."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import ProbeFailed
from llmlb.http.engines import PROFILES, is_request_fault
from llmlb.http.engines.capabilities import by_name, plain_model
from llmlb.http.engines.device import parse_device
from llmlb.http.engines.foreign import MAX_COUNT, MAX_ITEMS, MAX_NAME_CHARS, count, name
from llmlb.http.engines.listing import parse_models
from llmlb.http.engines.lmstudio import entry_model
from llmlb.http.engines.ollama import shown_model
from llmlb.http.engines.surveyor import HttpSurveyor
from llmlb.types import Capability, DeviceType, Engine, GpuDevice
from tests.fakes.upstream import FakeUpstream, json_answer, make_endpoint

KEYS = st.sampled_from(
    [
        *("data", "models", "object", "id", "name", "model", "error", "message", "owned_by"),
        *("meta", "n_ctx", "max_model_len", "architecture", "input_modalities", "capabilities"),
        *("device", "device_type", "gpu_devices", "total_memory_bytes", "used_memory_bytes"),
        *("key", "type", "state", "arch", "loaded_instances", "model_info", "x.context_length"),
        *("task", "pipeline_tag", "model_type", "paths", "/v1/chat/completions"),
        *("xllm_version", "total_slots", "vision", "image_understanding", "max_context_length"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["list", "gpu", "vllm", "llamacpp", "image", "embedding", "m", "\ud800"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)


def as_listing(items: object) -> object:
    return {"data": items}


@given(JSON | st.lists(JSON).map(as_listing))
def test_any_json_is_a_list_of_usable_models_or_a_reason(body: object) -> None:
    reason, models = "", {}
    try:
        models = dict(parse_models(body))
    except ProbeFailed as failure:
        reason = str(failure)
    assert reason.isprintable()
    for model_id, entry in models.items():
        assert model_id.isprintable()
        assert 0 < len(model_id) <= MAX_NAME_CHARS
        model = plain_model(model_id, entry)
        assert model.capabilities
        assert model.max_tokens is None or 0 < model.max_tokens <= MAX_COUNT


@given(JSON)
def test_any_json_is_a_device_or_a_note(body: object) -> None:
    report = parse_device(body)
    assert report.info is not None or report.note
    assert len(report.note or "") < 1000
    for gpu in report.info.gpu_devices if report.info else ():
        assert gpu.name.isprintable()
        for size in (gpu.total_memory_bytes, gpu.used_memory_bytes):
            assert size is None or 0 <= size <= MAX_COUNT


@given(st.fixed_dictionaries({"data": st.lists(JSON, max_size=5)}), JSON, JSON, JSON)
def test_no_answers_of_an_endpoint_can_make_a_survey_fail(
    listing: object, system: object, native: object, shown: object
) -> None:
    async def run() -> None:
        upstream = FakeUpstream()
        url = "http://a:1"
        upstream.get(url, "/v1/models", listing)
        upstream.get(url, "/api/system", system)
        for path in ("/api/v1/models", "/api/tags", "/props"):
            upstream.get(url, path, native)
        upstream.on(url, "POST", "/api/show", json_answer(shown))
        surveyor = HttpSurveyor(upstream)
        found = await surveyor.survey(make_endpoint(url))
        assert [m.id for m in found.models] == list(parse_models(listing))
        assert found.engine_concurrency is None or found.engine_concurrency > 0
        await surveyor.device(make_endpoint(url))

    trio.run(run)


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"data": []}, []),
        ({"data": [{"id": "b"}, {"id": "a"}, {"id": "b", "owned_by": "x"}]}, ["b", "a"]),
        ({"data": [{"id": None}, {"id": 5}, {}, None, "m", {"id": "a"}]}, ["a"]),
        ({"data": [{"id": "a\nb"}, {"id": " "}, {"id": ""}, {"id": "x" * 257}]}, []),
        ({"data": [{"id": "\ud800"}, {"id": "模型"}, {"id": "a/b:c"}]}, ["模型", "a/b:c"]),
        ({"models": [{"name": "a"}, {"model": "b"}, {"name": "", "model": "c"}]}, ["a", "b", "c"]),
        ({"data": [{"id": "a"}], "models": [{"name": "b"}]}, ["a"]),
        ({"object": "list", "data": None}, []),
    ],
)
def test_models_are_read_in_both_shapes(body: object, ids: list[str]) -> None:
    assert list(parse_models(body)) == ids


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "/v1/models answers with null instead of an object."),
        ([{"id": "a"}], "/v1/models answers with a list instead of an object."),
        ("x", "/v1/models answers with a string instead of an object."),
        (True, "/v1/models answers with a boolean instead of an object."),
        (1.5, "/v1/models answers with a number instead of an object."),
        ({}, "/v1/models answers without a list of models."),
        ({"data": {"id": "a"}}, "/v1/models answers without a list of models."),
        ({"error": "no such route"}, "/v1/models answers with an error: no such route"),
        ({"error": {"message": "no"}}, "/v1/models answers with an error: no"),
    ],
)
def test_what_is_no_list_of_models_is_refused_with_a_reason(body: object, reason: str) -> None:
    with pytest.raises(ProbeFailed) as caught:
        parse_models(body)
    assert str(caught.value) == reason


def test_a_list_without_end_is_read_to_its_bound() -> None:
    body = {"data": [{"id": f"m{i}"} for i in range(MAX_ITEMS + 5)]}
    assert len(parse_models(body)) == MAX_ITEMS


@pytest.mark.parametrize(
    ("value", "read"),
    [(1, 1), (0, None), (-1, None), (True, None), (1.0, None), ("1", None), (2**63, None)],
)
def test_a_count_is_a_positive_whole_number_that_can_be_stored(
    value: object, read: int | None
) -> None:
    assert count(value) == read


def test_a_name_is_shown_as_it_is_or_not_at_all() -> None:
    assert name("a b") == "a b"
    assert name("a\x1b[31m") is None
    assert name("\u202egnp") is None  # turns the text that follows around


@pytest.mark.parametrize(
    ("model", "capability"),
    [
        ("org/embedder", Capability.EMBEDDINGS),
        ("nomic-embed-text:latest", Capability.EMBEDDINGS),
        ("bge_embed", Capability.EMBEDDINGS),
        ("my-embed/llama", Capability.CHAT_COMPLETION),
        ("Org/LLaVA-1.5", Capability.IMAGE_UNDERSTANDING),
        ("qwen2-vl", Capability.IMAGE_UNDERSTANDING),
        ("Qwen2.5-VL-7B", Capability.IMAGE_UNDERSTANDING),
        ("llama3.2-vision", Capability.IMAGE_UNDERSTANDING),
        ("llama", Capability.CHAT_COMPLETION),
        ("BAAI/bge-m3", Capability.EMBEDDINGS),
        ("intfloat/multilingual-e5-large", Capability.EMBEDDINGS),
        ("bge-reranker-v2-m3", Capability.CHAT_COMPLETION),
        ("Systran/faster-whisper-large-v3", Capability.AUDIO_TRANSCRIPTION),
        ("nvidia/parakeet-tdt-0.6b", Capability.AUDIO_TRANSCRIPTION),
        ("Qwen3-ASR-1.7B", Capability.AUDIO_TRANSCRIPTION),
        ("hexgrad/Kokoro-82M", Capability.AUDIO_SPEECH),
        ("tts-1-hd", Capability.AUDIO_SPEECH),
        ("coqui/XTTS-v2", Capability.AUDIO_SPEECH),
        ("Qwen3-TTS-12Hz", Capability.AUDIO_SPEECH),
        ("black-forest-labs/FLUX.1-schnell", Capability.IMAGE_GENERATION),
        ("stable-diffusion-3.5-large", Capability.IMAGE_GENERATION),
        ("stabilityai/sdxl-turbo", Capability.IMAGE_GENERATION),
        ("Qwen/Qwen-Image", Capability.IMAGE_GENERATION),
        ("influx-chat", Capability.CHAT_COMPLETION),
        ("matts-model", Capability.CHAT_COMPLETION),
        ("fluxional-7b", Capability.CHAT_COMPLETION),
    ],
)
def test_a_name_suggests_what_a_model_can_do(model: str, capability: Capability) -> None:
    assert capability in by_name(model)
    assert (Capability.CHAT_COMPLETION in by_name(model)) is (
        capability in {Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING}
    )


@pytest.mark.parametrize(
    ("entry", "capability"),
    [
        ({"task": "automatic-speech-recognition"}, Capability.AUDIO_TRANSCRIPTION),
        ({"pipeline_tag": "text-to-image"}, Capability.IMAGE_GENERATION),
        ({"type": "TTS", "task": 7}, Capability.AUDIO_SPEECH),
        ({"model_type": "embedding", "type": "model"}, Capability.EMBEDDINGS),
        ({"task": "image-text-to-text"}, Capability.IMAGE_UNDERSTANDING),
    ],
)
def test_a_task_says_what_a_model_can_do(entry: dict[str, object], capability: Capability) -> None:
    model = plain_model("m", entry)
    assert capability in model.capabilities
    assert model.perhaps == frozenset()
    assert plain_model("m", {"task": "generate"}).perhaps, "which leaves images open"


@pytest.mark.parametrize(
    ("said", "capabilities"),
    [
        (["completion", "tools"], {Capability.CHAT_COMPLETION}),
        (["completion", "vision"], {Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING}),
        (["completion", "audio"], {Capability.CHAT_COMPLETION}),
        (["embedding"], {Capability.EMBEDDINGS}),
        (["image"], {Capability.IMAGE_GENERATION}),
    ],
)
def test_ollama_says_what_a_model_can_do(said: list[str], capabilities: set[Capability]) -> None:
    model = shown_model(plain_model("m", {}), {"capabilities": said})
    assert set(model.capabilities) == capabilities
    assert model.perhaps == frozenset()


def test_ollama_that_says_nothing_that_is_known_leaves_the_name() -> None:
    model = plain_model("llava", {})
    assert shown_model(model, {"capabilities": ["juggling"]}) == model


@pytest.mark.parametrize(
    ("entry", "capabilities"),
    [
        ({"type": "embedding"}, {Capability.EMBEDDINGS}),
        ({"type": "vlm"}, {Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING}),
        ({"type": "llm"}, {Capability.CHAT_COMPLETION}),
        ({"type": "llm", "capabilities": {"vision": "?"}}, {Capability.CHAT_COMPLETION}),
        ({}, {Capability.CHAT_COMPLETION, Capability.IMAGE_UNDERSTANDING}),
    ],
)
def test_lm_studio_says_by_type_what_a_model_can_do(
    entry: dict[str, object], capabilities: set[Capability]
) -> None:
    assert entry_model("llava-7b", entry).capabilities == capabilities


def test_what_is_said_wins_over_the_name() -> None:
    blind = plain_model("llava-7b", {"architecture": {"input_modalities": ["text"]}})
    assert blind.capabilities == {Capability.CHAT_COMPLETION}


# --- the device -----------------------------------------------------------------------------


def test_wrong_parts_of_a_device_are_named_and_skipped() -> None:
    gpus = [
        {"name": "A", "total_memory_bytes": 8, "used_memory_bytes": 0, "temperature": 40},
        {"name": "B", "total_memory_bytes": "8 GB", "used_memory_bytes": -1},
        {"total_memory_bytes": 8},
        "C",
    ]
    report = parse_device({"device": {"device_type": "gpu", "gpu_devices": gpus}})
    assert report.info is not None
    assert report.info.gpu_devices == (GpuDevice("A", 8, 0), GpuDevice("B"))
    assert report.note == (
        "gpu_devices[1].total_memory_bytes is not a number of bytes; "
        "gpu_devices[1].used_memory_bytes is not a number of bytes; "
        "gpu_devices[2] has no usable name; gpu_devices[3] has no usable name"
    )


@pytest.mark.parametrize(
    ("device", "device_type", "note"),
    [
        ({"device_type": "cpu"}, DeviceType.CPU, None),
        ({"device_type": "GPU"}, DeviceType.GPU, None),
        ({"device_type": "npu"}, DeviceType.CPU, "device_type is not cpu or gpu"),
        ({}, DeviceType.CPU, "device_type is missing"),
        ({"gpu_devices": [{"name": "A"}]}, DeviceType.GPU, "device_type is missing"),
        ({"device_type": "cpu", "gpu_devices": {}}, DeviceType.CPU, "gpu_devices is not a list"),
    ],
)
def test_the_kind_of_device_is_read_or_inferred(
    device: object, device_type: DeviceType, note: str | None
) -> None:
    report = parse_device({"device": device})
    assert report.info is not None
    assert (report.info.device_type, report.note) == (device_type, note)


def test_many_remarks_are_summed_up() -> None:
    report = parse_device({"device": {"device_type": "gpu", "gpu_devices": [{}] * 70}})
    assert report.note is not None
    assert report.note.startswith("gpu_devices after the first 64 are not read; ")
    assert report.note.endswith("; and 61 more")


# --- errors ---------------------------------------------------------------------------------

MMPROJ_HINT = " - hint: if this is unexpected, you may need to provide the mmproj"
LLAMACPP_500S = [
    """Failed to parse messages: Missing 'role' in message: {"content":"x"}""",
    "Failed to parse messages: [json.exception.type_error.302] type must be string, but is number",
    "Failed to parse messages: Missing tool call type: 5",
    """Failed to parse tools: Expected 'tools' to be an array, got "x"; tools = "x\"""",
    "Failed to parse tools: Missing tool type: 1; tools = [\n  1\n]",
    f"image input is not supported{MMPROJ_HINT}",
    f"audio input is not supported{MMPROJ_HINT}",
    "error: cannot make GET request",
    "Invalid base64 value",
    "Unknown reasoning format: zz",
    "'messages' is required",
]


@pytest.mark.parametrize("message", LLAMACPP_500S)
def test_the_recorded_500s_of_llamacpp_that_blame_the_request_are_known(message: str) -> None:
    assert is_request_fault(Engine.LLAMACPP, 500, message)
    assert not is_request_fault(Engine.LLAMACPP, 503, message)
    assert not is_request_fault(Engine.VLLM, 500, message)
    assert not is_request_fault(None, 500, message)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (503, "Loading model"),
        (501, "This server does not support embeddings. Start it with `--embeddings`"),
        (500, "failed to decode the batch"),
        (500, "Compute error. Failed to parse messages: x"),
        (500, ""),
    ],
)
def test_faults_of_the_endpoint_are_not_blamed_on_the_request(status: int, message: str) -> None:
    assert not any(is_request_fault(engine, status, message) for engine in Engine)


def test_ollama_says_with_a_500_that_a_model_has_no_eyes() -> None:
    message = (
        "Failed to create new sequence: failed to process inputs: "
        "this model is missing data required for image input"
    )
    assert is_request_fault(Engine.OLLAMA, 500, message)


def test_every_engine_has_one_profile() -> None:
    assert sorted(profile.engine for profile in PROFILES) == sorted(Engine)
