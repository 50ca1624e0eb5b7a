"""Asking one endpoint several small questions, none of which may fail the whole."""

from __future__ import annotations

from collections.abc import Mapping

from llmlb.errors import ProbeFailed
from llmlb.http.engines.foreign import NOTHING, JsonObject, mapping
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.fetch import Fetched, NoVerdict, fetch_json
from llmlb.types import Endpoint


class Inquiry:
    """Bounded questions to one endpoint, and whether one of them was left without a verdict."""

    def __init__(self, client: UpstreamClient, endpoint: Endpoint, timeout_s: float) -> None:
        self._client = client
        self._endpoint = endpoint
        self.timeout_s = timeout_s
        """Of each question."""
        self.unanswered = False
        """A question timed out, broke, or met a 5xx: silence is not a No."""

    async def fetch(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> Fetched:
        """One answer. Raises ProbeFailed."""
        return await fetch_json(
            self._client, self._endpoint, method, path, timeout_s=self.timeout_s, body=body
        )

    async def ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> JsonObject:
        """The object answered, or an empty one where there is none or it is an error."""
        try:
            answer = mapping((await self.fetch(method, path, body)).json)
        except NoVerdict:
            self.unanswered = True
            return NOTHING
        except ProbeFailed:
            return NOTHING
        # LM Studio answers 200 with an error to routes it does not have.
        return NOTHING if answer.get("error") else answer
