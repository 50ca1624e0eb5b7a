"""How an older installation's files get into the database: each once, whatever happens."""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog

from llmlb.store.database import transaction
from llmlb.store.files import keep_from_others
from llmlb.store.import_apply import Apply, apply_endpoints, apply_history
from llmlb.store.import_json import endpoint_from, endpoint_from_node
from llmlb.store.import_report import Report, imported_before
from llmlb.store.import_rust import endpoint_from_rust, read_rust
from llmlb.store.import_rust_accounts import apply_accounts, read_rust_accounts
from llmlb.store.older import Unimportable, json_values
from llmlb.store.secret_box import SecretBox

log = structlog.get_logger()

LARGEST_FILE_BYTES = 256 * 1024 * 1024
RUST_DATABASE = "load balancer.db"
_MIGRATED = ".migrated"
"""Ends, perhaps but for a number, the name of a file that was imported."""

JSON_FILES: dict[str, Apply] = {
    "endpoints.json": apply_endpoints(endpoint_from),
    "nodes.json": apply_endpoints(endpoint_from_node),
    "agents.json": apply_endpoints(endpoint_from_node),
    "request_history.json": apply_history,
}
"""In the order of import: of two endpoints with one URL, the first wins."""


def import_older(
    connection: sqlite3.Connection,
    directory: Path,
    box: SecretBox,
    now: Callable[[], datetime],
) -> None:
    """Import what is in *directory*. A file that cannot be imported is logged and left alone.

    Raises sqlite3.Error if our own database refuses.
    """
    # The Rust database is what an older installation ran on last, so it comes first.
    rust = directory / RUST_DATABASE
    said = _attempt(_import_rust, connection, rust, box, now())
    _attempt(_import_rust_accounts, connection, rust, box, now(), said=said)
    for name in JSON_FILES:
        _attempt(_import_json, connection, directory / name, box, now())
        for imported in directory.glob(f"{name}{_MIGRATED}*"):  # also those of older versions
            keep_from_others(imported)  # keys of endpoints stand in them as they are


def _attempt(
    work: Callable[[sqlite3.Connection, Path, SecretBox, datetime], Report | None],
    connection: sqlite3.Connection,
    path: Path,
    box: SecretBox,
    now: datetime,
    *,
    said: str | None = None,
) -> str | None:
    """Do *work*; why it could not be done. What has been *said* of the file is not said again."""
    try:
        report = work(connection, path, box, now)
    except (Unimportable, OSError) as error:
        reason = str(error)
        if reason != said:
            log.error(  # noqa: TRY400 - a sentence for people, no traceback
                "an older file was not imported",
                file=str(path),
                reason=reason,
                remedy="correct it or move it away, then start again",
            )
        return reason
    if report is not None:
        log.info(
            "imported an older file",
            file=str(path.with_name(report.file_name)),
            first_problem=report.first_problem,
            **{fate.value: count for fate, count in report.fates.items()},
        )
    return None


def _import_json(
    connection: sqlite3.Connection, path: Path, box: SecretBox, now: datetime
) -> Report | None:
    content = _read(path)
    if content is None:
        return None
    sha256 = hashlib.sha256(content).hexdigest()
    report = None
    with transaction(connection) as statements:
        if not imported_before(statements, path.name, sha256):
            report = Report(statements, path.name, sha256, now)
            values = json_values(_text(content))
            JSON_FILES[path.name](statements, report, box, values, now)
            report.refuse_if_nothing_readable()
    # After a crash just here, the next start finds the file's sum and only renames it.
    _set_aside(path)
    return report


def _import_rust(
    connection: sqlite3.Connection, path: Path, box: SecretBox, now: datetime
) -> Report | None:
    if not path.is_file():
        return None
    with transaction(connection) as statements:
        if imported_before(statements, path.name):
            return None
        records = read_rust(path)
        report = Report(statements, path.name, _sha256(path), now)
        apply_endpoints(endpoint_from_rust)(statements, report, box, records, now)
        report.refuse_if_nothing_readable()
    return report


def _import_rust_accounts(
    connection: sqlite3.Connection, path: Path, _: SecretBox, now: datetime
) -> Report | None:
    """On its own: who has imported the endpoints before there were accounts has them still."""
    if not path.is_file():
        return None
    name = f"{path.name} (accounts)"
    with transaction(connection) as statements:
        if imported_before(statements, name):
            return None
        records = read_rust_accounts(path)
        report = Report(statements, name, _sha256(path), now)
        apply_accounts(statements, report, records, now)
        report.refuse_if_nothing_readable()
    return report if report.fates else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> bytes | None:
    """The whole file, if there is one of a size that can be held in memory."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        raise Unimportable("it is not a file")
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        mib = LARGEST_FILE_BYTES // 1024**2
        raise Unimportable(f"it is larger than {mib} MiB; split it and import part by part")
    return content


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unimportable(f"it is not UTF-8: {error}") from None


def _set_aside(path: Path) -> None:
    """Rename an imported file to the first free `.migrated` name; it is the user's backup."""
    target = path.with_name(f"{path.name}{_MIGRATED}")
    for number in itertools.count(1):
        if not os.path.lexists(target):
            break
        target = path.with_name(f"{path.name}{_MIGRATED}.{number}")
    try:
        path.rename(target)
    except OSError as error:
        # harmless: its sum is in the database, so it is not imported again
        log.warning("an imported file cannot be renamed", file=str(path), reason=str(error))
