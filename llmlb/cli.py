"""The `llmlb` command."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from llmlb import __version__
from llmlb.commands.audit import audit
from llmlb.commands.explain import explain
from llmlb.commands.secrets import secrets
from llmlb.errors import StartupError
from llmlb.settings import load_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llmlb")
def main() -> None:
    """One OpenAI-compatible address in front of your own inference servers."""


main.add_command(audit)
main.add_command(explain)
main.add_command(secrets)


@main.command()
@click.option("-H", "--host", help="Address to listen on (LLMLB_HOST, default 127.0.0.1).")
@click.option("-p", "--port", type=int, help="Port to listen on (LLMLB_PORT, default 32768).")
def serve(host: str | None, port: int | None) -> None:
    """Run the balancer until Ctrl-C or SIGTERM; running requests are finished first."""
    from llmlb.http import hosting  # noqa: PLC0415 - the other commands start without a server

    try:
        settings = load_settings(host=host, port=port)
    except StartupError as error:
        click.echo(f"llmlb cannot start: {error}", err=True)
        sys.exit(hosting.EXIT_CANNOT_START)
    # hosting receives signals from its first moment to its last; what comes after that must
    # not kill a process that has done all it had to do.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(hosting.run(settings))


@main.command()
@click.option(
    "-p", "--port", type=int, default=32768, show_default=True, help="Port of the balancer."
)
@click.option("--once", is_flag=True, help="End after the first answer.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where its files go.",
)
def demo(port: int, *, once: bool, directory: Path) -> None:
    """Run two real llama.cpp servers with tiny models behind a balancer, until Ctrl-C."""
    from llmlb.demo.command import run_demo  # noqa: PLC0415 - `serve` does without it

    sys.exit(run_demo(port=port, once=once, directory=directory))
