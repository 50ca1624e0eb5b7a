"""How operators write down which names stand for others, and what is wrong with what they wrote."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

NameTable = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of a name and the names it stands for, in order."""

MOST_ENTRIES = 1_000
MOST_ALTERNATIVES = 32
"""Names that one name can stand for."""
NAME_CHARS = 256
SHOWN_CHARS = 100
"""Of what is wrong, in the sentence about it."""


def checked_name(text: str) -> str:
    """*text* without blanks around it. Raises ValueError if no model can be called that."""
    name = text.strip()
    if not name:
        raise ValueError("may not hold a blank name")
    if len(name) > NAME_CHARS:
        raise ValueError(f"may not hold a name of more than {NAME_CHARS} characters")
    if not name.isprintable():
        raise ValueError("may not hold a name with control characters or line breaks")
    return name


def parse_table(given: object) -> NameTable:
    """A table from `fast=llama3.1:8b, big=a|b`, from the same as a JSON object, or from a mapping.

    A value is one name or a list of them. Raises ValueError, which says what is wrong.
    """
    if isinstance(given, str):
        pairs = _from_json(given) if given.lstrip().startswith("{") else _from_short_form(given)
    elif isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        raise ValueError("must be an object of names")  # noqa: TRY004 - pydantic asks for it
    if len(pairs) > MOST_ENTRIES:
        raise ValueError(f"may not hold more than {MOST_ENTRIES} entries")
    table: dict[str, tuple[str, ...]] = {}
    for key, value in pairs:
        name = checked_name(str(key))
        if name in table:
            raise ValueError(f"names '{name}' twice")
        table[name] = _alternatives(name, value)
    return tuple(table.items())


def parse_fallbacks(given: object) -> NameTable:
    """A table of fallbacks. Raises ValueError like `parse_table`, and for what goes in circles."""
    table = parse_table(given)
    try:
        TopologicalSorter(dict(table)).prepare()
    except CycleError as error:
        # graphlib goes from what is needed to who needs it, so the other way round
        circle = " → ".join(f"'{name}'" for name in reversed(error.args[1]))
        raise ValueError(f"goes in circles: {circle}") from None
    return table


def fallback_chain(model: str, fallbacks: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What to try instead of *model*, in order: its own fallbacks, then theirs, each once."""
    found: dict[str, None] = {}
    ahead = deque(fallbacks.get(model, ()))
    while ahead:
        name = ahead.popleft()
        if name not in found:
            found[name] = None
            ahead.extend(fallbacks.get(name, ()))
    return tuple(found)


def _from_json(text: str) -> list[tuple[str, object]]:
    # As pairs, for a JSON object may say one name twice.
    outermost: list[tuple[str, object]] = []

    def keep(pairs: list[tuple[str, object]]) -> dict[str, object]:
        outermost[:] = pairs  # the outermost object ends last
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=keep)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep, or too long"
        raise ValueError(f"is not JSON: {reason}") from None
    return outermost


def _from_short_form(text: str) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for entry in text.split(","):
        if not entry.strip():
            continue
        name, equals, alternatives = entry.partition("=")
        if not equals:
            shown = entry.strip()[:SHOWN_CHARS]
            raise ValueError(f"'{shown}' lacks a '=': write alias=model, other=model|model")
        pairs.append((name, alternatives.split("|")))
    return pairs


def _alternatives(name: str, value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(n, str) for n in listed):
        raise ValueError(f"must give '{name}' a name or a list of names")
    names = tuple(dict.fromkeys(checked_name(n) for n in listed))
    if not names:
        raise ValueError(f"must give '{name}' at least one name")
    if len(names) > MOST_ALTERNATIVES:
        raise ValueError(f"may not give '{name}' more than {MOST_ALTERNATIVES} names")
    if name in names:
        raise ValueError(f"lets '{name}' stand for itself")
    return names
