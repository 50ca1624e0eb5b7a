from __future__ import annotations

from typing import Any

import pytest
import trio
import trustme

from llmlb.errors import ProbeFailed
from tests.fakes.surveyor import NoAnswer


async def test_a_new_endpoint_is_pending_and_has_every_field(api: Any) -> None:
    answer = await api("POST", "/endpoints", {"name": "gpu", "base_url": "HTTP://GPU.lan:80/v1/"})
    assert answer.status == 201
    assert answer.json == {
        "id": "00000000-0000-0000-0000-000000000001",
        "name": "gpu",
        "base_url": "http://gpu.lan",
        "status": "pending",
        "mode": "enabled",
        "engine": None,
        "health_check_interval_secs": 30,
        "inference_timeout_secs": 120,
        "latency_ms": None,
        "last_seen": None,
        "last_error": None,
        "native_apis": [],
        "error_count": 0,
        "registered_at": "2026-03-01T12:00:00.000Z",
        "notes": None,
        "device_info": None,
        "device_note": None,
        "has_api_key": False,
        "extra_header_names": [],
        "tls_verify": True,
        "has_ca_certificate": False,
        "model_aliases": {},
        "model_capabilities": {},
        "declared": False,
        "inflight": 0,
        "drained": False,
        "circuit": {
            "state": "closed",
            "failures_in_a_row": 0,
            "opens_in_secs": 0.0,
            "cooling_secs": 0.0,
        },
        "max_concurrency": 8,
        "max_concurrency_assumed": True,
        "model_count": 0,
        "total_requests": 0,
        "successful_requests": 0,
        "failed_requests": 0,
        "cancelled_requests": 0,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_tokens": 0,
    }


async def test_all_that_can_be_said_of_an_endpoint_is_kept(api: Any) -> None:
    endpoint = await api.registered(
        api_key=" sk-secret ",
        health_check_interval_secs=10,
        inference_timeout_secs=86_400,
        notes="in the\ncellar",
        max_concurrency=2,
        extra_headers={"X-Team": "grün", "x-tenant": " 7 "},
    )
    assert endpoint["has_api_key"] is True
    assert endpoint["health_check_interval_secs"] == 10
    assert endpoint["inference_timeout_secs"] == 86_400
    assert endpoint["notes"] == "in the\ncellar"
    assert (endpoint["max_concurrency"], endpoint["max_concurrency_assumed"]) == (2, False)
    assert endpoint["extra_header_names"] == ["X-Team", "x-tenant"]
    (stored,) = await api.store.endpoints.all()
    assert stored.api_key == "sk-secret"
    assert stored.extra_headers == (("X-Team", "grün"), ("x-tenant", "7"))


async def test_secrets_show_nowhere(api: Any) -> None:
    endpoint = await api.registered(api_key="sk-secret", extra_headers={"x-team": "sk-secret"})
    for method, path in (
        ("GET", "/endpoints"),
        ("GET", f"/endpoints/{endpoint['id']}"),
        ("GET", f"/endpoints/{endpoint['id']}/models"),
        ("POST", f"/endpoints/{endpoint['id']}/test"),
        ("POST", f"/endpoints/{endpoint['id']}/drain"),
    ):
        assert "sk-secret" not in str(await api(method, path))
    refused = await api("PATCH", f"/endpoints/{endpoint['id']}", {"api_key": "sk-secret\u00e4"})
    assert refused.error["param"] == "api_key"
    assert "sk-secret" not in str(refused)


