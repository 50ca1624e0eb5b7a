"""Whom the words of endpoints are shown to, which may quote what somebody asked."""

from __future__ import annotations

import json

import pytest

from tests.fakes.accounts import bearer
from tests.fakes.openai import chat
from tests.fakes.upstream import json_answer
from tests.security.town import STRANGER, Town

SAID = "cannot answer: my secret wish"


@pytest.mark.parametrize("stored", [False, True])
async def test_viewers_see_why_but_not_what_endpoints_said(town: Town, stored: bool) -> None:
    refusal = {"error": {"message": SAID}}
    town.served.scene.on("a", json_answer(refusal, 400))
    asked = await town("POST", "/v1/chat/completions", chat(), headers=bearer("vic-all"))
    path = f"/api/requests/{asked.headers['x-request-id']}/decision"
    if stored:
        await town.served.app.house.history.flush()
        town.served.app.house.recent._by_id.clear()

    shown = {
        name: (await town("GET", path, **STRANGER, headers=headers)).body
        for name, headers in (
            ("admin", town.by_token("ann")),
            ("admin's key", bearer("ann-all")),
            ("viewer", town.by_token("vic")),
            ("viewer's key", bearer("vic-all")),
        )
    }

    told = {name: SAID.encode() in body for name, body in shown.items()}
    assert told == {"admin": True, "admin's key": True, "viewer": False, "viewer's key": False}
    seen = json.loads(shown["viewer"])
    assert seen["attempts"][0]["outcome"] == "refused"
    assert seen["decisions"][0]["why"]
