"""Routes of the older product that answer 501 until they are built."""

from __future__ import annotations

import pytest
from quart_trio import QuartTrio

from llmlb.http.access.needs import NEEDS
from llmlb.http.hooks import install_hooks
from llmlb.http.manage.later import METHODS, not_built_yet
from tests.fakes.gates import gate_without_users

LOCAL = {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}


@pytest.mark.parametrize("prefix", ["/api", "/v0"])
@pytest.mark.parametrize(
    "route", ["/models", "/models/hub", "/models/registry/a/b", "/catalog/search", "/metrics/cloud"]
)
async def test_what_is_not_built_yet_says_so(prefix: str, route: str) -> None:
    app = QuartTrio("test")
    install_hooks(app, gate_without_users, "this-instance")
    app.register_blueprint(not_built_yet(), url_prefix=prefix)
    answer = await app.test_client().get(prefix + route, scope_base=LOCAL)
    assert answer.status_code == 501
    assert (await answer.get_json())["error"]["code"] == "not_implemented"


def test_each_of_them_is_closed_like_any_other_route() -> None:
    for method in METHODS:
        assert NEEDS[f"{method} /api/models"].key is not None