async def test_the_models_and_the_device_show_up_after_registration(api: Any) -> None:
    from llmlb.types import Capability, DeviceInfo, DeviceReport, DeviceType, GpuDevice, Model

    url = "http://gpu.lan:8000"
    api.surveyor.models[url] = (
        Model("b", frozenset({Capability.EMBEDDINGS, Capability.CHAT_COMPLETION}), 4096),
        Model("a"),
    )
    gpu = GpuDevice("RTX 4090", 24_000_000_000)
    api.surveyor.devices[url] = DeviceReport(DeviceInfo(DeviceType.GPU, (gpu,)))
    shown = await api.shown(await api.registered())
    assert (shown["status"], shown["engine"], shown["model_count"]) == ("online", "llama.cpp", 2)
    assert shown["device_info"] == {
        "device_type": "gpu",
        "gpu_devices": [
            {"name": "RTX 4090", "total_memory_bytes": 24_000_000_000, "used_memory_bytes": None}
        ],
    }
    models = [
        {"model_id": "b", "capabilities": ["chat_completion", "embeddings"], "max_tokens": 4096},
        {"model_id": "a", "capabilities": ["chat_completion"], "max_tokens": None},
    ]
    assert shown["models"] == models
    listed = await api("GET", f"/endpoints/{shown['id']}/models")
    assert listed.json == {"endpoint_id": shown["id"], "models": models}


async def test_an_endpoint_that_is_not_there_yet_can_be_registered(api: Any) -> None:
    api.surveyor.failures["http://gpu.lan:8000"] = NoAnswer("connection refused")
    endpoint = await api.registered()
    assert endpoint["status"] == "pending"
    shown = await api.shown(endpoint)
    assert (shown["status"], shown["last_error"]) == ("offline", "connection refused")


async def test_who_asks_for_it_has_an_absent_endpoint_refused(api: Any) -> None:
    api.surveyor.failures["http://gpu.lan:8000"] = NoAnswer("connection refused")
    body = {"name": "gpu", "base_url": "http://gpu.lan:8000"}
    answer = await api("POST", "/endpoints?verify=true", body)
    assert answer.status == 502
    assert answer.error["code"] == "upstream_unreachable"
    assert "connection refused" in answer.error["message"]
    assert (await api("GET", "/endpoints")).json["total"] == 0
    assert (await api("POST", "/endpoints?verify=false", body)).status == 201


async def test_verification_ends_even_if_the_endpoint_never_does(
    api: Any, autojump_clock: Any
) -> None:
    api.surveyor.answer_after_s = 3600
    body = {"name": "gpu", "base_url": "http://gpu.lan:8000"}
    answer = await api("POST", "/endpoints?verify=1", body)
    assert answer.status == 502
    assert "not registered: It did not answer within 15 s." in answer.error["message"]


async def test_a_verified_endpoint_is_registered(api: Any) -> None:
    body = {"name": "gpu", "base_url": "http://gpu.lan:8000", "api_key": "sk"}
    assert (await api("POST", "/endpoints?verify=true", body)).status == 201
    assert api.surveyor.checked[0].api_key == "sk"


async def test_a_name_or_a_url_that_is_taken_is_a_conflict(api: Any) -> None:
    await api.registered("gpu")
    same_name = {"name": "gpu", "base_url": "http://other.lan"}
    answer = await api("POST", "/endpoints", same_name)
    assert (answer.status, answer.error["param"]) == (409, "name")
    same_url = {"name": "other", "base_url": "http://GPU.lan:8000/v1"}
    answer = await api("POST", "/endpoints", same_url)
    assert (answer.status, answer.error["param"]) == (409, "base_url")
    assert answer.error["code"] == "conflict"


async def test_leftovers_of_older_clients_are_ignored(api: Any) -> None:
    await api.registered(
        endpoint_type="vllm", device_type="gpu", type="x", capabilities=["chat_completion"]
    )


@pytest.mark.parametrize("field", ["api_key", "notes", "max_concurrency", "extra_headers"])
async def test_null_means_the_default(api: Any, field: str) -> None:
    await api.registered(
        health_check_interval_secs=None, inference_timeout_secs=None, **{field: None}
    )


