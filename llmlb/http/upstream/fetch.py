"""One bounded question to an endpoint: its JSON, or for people why there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urljoin

import trio

from llmlb.errors import ProbeFailed
from llmlb.http.upstream.client import UpstreamClient, UpstreamResponse
from llmlb.http.upstream.faults import UpstreamFault
from llmlb.http.upstream.quoting import without_secrets
from llmlb.types import Endpoint

MIB = 1024 * 1024
EXCERPT_BYTES = 16 * 1024
"""How much of an error's body is read for the sake of its message."""
EXCERPT_WITHIN_S = 1.0
MESSAGE_CHARS = 200


class Fetched(NamedTuple):
    """A 2xx answer with a JSON body."""

    status: int
    headers: Mapping[str, str]
    json: object


class NoSuchRoute(ProbeFailed):
    """The endpoint does not know what it was asked for, or not by this method."""


class NoVerdict(ProbeFailed):
    """The answer broke off, or was a 5xx: what the endpoint would have said is not known."""


class NoAnswer(NoVerdict):
    """Not even the head of an answer came."""

    answered = False


async def fetch_json(
    client: UpstreamClient,
    endpoint: Endpoint,
    method: str,
    path: str,
    *,
    timeout_s: float,
    limit_bytes: int = 4 * MIB,
    body: Mapping[str, object] | None = None,
) -> Fetched:
    """Ask *endpoint* for one JSON document, within *timeout_s* from connecting to the last byte.

    Raises ProbeFailed, whose text is one sentence for people and holds no secret of the endpoint.
    """
    try:
        return await _ask(
            client, endpoint, method, path, timeout_s=timeout_s, limit_bytes=limit_bytes, body=body
        )
    except ProbeFailed as failure:
        # Bodies, messages and redirects are foreign text, and may repeat what we sent.
        raise type(failure)(without_secrets(str(failure), endpoint)) from None


async def _ask(
    client: UpstreamClient,
    endpoint: Endpoint,
    method: str,
    path: str,
    *,
    timeout_s: float,
    limit_bytes: int,
    body: Mapping[str, object] | None,
) -> Fetched:
    sent = None if body is None else json.dumps(body).encode()
    headers = [("accept", "application/json")]
    if sent is not None:
        headers.append(("content-type", "application/json"))
    answering = False
    try:
        with trio.fail_after(timeout_s):
            async with client.call(endpoint, method, path, headers=headers, body=sent) as response:
                answering = True
                if not 200 <= response.status < 300:
                    raise await refusal_of_probe(response, endpoint, path)
                raw = await _read(response, limit_bytes)
                return Fetched(response.status, response.headers, _parsed(raw, response))
    except trio.TooSlowError:
        if answering:
            raise NoVerdict(f"The answer did not end within {timeout_s:g} s.") from None
        raise NoAnswer(f"No answer within {timeout_s:g} s.") from None
    except UpstreamFault as fault:
        raise (NoVerdict if answering else NoAnswer)(str(fault)) from None


async def _read(response: UpstreamResponse, limit_bytes: int) -> bytes:
    received = bytearray()
    async for chunk in response.chunks():
        received += chunk
        if len(received) > limit_bytes:
            raise ProbeFailed(f"The answer is larger than {_size(limit_bytes)}.")
    return bytes(received)


def _parsed(raw: bytes, response: UpstreamResponse) -> object:
    if not raw.strip():
        raise ProbeFailed("The answer is empty.")
    content_type = response.headers.get("content-type", "").lower()
    if "html" in content_type or raw.lstrip().startswith(b"<"):
        raise ProbeFailed("The endpoint answers with a web page instead of JSON.")
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated") or not error.doc[error.pos :].strip():
            raise ProbeFailed("The answer is half a JSON document.") from None
        raise ProbeFailed("The answer is not JSON.") from None
    except (ValueError, RecursionError):  # not UTF-8, a number of 5,000 digits, nested too deeply
        raise ProbeFailed("The answer is not JSON that can be read.") from None


async def refusal_of_probe(
    response: UpstreamResponse, endpoint: Endpoint, path: str
) -> ProbeFailed:
    """What *response*, which is no 2xx, says, in one sentence; takes a second at most."""
    status = response.status
    if 300 <= status < 400:
        target = _redirect_target(response, endpoint, path)
        if target is None:
            return ProbeFailed(f"HTTP {status}: a redirect to nowhere.")
        return ProbeFailed(f"The endpoint answers with a redirect: register {target} instead.")
    if status == 401:
        return ProbeFailed(
            "HTTP 401: the endpoint refuses the key."
            if endpoint.api_key is not None or _has_own_authorization(endpoint)
            else "HTTP 401: the endpoint wants a key."
        )
    unknown = NoSuchRoute if status in (404, 405) else ProbeFailed
    kind = NoVerdict if status >= 500 else unknown
    message = await _message(response, endpoint)
    return kind(f"HTTP {status}: {message}" if message else f"HTTP {status}.")


def _has_own_authorization(endpoint: Endpoint) -> bool:
    return any(name.lower() == "authorization" for name, _ in endpoint.extra_headers)


def _redirect_target(response: UpstreamResponse, endpoint: Endpoint, path: str) -> str | None:
    location = response.headers.get("location", "")
    if not location.isprintable():
        return None
    try:
        target = urljoin(endpoint.base_url + path, location)
    except ValueError:  # a bracket where an IPv6 address should be
        return None
    target = target.removesuffix("/").removesuffix(path)
    # Here and below before the text is cut, for half a secret would not be known as one.
    return without_secrets(target, endpoint)[:MESSAGE_CHARS] if location and target else None


async def _message(response: UpstreamResponse, endpoint: Endpoint) -> str:
    """What the endpoint says went wrong, if it says so soon and briefly."""
    received = bytearray()
    with trio.move_on_after(EXCERPT_WITHIN_S):
        try:
            async for chunk in response.chunks():
                received += chunk
                if len(received) > EXCERPT_BYTES:
                    return ""
        except UpstreamFault:
            return ""  # the status says enough
    try:
        said = json.loads(bytes(received))
    except (ValueError, RecursionError):
        return ""
    while isinstance(said, dict):  # {"error": {"message": …}}, {"error": …}, {"message": …}
        said = said.get("error") or said.get("message") or said.get("detail")
    return one_line(without_secrets(said, endpoint)) if isinstance(said, str) else ""


def one_line(text: str) -> str:
    """*text* as it can stand in a sentence: printable, on one line, and not long."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * MESSAGE_CHARS])
    line = re.sub(r"\s+", " ", printable).strip()
    return line if len(line) <= MESSAGE_CHARS else line[: MESSAGE_CHARS - 1] + "…"


def _size(size_bytes: int) -> str:
    return f"{size_bytes // MIB} MiB" if size_bytes >= MIB else f"{size_bytes} bytes"
