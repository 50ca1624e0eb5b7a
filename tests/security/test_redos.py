"""Regular expressions that see foreign text: none takes more than its length."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import llmlb
from tests.sampling import some

LENGTH = 100_000

BOUND_S = 2.0
"""Of the processor's time. One that is linear takes some milliseconds, a square one minutes."""

NOT_FOREIGN = ("llmlb.demo", "llmlb.store.migrate")
"""What reads only files of our own."""

ALL = "search finditer"

USED: Mapping[str, str] = {
    "llmlb.actors.responses._ID": "fullmatch",
    "llmlb.endpoint_form._HEADER_NAME": "fullmatch",
    "llmlb.endpoint_form._HEADER_VALUE": "fullmatch",
    "llmlb.endpoint_form._KEY": "fullmatch",
    "llmlb.http.engines.capabilities._BY_NAME": "match",
    "llmlb.http.engines.capabilities._TEXT_ONLY": "match",
    "llmlb.http.holes._TO_ITS_END": "match",
    "llmlb.http.intake.reception._INFERENCE": "fullmatch",
    "llmlb.http.intake.taking_apart._BOUNDARY": "fullmatch",
    "llmlb.http.intake.taking_apart._CONTENT_TYPE": "fullmatch",
    "llmlb.http.members.TOKEN": "match all",
    "llmlb.http.members._BLANKS": "match",
    "llmlb.http.members._LITERAL": "match",
    "llmlb.http.openai.answer._PAGE": "match",
    "llmlb.http.openai.event_meter._NULL": "match",
    "llmlb.http.policy._CARRIED": "fullmatch",
    "llmlb.http.policy._FORWARDING": "fullmatch",
    "llmlb.http.policy._SANE_ID": "fullmatch",
    "llmlb.http.policy._SECONDS": "fullmatch",
    "llmlb.http.upstream.outgoing._NAME": "fullmatch",
    "llmlb.http.upstream.requests._PLAIN_PATH": "fullmatch",
    "llmlb.http.vision.checking._HEADER": "match",
    "llmlb.http.vision.part._ESCAPED_PIECE": "match all",
    "llmlb.store.older._BLANKS": "match",
    "llmlb.urls._HOST_NAME": "fullmatch",
    "llmlb.urls._SCHEME": "match",
}
"""How those are used that nobody looks for anywhere in a text. The others have to stand that."""


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every compiled expression of llmlb, by where it stands."""
    seen: set[int] = set()

    def within(value: object, name: str, depth: int) -> Iterator[tuple[str, re.Pattern[Any]]]:
        if isinstance(value, re.Pattern):
            if id(value) not in seen:
                seen.add(id(value))
                yield name, value
        elif depth < 5:
            for inner in parts_of(value):
                yield from within(inner, name, depth + 1)

    for module in pkgutil.walk_packages(llmlb.__path__, "llmlb."):
        if module.name.startswith(NOT_FOREIGN) or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            yield from within(value, f"{module.name}.{name}", 0)


def parts_of(value: object) -> list[Any]:
    if type(value) in (tuple, list, set, frozenset):
        return list(value)  # type: ignore[call-overload,no-any-return]
    if type(value) is dict:
        return list(value.values())
    if type(value).__module__.startswith("llmlb") and hasattr(value, "__dataclass_fields__"):
        return [getattr(value, name, None) for name in value.__dataclass_fields__]
    return []


PATTERNS = list(patterns())

UNITS = (
    "a", "0", "A", "-", "_", ".", "/", ":", ";", ",", "=", "+", " ", "\t", "\n", "\r", "\r\n",
    "\\", "\\\\", '"', "'", "`", "{", "}", "[", "]", "<", ">", "!", "?", "%", "\x00", "\xff",
    "a-", "-a", "a.", ".a", "a/", "a:", ":a", ";a", ";a=b", "a=b;", "aA0", " \t", "\t \n", "--",
    "\n\n\r", '""', '"a"', '"a":', '\\"', "\\u0041", "\\/", "\\u002f", "data:", "data:a;",
    ';base64,', '"url":"data:', '"type"', '"type":', '"type" : ', "event:", "\nevent:", '"usage"',
    '"usage":', '"usage" : ', '"error":', '"finish_reason":', "\r\n--", "-vl", "-v", "-tts",
    "tts", "whisper", "-asr", "-embed", "stable-", "llama-", "qwen2-", "http://", "a@", "hole-0-",
    "x-forwarded-", "&lt;", "<html", "Failed to parse ", "' is required", "'a' ", "id", "0.",
    ".0", "1e9",
)  # fmt: skip
"""Whatever is repeated; before and behind it stands something that does not fit."""


def texts(about: str) -> Iterator[str]:
    for unit in some(UNITS, about, every=3):
        whole = unit * (LENGTH // len(unit))
        yield f"{whole}\x01"
        yield f'"url":"data:{whole}!'
        yield f'{{"type"{whole}\n'


def use(pattern: re.Pattern[Any], way: str, text: Any) -> None:
    match way:
        case "match all":
            at, end = 0, len(text)
            while at < end and (found := pattern.match(text, at)) is not None and found.end() > at:
                at = found.end()
        case "finditer":
            for _ in pattern.finditer(text):
                pass
        case _:
            getattr(pattern, way)(text)


def test_there_are_expressions_and_all_that_are_named_are_there() -> None:
    assert len(PATTERNS) > 30
    assert USED.keys() <= {name for name, _ in PATTERNS}


@pytest.mark.parametrize(
    ("name", "pattern"), PATTERNS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(PATTERNS)]
)
def test_no_text_takes_an_expression_more_than_its_length(
    name: str, pattern: re.Pattern[Any]
) -> None:
    said = USED.get(name, ALL)
    ways = [said] if said == "match all" else said.split()
    for text in texts(name):
        given = text.encode("latin-1") if isinstance(pattern.pattern, bytes) else text
        for way in ways:
            began_s = time.process_time()
            use(pattern, way, given)
            took_s = time.process_time() - began_s
            assert took_s < BOUND_S, (way, text[:40], text[-10:], took_s)