GOOD = {"name": "gpu", "base_url": "http://gpu.lan"}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"base_url": "http://gpu.lan"}, "name", "missing_field"),
        ({"name": "gpu"}, "base_url", "missing_field"),
        ({**GOOD, "name": " \t"}, "name", "invalid_value"),
        ({**GOOD, "name": None}, "name", "invalid_value"),
        ({**GOOD, "name": 7}, "name", "invalid_value"),
        ({**GOOD, "name": "x" * 201}, "name", "invalid_value"),
        ({**GOOD, "name": "a\x00b"}, "name", "invalid_value"),
        ({**GOOD, "name": "a\u2028b"}, "name", "invalid_value"),
        ({**GOOD, "base_url": ""}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "gpu.lan"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "ftp://gpu.lan"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": ["http://gpu.lan"]}, "base_url", "invalid_value"),
        ({**GOOD, "api_key": 1}, "api_key", "invalid_value"),
        ({**GOOD, "api_key": "two words"}, "api_key", "invalid_value"),
        ({**GOOD, "api_key": "k" * 4097}, "api_key", "invalid_value"),
        ({**GOOD, "health_check_interval_secs": 9}, "health_check_interval_secs", "invalid_value"),
        (
            {**GOOD, "health_check_interval_secs": 301},
            "health_check_interval_secs",
            "invalid_value",
        ),
        (
            {**GOOD, "health_check_interval_secs": "30"},
            "health_check_interval_secs",
            "invalid_value",
        ),
        (
            {**GOOD, "health_check_interval_secs": 30.5},
            "health_check_interval_secs",
            "invalid_value",
        ),
        ({**GOOD, "inference_timeout_secs": 0}, "inference_timeout_secs", "invalid_value"),
        ({**GOOD, "inference_timeout_secs": 86_401}, "inference_timeout_secs", "invalid_value"),
        ({**GOOD, "inference_timeout_secs": True}, "inference_timeout_secs", "invalid_value"),
        ({**GOOD, "notes": "n" * 10_001}, "notes", "invalid_value"),
        ({**GOOD, "notes": {}}, "notes", "invalid_value"),
        ({**GOOD, "max_concurrency": 0}, "max_concurrency", "invalid_value"),
        ({**GOOD, "max_concurrency": 10_001}, "max_concurrency", "invalid_value"),
        ({**GOOD, "max_concurrency": 10**30}, "max_concurrency", "invalid_value"),
        ({**GOOD, "extra_headers": ["x: y"]}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"x": 1}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"": "1"}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"a b": "1"}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"x": "a\r\nb: c"}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"x": "€"}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"x": "v" * 4097}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"X": "1", "x": "2"}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"Host": "x"}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"Content-Length": "1"}}, "extra_headers", "invalid_value"),
        ({**GOOD, "extra_headers": {"x-llmlb-instance": "1"}}, "extra_headers", "invalid_value"),
        (
            {**GOOD, "extra_headers": {f"x-{n}": "1" for n in range(33)}},
            "extra_headers",
            "invalid_value",
        ),
        (
            {**GOOD, "api_key": "sk", "extra_headers": {"Authorization": "Basic eA=="}},
            "extra_headers",
            "invalid_value",
        ),
        ({**GOOD, "model_aliases": ["fast"]}, "model_aliases", "invalid_value"),
        ({**GOOD, "model_aliases": {"fast": 1}}, "model_aliases", "invalid_value"),
        ({**GOOD, "model_aliases": {" ": "m"}}, "model_aliases", "invalid_value"),
        ({**GOOD, "model_aliases": {"fast": ""}}, "model_aliases", "invalid_value"),
        ({**GOOD, "model_aliases": {"fast": "a\nb"}}, "model_aliases", "invalid_value"),
        ({**GOOD, "model_aliases": {"fast": "m" * 257}}, "model_aliases", "invalid_value"),
        ({**GOOD, "model_aliases": {"fast": "m", " fast": "n"}}, "model_aliases", "invalid_value"),
        (
            {**GOOD, "model_aliases": {f"m{n}": "m" for n in range(257)}},
            "model_aliases",
            "invalid_value",
        ),
        ({**GOOD, "model_capabilities": {"m": "vision"}}, "model_capabilities", "invalid_value"),
        ({**GOOD, "model_capabilities": {"m": []}}, "model_capabilities", "invalid_value"),
        ({**GOOD, "model_capabilities": {"m": ["sight"]}}, "model_capabilities", "invalid_value"),
        (
            {**GOOD, "model_capabilities": {f"m{n}": ["embeddings"] for n in range(257)}},
            "model_capabilities",
            "invalid_value",
        ),
        ({**GOOD, "tls_verify": "no"}, "tls_verify", "invalid_value"),
        ({**GOOD, "tls_verify": 0}, "tls_verify", "invalid_value"),
        ({**GOOD, "ca_certificate": "junk"}, "ca_certificate", "invalid_value"),
        ({**GOOD, "ca_certificate": "x" * 65_537}, "ca_certificate", "invalid_value"),
        ({**GOOD, "ca_certificate": ["x"]}, "ca_certificate", "invalid_value"),
        ({**GOOD, "base_url": "file:///etc/passwd"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "gopher://gpu.lan"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://169.254.169.254"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://[fe80::1]:8000"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://[fd00:ec2::254]"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://[::ffff:a9fe:a9fe]"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://[64:ff9b::a9fe:a9fe]"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://[2002:a9fe:a9fe::]"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://0xA9FEA9FE/latest"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://2852039166"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://0251.0376.0251.0376"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://0.0.0.0:32768"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://[::]:32768"}, "base_url", "invalid_value"),
        ({**GOOD, "base_url": "http://224.0.0.1"}, "base_url", "invalid_value"),
        ({**GOOD, "colour": "red"}, "colour", "invalid_value"),
    ],
)
async def test_what_is_wrong_is_named(api: Any, body: object, param: str, code: str) -> None:
    answer = await api("POST", "/endpoints", body)
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == (param, code)
    assert answer.error["type"] == "invalid_request_error"
    message = answer.error["message"]
    assert message[0].isupper() or message[0] == "'"
    assert message.endswith((".", "?"))
    assert (await api("GET", "/endpoints")).json["total"] == 0


