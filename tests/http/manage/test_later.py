"""Routes of the older product that answer 501 until they are built."""

from __future__ import annotations

import pytest

from llmlb.http.application import create_app
from llmlb.settings import Settings

LOCAL = {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}


@pytest.mark.parametrize("prefix", ["/api", "/v0"])
@pytest.mark.parametrize(
    "route", ["/models", "/models/hub", "/models/registry/a/b", "/catalog/search", "/metrics/cloud"]
)
async def test_what_is_not_built_yet_says_so(prefix: str, route: str) -> None:
    client = create_app(Settings()).test_client()
    answer = await client.get(prefix + route, scope_base=LOCAL)
    assert answer.status_code == 501
    assert (await answer.get_json())["error"]["code"] == "not_implemented"
