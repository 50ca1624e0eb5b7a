"""Where the balancer itself listens, no endpoint can be registered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmlb.addresses import Address
from llmlb.http.upstream.listener import Listener
from tests.fakes.house import url
from tests.fakes.served import Served


def ours(address: Address) -> bool:
    return str(address) in {"127.0.0.1", "::1", "192.168.1.5"}


async def put(served: Served, method: str, path: str, **body: Any) -> Any:
    return await served(method, f"/api/endpoints{path}", json.dumps(body).encode())


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "192.168.1.5", "[::ffff:127.0.0.1]"])
async def test_a_url_that_leads_to_ourselves_is_refused(served: Served, host: str) -> None:
    served.app.listener = Listener("0.0.0.0", 32768, ours)
    endpoint = await served.scene.endpoint("a")
    own = f"http://{host}:32768/v1"
    for reply in (
        await put(served, "POST", "", name="b", base_url=own),
        await put(served, "PUT", f"/{endpoint.id}", base_url=own),
    ):
        assert (reply.status, reply.error["code"]) == (400, "invalid_value")
        assert reply.error["param"] == "base_url"
        assert "llmlb itself is there." in reply.error["message"]
    assert served.scene.known("a").base_url == url("a")


async def test_another_port_and_another_field_are_none_of_our_business(served: Served) -> None:
    served.app.listener = Listener("0.0.0.0", 32768, ours)
    reply = await put(served, "POST", "", name="b", base_url="http://127.0.0.1:11434")
    assert reply.status == 201
    reply = await put(served, "PUT", f"/{reply.json['id']}", notes="here")
    assert reply.status == 200


async def test_who_does_not_know_where_it_listens_finds_out_by_the_loop(served: Served) -> None:
    """As under hypercorn's own command."""
    assert served.app.listener is None
    reply = await put(served, "POST", "", name="b", base_url="http://127.0.0.1:32768")
    assert reply.status == 201
    passed = {"x-llmlb-instance": served.app.instance_id}
    looped = await served("GET", "/v1/models", headers=passed)
    assert (looped.status, looped.error["code"]) == (508, "loop_detected")