async def test_an_address_where_no_endpoint_can_be_is_refused_with_the_reason(api: Any) -> None:
    refused = {**GOOD, "base_url": "http://169.254.169.254/v1"}
    answer = await api("POST", "/endpoints", refused)
    assert answer.error["message"] == (
        "The URL may not lead to 169.254.169.254: that is a link-local address, where clouds keep "
        "their metadata."
    )
    endpoint = await api.registered()
    answer = await api("PUT", f"/endpoints/{endpoint['id']}", {"base_url": refused["base_url"]})
    assert (answer.status, answer.error["param"]) == (400, "base_url")
    assert (await api.shown(endpoint))["base_url"] == endpoint["base_url"]


async def test_whom_to_trust_is_the_operators_to_say_and_null_brings_back_the_default(
    api: Any,
) -> None:
    pem = trustme.CA().cert_pem.bytes().decode()
    endpoint = await api.registered(tls_verify=False, ca_certificate=f"# ours\n{pem}")
    assert (endpoint["tls_verify"], endpoint["has_ca_certificate"]) == (False, True)
    (stored,) = await api.store.endpoints.all()
    assert (stored.tls_verify, stored.ca_certificate) == (False, pem)
    path = f"/endpoints/{endpoint['id']}"
    after = (await api("PUT", path, {"tls_verify": None, "ca_certificate": None})).json
    assert (after["tls_verify"], after["has_ca_certificate"]) == (True, False)
    after = (await api("PUT", path, {"tls_verify": True, "ca_certificate": " "})).json
    assert (after["tls_verify"], after["has_ca_certificate"]) == (True, False)


async def test_a_change_of_trust_makes_it_another_server(api: Any) -> None:
    endpoint = await api.registered()
    path = f"/endpoints/{endpoint['id']}"
    assert (await api.shown(endpoint))["status"] == "online"
    assert (await api("PUT", path, {"tls_verify": False})).json["status"] == "pending"


async def test_a_capability_that_nobody_knows_is_answered_with_those_that_are_known(
    api: Any,
) -> None:
    answer = await api("POST", "/endpoints", {**GOOD, "model_capabilities": {"m": ["sight"]}})
    assert answer.error["message"] == (
        "'model_capabilities' must give each model one or more of chat_completion, embeddings, "
        "image_generation, audio_transcription, audio_speech, image_understanding."
    )


