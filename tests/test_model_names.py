"""Names that are known to mean the same model, whichever way they are asked."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.model_names import GROUPS, canonical, equivalents, twin

MEMBERS = [name for group in GROUPS for name in group]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[0])
def test_every_member_of_a_group_reaches_every_other(group: tuple[str, ...]) -> None:
    for one, other in permutations(group, 2):
        assert canonical(one) == canonical(other)
        assert other in equivalents(one)
        assert one not in equivalents(one)
        assert canonical(one.upper()) == canonical(other.lower())
        assert canonical(f"{one}:latest") == canonical(other)


def test_no_name_stands_in_two_groups_or_with_a_tag_that_is_read_into_it() -> None:
    assert [name for name, n in Counter(map(str.lower, MEMBERS)).items() if n > 1] == []
    assert not any(name.endswith(":latest") for name in MEMBERS)


def test_a_group_has_one_size() -> None:
    for group in GROUPS:
        sizes = {
            size.lower()
            for name in group
            for size in re.findall(
                r"(?<![a-z0-9.])(?:\d+x)?\d+(?:\.\d+)?b(?![a-z])", name, re.IGNORECASE
            )
        }
        assert len(sizes) <= 1, group


def test_no_base_model_and_no_quantisation_is_in_a_group() -> None:
    for name in MEMBERS:
        assert not re.search(r"base|-pt|q[2-8]_|awq|gptq|fp8|fp16|bf16|gguf", name.lower()), name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("llama3.1:8b", "llama3.1:70b"),
        ("llama3.1:8b", "llama3.1:8b-instruct-q8_0"),
        ("llama3.1:8b", "llama3.1:8b-text"),
        ("llama3.1:8b", "meta-llama/Llama-3.1-8B"),
        ("llama3.1:8b", "llama3:8b"),
        ("qwen3:8b", "Qwen/Qwen3-8B-Base"),
        ("qwen3:30b", "qwen3:latest"),
        ("gemma3:4b", "google/gemma-3-4b-pt"),
        ("deepseek-r1:8b", "deepseek-r1:7b"),
        ("Tiny", "tiny"),
        ("tiny", "tiny:8b"),
    ],
)
def test_what_is_not_the_same_is_not_taken_for_it(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@given(st.text(max_size=20) | st.sampled_from(MEMBERS))
def test_a_name_and_its_twin_mean_the_same(name: str) -> None:
    assert canonical(twin(name)) == canonical(name) or name.endswith(":latest:latest")
    assert twin(twin(name)) == name or name.endswith(":latest:latest")
    assert twin("m") == "m:latest"
    assert twin("m:latest") == "m"


@given(st.text(max_size=20))
def test_a_name_that_nobody_knows_means_itself(name: str) -> None:
    if canonical(name) not in MEMBERS:
        assert canonical(name) == name.removesuffix(":latest")
        assert equivalents(name) == ()
