"""`llmlb secrets`: what is done about the keys that encrypt the secrets of endpoints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import click

from llmlb.errors import StartupError
from llmlb.settings import load_settings

if TYPE_CHECKING:
    from llmlb.store.secret_upkeep import Upkeep

EXIT_FAILED = 1


@click.group()
def secrets() -> None:
    """Keys that encrypt the secrets of endpoints; for while the server is stopped."""


@secrets.command()
def rotate() -> None:
    """Encrypt everything with a new key, or with the first one of LLMLB_SECRET_KEY."""
    with _refusals_told(), _upkeep() as upkeep:
        _say(upkeep.rotate())


@secrets.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def forget(*, yes: bool) -> None:
    """Give up the secrets that no key can decrypt, so that the server starts again."""
    with _refusals_told(), _upkeep() as upkeep:
        lost = upkeep.unreadable()
        if not lost:
            _say("All secrets can be decrypted: there is nothing to forget.")
            return
        for endpoint in lost:
            _say(f"The {endpoint.lost} of the endpoint '{endpoint.name}' cannot be decrypted.")
        if not yes and not click.confirm("Forget them for good?", err=True):
            _say("Nothing was forgotten.")
            sys.exit(EXIT_FAILED)
        upkeep.forget(lost)
        _say("They are forgotten: start the server and enter them again.")


def _upkeep() -> AbstractContextManager[Upkeep]:
    from llmlb.store.secret_upkeep import secrets_of  # noqa: PLC0415 - not needed for --help

    settings = load_settings()
    return secrets_of(
        settings.database, data_dir=settings.data_path, secret_key=settings.secret_key
    )


@contextmanager
def _refusals_told() -> Iterator[None]:
    try:
        yield
    except StartupError as error:
        _say(str(error))
        sys.exit(EXIT_FAILED)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)
