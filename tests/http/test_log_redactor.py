"""What counts as a secret in a text, and what does not."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from llmlb.catalog import Catalog
from llmlb.http.logs.redactor import Redactor, secrets_of
from llmlb.settings import Settings
from tests.fakes.upstream import make_endpoint

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"  # pragma: allowlist secret

SECRET = "Zq7" * 6
"""In every text below, and in none that is shown."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer ***"),
        (f"sent 'authorization': 'Basic {SECRET}'", "sent 'authorization': ***"),
        (f"bearer {SECRET}, and more", "bearer ***, and more"),
        (f'{{"api_key": "{SECRET}", "name": "desk"}}', '{"api_key": ***, "name": "desk"}'),
        (f"{{'x-api-key': '{SECRET} {SECRET}'}}", "{'x-api-key': ***}"),
        (rf"body={{\"password\": \"{SECRET}\"}}", r"body={\"password\": ***}"),
        (f"password={SECRET}&x=1", "password=***&x=1"),
        (f"/setup?token={SECRET}", "/setup?token=***"),
        (f"Cookie: llmlb_jwt={SECRET}; a=b", "Cookie: ***; a=b"),
        (f"set llmlb_csrf={SECRET}; Path=/", "set llmlb_csrf=***; Path=/"),
        (f"LLMLB_SECRET_KEY={SECRET}", "LLMLB_SECRET_KEY=***"),
        (f"[(b'x-api-key', b'{SECRET}'), (b'a', b'b')]", "[(b'x-api-key', ***), (b'a', b'b')]"),
        (f'["password", "{SECRET}"]', '["password", ***]'),
        (f"{{b'authorization': b'Token {SECRET}'}}", "{b'authorization': ***}"),
        (f"Authorization: Digest {SECRET}", "Authorization: Digest ***"),
        (f"passphrase={SECRET} private_key={SECRET}", "passphrase=*** private_key=***"),
        (f"postgres://me:{SECRET}@db/llmlb", "postgres://***@db/llmlb"),
        (f"the key sk_{SECRET}{SECRET} is", "the key *** is"),
        (f"the key sk-proj-{SECRET} is", "the key *** is"),
        (f"inv_{SECRET}{SECRET}"[:28], "***"),
        (f"{JWT[:-5]}{SECRET}", "***"),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END", "***-----END"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "The endpoint's answer did not end within 5 s.",
        "max_tokens: 4096 is more than the model has",
        "http://desk.lan:8000/v1/chat/completions?stream=true",
        "task-force sketch risk-taking",
        "HTTP 401: the endpoint refuses the key.",
        "a password that was changed",
        "the token, which has expired",
    ],
)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert Redactor().text(text) == text


def test_secrets_of_settings_and_endpoints_are_known_however_they_are_spelt() -> None:
    redactor = Redactor()
    redactor.learn(
        secrets_of(
            Settings(
                admin_password=SecretStr('pass"wörd of mine'),
                secret_key=SecretStr("first one, second one"),
                database_url="postgres://me:third-one@db/x",
            )
        )
    )
    before = make_endpoint(api_key="key-of-before", extra_headers=(("x", "1"), ("y", "header one")))
    now = make_endpoint(api_key="key-of-before-and-now")
    for endpoint in (before, now):
        redactor.catalog = lambda e=endpoint: Catalog.of({e.id: e})  # type: ignore[misc]
        redactor.text("a request that may still be under way with it")

    for text in (
        'pass"wörd of mine', r"pass\"w\u00f6rd of mine", "pass%22w%C3%B6rd%20of%20mine",
        "first one", "second one", "third-one", "header one", "header%20one",
        "key-of-before", "key-of-before-and-now",
    ):  # fmt: skip
        assert redactor.text(f"<{text}>") == "<***>"
    assert redactor.text("1 of 21") == "1 of 21", "a header's value that is none"


def test_what_lets_us_in_at_a_collector_of_traces_is_known() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "team=key%20one,x-team: key-two",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "key-three",
    }
    redactor = Redactor()
    redactor.learn(secrets_of(Settings(), environ))
    for text in ("key%20one", "key one", "key-two", "key-three"):
        assert redactor.text(f"Header format invalid! {text}") == "Header format invalid! ***"


ANYTHING = st.text(st.sampled_from("ab1_- \"'\\/:=@.;,&\n{}[]é"), max_size=30)


@given(ANYTHING, ANYTHING, st.sampled_from(["sk_" + SECRET[:16] * 2, "known secret", JWT]))
def test_a_secret_is_hidden_whatever_stands_around_it(before: str, after: str, secret: str) -> None:
    redactor = Redactor()
    redactor.learn(["known secret", "known"])
    for text in (f"{before}{secret}{after}", repr(f"{before}\n{secret}{after}")):
        assert secret not in redactor.text(text)
        assert secret not in json.dumps(redactor.entry({"event": [{text: text}]})[0])


@pytest.mark.parametrize(
    "piece", ["token=", "://a", "bearer ", "secret:'", 'secret:"', "sk-", "eyJaaaaaaaa.", "secret "]
)
def test_no_text_takes_long_to_judge(piece: str) -> None:
    text = piece * (16_000 // len(piece))
    began = time.thread_time()
    Redactor().text(text)
    assert time.thread_time() - began < 0.5, "it is a hundredth of that"


def test_half_a_secret_is_not_shown_where_a_long_text_was_cut() -> None:
    redactor = Redactor()
    redactor.learn([SECRET])
    for length in range(len(SECRET) + 1):  # wherever the cut is
        entry, _ = redactor.entry({"reason": "." * length + f"{SECRET} " * 2000})
        assert "Zq7" not in str(entry)

    assert "reason" in entry
