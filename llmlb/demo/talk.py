"""What the demonstration says to the balancer over HTTP, as any client would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx

from llmlb.demo.stopping import DemoFailed

ENDPOINT_HEADER = "x-llmlb-endpoint"
MAX_SHOWN_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """What is known of a chat completion once it has been shown."""

    endpoint: str | None
    """The name of the endpoint that served it."""
    pieces: int
    finished: bool
    """The stream ended with `[DONE]`."""


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """What the table shows of an endpoint."""

    name: str
    base_url: str
    status: str
    engine: str | None
    latency_ms: float | None
    model_count: int | None
    max_concurrency: int | None


class Talk:
    """Asks the balancer; every failure is a DemoFailed with a sentence."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def is_up(self) -> bool:
        """Whether `/health` answers 200; nobody listening yet is a plain no."""
        try:
            return (await self._http.get("/health")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def register(self, name: str, base_url: str) -> None:
        """Register one endpoint."""
        await self._ask("POST", "/api/endpoints", {"name": name, "base_url": base_url})

    async def endpoints(self) -> list[EndpointRow]:
        """All registered endpoints, by name."""
        answer = await self._ask("GET", "/api/endpoints")
        try:
            rows = [_row(item) for item in answer["endpoints"]]
        except (KeyError, TypeError) as error:
            raise DemoFailed(f"GET /api/endpoints gave an unexpected answer ({error!r}).") from None
        return sorted(rows, key=lambda row: row.name)

    async def model_ids(self) -> list[str]:
        """The models that clients may ask for."""
        answer = await self._ask("GET", "/v1/models")
        try:
            return [item["id"] for item in answer["data"]]
        except (KeyError, TypeError) as error:
            raise DemoFailed(f"GET /v1/models gave an unexpected answer ({error!r}).") from None

    async def stream_chat(
        self, model: str, prompt: str, *, max_tokens: int, on_text: Callable[[str], None]
    ) -> StreamedAnswer:
        """Stream one chat completion, each piece of text given to *on_text* as it comes."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "stream": True,
        }
        pieces, finished = 0, False
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.is_error:
                    await response.aread()
                    _refused("POST /v1/chat/completions", response)
                async for line in response.aiter_lines():
                    if line == "data: [DONE]":
                        finished = True
                    elif text := text_of(line):
                        pieces += 1
                        on_text(text)
                return StreamedAnswer(response.headers.get(ENDPOINT_HEADER), pieces, finished)
        except httpx.HTTPError as error:
            raise DemoFailed(f"POST /v1/chat/completions failed: {error!r}.") from None

    async def _ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - foreign JSON
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DemoFailed(f"{method} {path} failed: {error!r}.") from None
        if response.is_error:
            _refused(f"{method} {path}", response)
        try:
            return response.json()
        except ValueError:
            raise DemoFailed(f"{method} {path} did not answer with JSON.") from None


def text_of(line: str) -> str:
    """The text in one line of an event stream; empty if it carries none.

    Raises DemoFailed if the line carries an error.
    """
    if not line.startswith("data:"):
        return ""
    try:
        event = json.loads(line.removeprefix("data:"))
    except ValueError:
        return ""
    if not isinstance(event, dict):
        return ""
    if "error" in event:
        raise DemoFailed(f"the stream broke off: {json.dumps(event['error'])}")
    try:
        text = event["choices"][0]["delta"]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    return text if isinstance(text, str) else ""


def _refused(what: str, response: httpx.Response) -> NoReturn:
    raise DemoFailed(
        f"{what} was answered {response.status_code}: {response.text[:MAX_SHOWN_CHARACTERS]}"
    )


def _row(item: dict[str, Any]) -> EndpointRow:
    return EndpointRow(
        name=item["name"],
        base_url=item["base_url"],
        status=item["status"],
        engine=item.get("engine"),
        latency_ms=item.get("latency_ms"),
        model_count=item.get("model_count"),
        max_concurrency=item.get("max_concurrency"),
    )