async def test_names_and_capabilities_of_models_are_the_operators_to_say(api: Any) -> None:
    endpoint = await api.registered(
        model_aliases={" fast ": "org/m:7b"}, model_capabilities={"m": ["image_understanding"]}
    )
    names = {"fast": "org/m:7b"}
    assert endpoint["model_aliases"] == names
    assert endpoint["model_capabilities"] == {"m": ["image_understanding"]}
    path = f"/endpoints/{endpoint['id']}"
    assert (await api("PUT", path, {"notes": "x"})).json["model_aliases"] == names
    after = (await api("PUT", path, {"model_aliases": None, "model_capabilities": {}})).json
    assert (after["model_aliases"], after["model_capabilities"]) == ({}, {})


async def test_several_mistakes_are_told_at_once(api: Any) -> None:
    answer = await api("POST", "/endpoints", {"name": "", "notes": 1, "x": 1})
    assert answer.error["message"] == (
        "'name' may not be blank. 'base_url' is missing. "
        "'notes' must be a text. 'x' is not a field that is known here."
    )


async def test_what_is_said_in_a_whole_sentence_is_not_put_into_another(api: Any) -> None:
    answer = await api("POST", "/endpoints", {"name": "gpu", "base_url": "http://300.1.1.1"})
    assert answer.error["message"] == "'300.1.1.1' is not an IPv4 address."
    assert answer.error["param"] == "base_url"


async def test_a_credential_header_is_fine_without_a_key(api: Any) -> None:
    endpoint = await api.registered(extra_headers={"Authorization": "Basic eA=="})
    answer = await api("PUT", f"/endpoints/{endpoint['id']}", {"api_key": "sk"})
    assert (answer.status, answer.error["param"]) == (400, "extra_headers")
    assert (await api.shown(endpoint))["has_api_key"] is False


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"name=gpu", b"\xff\xfe", b"[" * 5000, b"[]", b"null", b'"gpu"', b'{"name": nope}'],
)
async def test_a_body_that_is_no_json_object_is_refused(api: Any, raw: bytes) -> None:
    answer = await api("POST", "/endpoints", data=raw)
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    assert answer.error["param"] is None


async def test_a_blank_key_is_no_key(api: Any) -> None:
    assert (await api.registered(api_key=" "))["has_api_key"] is False


async def test_curl_need_not_name_a_content_type(api: Any) -> None:
    answer = await api(
        "POST",
        "/endpoints",
        data=b'{"name": "gpu", "base_url": "http://gpu.lan"}',
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status == 201


async def test_a_flag_is_true_or_false(api: Any) -> None:
    answer = await api("POST", "/endpoints?verify=maybe", GOOD)
    assert (answer.status, answer.error["param"]) == (400, "verify")


async def test_the_older_prefix_answers_alike(api: Any) -> None:
    assert (await api("POST", "/endpoints", GOOD, prefix="/v0")).status == 201
    assert (await api("GET", "/endpoints", prefix="/v0")).json["total"] == 1


async def test_nothing_is_registered_while_shutting_down(api: Any) -> None:
    api.house.close()
    await trio.testing.wait_all_tasks_blocked()
    answer = await api("POST", "/endpoints", GOOD)
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")


async def test_a_refusing_database_registers_nothing(api: Any) -> None:
    await api.store.close()
    answer = await api("POST", "/endpoints", GOOD)
    assert answer.status == 503
    assert (await api("GET", "/endpoints")).json["total"] == 0


async def test_a_survey_that_fails_is_no_answer_to_a_check(api: Any) -> None:
    api.surveyor.failures["http://gpu.lan:8000"] = ProbeFailed("the answer is not JSON")
    body = {"name": "gpu", "base_url": "http://gpu.lan:8000"}
    answer = await api("POST", "/endpoints?verify=true", body)
    assert answer.status == 502
    assert "the answer is not JSON" in answer.error["message"]
