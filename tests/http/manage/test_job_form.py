"""What may be said of downloads and benchmarks, and what may not."""

from __future__ import annotations

import json

import pytest

from llmlb.errors import InvalidRequest
from llmlb.http.manage.body import parse_body
from llmlb.http.manage.job_form import BenchmarkForm, DeletionForm, DownloadForm
from llmlb.jobs import BenchmarkPlan
from llmlb.types import Api


def test_a_plan_has_the_defaults_of_the_older_product() -> None:
    plan = parse_body(BenchmarkForm, b'{"model": " tiny "}').plan()
    assert plan == BenchmarkPlan("tiny", Api.CHAT_COMPLETIONS, 20, 4, 128, 0.2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("model", None),
        ("api_kind", "embeddings"),
        ("total_requests", 0),
        ("total_requests", 501),
        ("total_requests", 1.5),
        ("concurrency", 0),
        ("concurrency", 65),
        ("max_tokens", 0),
        ("max_tokens", 4097),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", True),
        ("prompt", "x"),
    ],
)
def test_a_plan_has_bounds(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_body(BenchmarkForm, json.dumps({"model": "m", field: value}).encode())
    assert caught.value.param == field


@pytest.mark.parametrize("form", [DownloadForm, DeletionForm])
@pytest.mark.parametrize("model", [" ", "a\nb", "x" * 501, "\u202e", 5])
def test_a_model_has_a_name(form: type[DownloadForm | DeletionForm], model: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_body(form, json.dumps({"model": model}).encode())
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hf_repo", "../../etc"),
        ("hf_repo", "owner"),
        ("hf_repo", "owner/name?x"),
        ("quantization", "Q4 K"),
        ("quantization", ""),
    ],
)
def test_a_repository_and_a_quantization_are_no_paths(field: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_body(DownloadForm, json.dumps({"model": "m", field: value}).encode())
    assert caught.value.param == field
