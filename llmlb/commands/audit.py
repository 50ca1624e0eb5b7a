"""The `llmlb audit` commands: what can be asked of the audit log without the server."""

from __future__ import annotations

import json
import re
import sys

import click

from llmlb.audit import Link
from llmlb.audit_check import ChainCheck
from llmlb.errors import StartupError
from llmlb.settings import load_settings
from llmlb.store.audit_file import check_file

EXIT_WHOLE, EXIT_BROKEN, EXIT_CANNOT_READ = 0, 1, 2


class _NotedEntry(click.ParamType[Link]):
    """An entry as `llmlb audit verify` names the last one."""

    name = "number:hash"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Link:
        match = re.fullmatch("([0-9]{1,18}):([0-9a-f]{64})", value)
        if match is None:
            self.fail(f"{value!r} is not NUMBER:HASH, as 'llmlb audit verify' shows it", param, ctx)
        return Link(int(match[1]), match[2])


@click.group()
def audit() -> None:
    """Look after the audit log."""


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
@click.option(
    "--noted",
    type=_NotedEntry(),
    help="An entry that was the last one once: it has to be there still.",
)
def verify(*, as_json: bool, noted: Link | None) -> None:
    """Check that no audit entry was changed, removed or put in, also while llmlb runs.

    The exit code is 0 if the chain is whole, 1 if it is not, 2 if it cannot be read.
    """
    check = ChainCheck(noted)
    try:
        check_file(load_settings().database, check)
    except StartupError as error:
        click.echo(f"The audit log cannot be checked: {error}", err=True)
        sys.exit(EXIT_CANNOT_READ)
    found = check.result()
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        click.echo(found.message)
        if found.valid and found.head is not None:
            click.echo(f"The last entry, to be noted elsewhere: {found.head}")
    if found.valid and noted is not None and not check.met:
        click.echo(f"Entry {noted.sequence} was deleted for its age since it was noted.", err=True)
        sys.exit(EXIT_CANNOT_READ)
    sys.exit(EXIT_WHOLE if found.valid else EXIT_BROKEN)
