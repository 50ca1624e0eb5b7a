"""`llmlb explain`: why a request went where it went, and what took its time, readably."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmlb.commands.asking import get_json
from llmlb.http.logs.look import visible

JsonObject = dict[str, Any]

SHORTEST_WAIT_MS = 1.0
"""What is shorter is the time that it takes to be answered."""


@click.command()
@click.argument("request_id")
@click.option("--url", help="Address of the balancer (default: as in the settings).")
@click.option("--api-key", envvar="LLMLB_API_KEY", help="A key that may read endpoints.")
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
def explain(request_id: str, *, url: str | None, api_key: str | None, as_json: bool) -> None:
    """Say why the request REQUEST_ID went to that endpoint, and what took its time.

    The id is the x-request-id of its answer. The exit code is 1 if it is not known, 2 if the
    balancer cannot be asked.
    """
    told = get_json(url, api_key, f"/api/requests/{quote(request_id, safe='')}/decision")
    if as_json:
        click.echo(json.dumps(told, indent=2))  # in ASCII: names may hold what steers a terminal
    else:
        show(told, Console())


def show(told: JsonObject, console: Console) -> None:
    """Print what `GET /api/requests/{id}/decision` told."""
    kind = ", streamed" if told["stream"] else ""
    _say(console, f"{told['path']} for '{told['model']}'{kind}, at {told['arrived_at']}", "bold")
    _say(console, _end(told))
    for number, decision in enumerate(told["decisions"], 1):
        console.print()
        given_to = _name(decision, decision["endpoint_id"])
        said = decision["answer"] if given_to is None else f"given to '{given_to}'"
        waited_ms = decision["waited_ms"]
        waited = f" after {_time(waited_ms)} in line" if waited_ms >= SHORTEST_WAIT_MS else ""
        _say(console, f"{number}. At {_time(decision['at_ms'])}: {said}{waited}", "bold")
        _say(console, decision["why"])
        if "on_arrival" in decision:
            _candidates(console, "When it came", decision["on_arrival"], None)
        _candidates(console, "When it was decided", decision, decision["endpoint_id"])
    if told["attempts"]:
        console.print()
        _attempts(console, told["attempts"])


def _end(told: JsonObject) -> str:
    by = f" by '{told['endpoint_name']}'" if told["endpoint_name"] else ""
    what = {
        "succeeded": f"Answered{by}",
        "failed": "Failed",
        "refused": "Refused",
        "cancelled": "The client left",
    }[told["outcome"]]
    parts = [f"{what} after {_time(told['duration_ms'])}, status {told['status']}"]
    if told["waited_ms"] >= SHORTEST_WAIT_MS:
        parts.append(f"{_time(told['waited_ms'])} of it in line")
    if told["time_to_first_token_ms"] is not None:
        parts.append(f"first token {_time(told['time_to_first_token_ms'])} after it was asked")
    error = f" {told['error_code']}: {told['error_message']}" if told["error_code"] else ""
    return f"{', '.join(parts)}.{error}"


def _candidates(console: Console, title: str, view: JsonObject, chosen: str | None) -> None:
    table = _table(title, "endpoint", "latency", "in flight", "")
    for one in view["candidates"]:
        note = "chosen" if one["endpoint_id"] == chosen else one["excluded"] or "could"
        latency = "not measured" if one["latency_ms"] is None else _time(one["latency_ms"])
        table.add_row(_text(one["name"]), latency, f"{one['in_flight']} of {one['capacity']}", note)
    if view.get("omitted"):
        table.caption = f"and {view['omitted']} more"
    console.print(table)


def _attempts(console: Console, attempts: list[JsonObject]) -> None:
    table = _table("Attempts", "endpoint", "model", "at", "first token", "took", "outcome")
    for one in attempts:
        status = "" if one["status"] is None else f" with {one['status']}"
        reason = f": {one['reason']}" if one["reason"] else ""
        table.add_row(
            _text(one["endpoint_name"]),
            _text(one["model"]),
            _time(one["at_ms"]),
            "–" if one["time_to_first_token_ms"] is None else _time(one["time_to_first_token_ms"]),
            _time(one["duration_ms"]),
            _text(f"{one['outcome']}{status}{reason}"),
        )
    console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="italic", box=None)
    for column in columns:
        table.add_column(column, header_style="dim", overflow="fold")
    return table


def _name(decision: JsonObject, endpoint_id: str | None) -> str | None:
    """What the endpoint of that id is called among the candidates."""
    names = (c["name"] for c in decision["candidates"] if c["endpoint_id"] == endpoint_id)
    return next(names, endpoint_id)


def _time(duration_ms: float) -> str:
    return f"{duration_ms:.0f} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.2f} s"


def _say(console: Console, sentence: str, style: str = "") -> None:
    console.print(_text(sentence, style), soft_wrap=True)


def _text(said: str, style: str = "") -> Text:
    """*said* as no markup of rich's, whatever brackets are in it, and with nothing that steers."""
    return Text(visible(said), style=style)
