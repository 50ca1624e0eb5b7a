"""What of foreign records is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.store.redaction import redacted


def kept(value: object) -> Any:
    text = redacted(json.dumps(value))
    assert text is not None
    return json.loads(text)


@pytest.mark.parametrize(
    "name",
    ["api_key", "API-Key", "apiKey", "api_key_encrypted", "x-api-key", "openai_api_keys", "token",
     "auth_token", "Authorization", "password", "client_secret", "credentials", "extra_headers",
     "Set-Cookie"],
)  # fmt: skip
@pytest.mark.parametrize("secret", ["s3cret", ["s3cret"], {"a": "s3cret"}, 53])
def test_what_is_named_like_a_secret_is_hidden(name: str, secret: object) -> None:
    assert kept([{"a": {name: secret, "b": 1}}]) == [{"a": {name: "***", "b": 1}}]


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": None},
        {"max_tokens": 5, "input_tokens": 7, "api_key_id": "id", "key": "v"},
        "text",
        7,
    ],
)
def test_all_else_stays(value: object) -> None:
    assert kept(value) == value


def test_passwords_in_urls_are_hidden() -> None:
    said = kept({"base_url": "http://me:p@ss@host/v1", "notes": "see http://host/a@b, ask me@x"})
    assert said == {"base_url": "http://***@host/v1", "notes": "see http://host/a@b, ask me@x"}
    assert kept({"base_url": "me:my pass@host/v1"}) == {"base_url": "***@host/v1"}


@pytest.mark.parametrize("text", ["{", "", "[" * 200_000])
def test_what_cannot_be_read_is_not_kept(text: str) -> None:
    assert redacted(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_hiding_twice_changes_nothing(value: object) -> None:
    once = redacted(json.dumps(value))
    assert once is not None
    assert redacted(once) == once
