"""What thousands of applications of tests would each do anew, done once for all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from unittest.mock import patch

from werkzeug.routing import Rule

from llmlb.store import connection as store_connection
from llmlb.store.migrate import Migration, migrate

_builders: dict[object, Any] = {}
_taken_apart: dict[object, dict[str, Any]] = {}
_compile_builder, _compile = Rule._compile_builder, Rule.compile
_OF_PARTS = ("_parts", "_trace", "_converters", "arguments")


def _compile_builder_once(rule: Rule, append_unknown: bool = True) -> Any:
    """What builds URLs of a rule, compiled once for all applications that have the rule."""
    key = (tuple(rule._trace), append_unknown, repr(rule.defaults))
    if key not in _builders:
        _builders[key] = _compile_builder(rule, append_unknown)
    return _builders[key]


def _compile_once(rule: Rule) -> None:
    """The parts of a rule, found once for all applications that have the rule."""
    key = (rule.rule, rule.subdomain, rule.merge_slashes, repr(rule.defaults))
    if key not in _taken_apart:
        _compile(rule)
        _taken_apart[key] = {name: getattr(rule, name) for name in _OF_PARTS}
        return
    for name, part in _taken_apart[key].items():
        setattr(rule, name, part.copy())
    for name, unknown in (("_build", False), ("_build_unknown", True)):
        setattr(rule, name, rule._compile_builder(unknown).__get__(rule, None))


_migrated: dict[object, bytes] = {}


def _migrate_once(
    connection: sqlite3.Connection, migrations: Sequence[Migration], *, file: str, now: datetime
) -> None:
    """Give databases in memory the schema that the first of them was brought to."""
    if file != "in memory":
        migrate(connection, migrations, file=file, now=now)
        return
    key = tuple(migration.checksum for migration in migrations)
    if key in _migrated:
        connection.deserialize(_migrated[key])
    else:
        migrate(connection, migrations, file=file, now=now)
        _migrated[key] = connection.serialize()


def for_all_applications() -> None:
    """From now on. Their routes and their schema took most of the time of a test."""
    patch.object(Rule, "_compile_builder", _compile_builder_once).start()
    patch.object(Rule, "compile", _compile_once).start()
    patch.object(store_connection, "migrate", _migrate_once).start()
