"""How the commands ask a running balancer: where it is, who asks, and what a refusal says."""

from __future__ import annotations

from typing import Any

import click
import httpx

from llmlb.errors import StartupError
from llmlb.http.logs.look import visible
from llmlb.settings import load_settings

ANSWER_LIMIT_S = 30.0


class Refused(click.ClickException):
    """The balancer answers, and says no."""

    exit_code = 1


class NoAnswer(click.ClickException):
    """There is no balancer there, or none that can be understood."""

    exit_code = 2


def get_json(url: str | None, api_key: str | None, path: str) -> Any:  # noqa: ANN401 - JSON
    """What `GET path` answers. Raises Refused, NoAnswer."""
    base = url or _own_url()
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    try:
        # An environment's proxy is no way to a server on this machine or in this house.
        with httpx.Client(base_url=base, timeout=ANSWER_LIMIT_S, trust_env=False) as client:
            answer = client.get(path, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswer(f"llmlb cannot be asked at {base}: {error}") from None
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise NoAnswer(f"What answers at {base} is no llmlb.")
    if answer.is_success:
        return told
    refusal = told.get("error")
    if not (isinstance(refusal, dict) and isinstance(refusal.get("message"), str)):
        raise NoAnswer(f"What answers at {base} is no llmlb (HTTP {answer.status_code}).")
    hint = " Give a key with --api-key or LLMLB_API_KEY." if answer.status_code == 401 else ""
    raise Refused(visible(refusal["message"]) + hint)


def _own_url() -> str:
    """Where the settings say that it listens."""
    try:
        settings = load_settings()
    except StartupError as error:
        raise NoAnswer(str(error)) from None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not bound  # nosec B104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
