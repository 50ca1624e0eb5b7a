"""The route /dashboard/settings/{key}: what operators set on the dashboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

import trio
from quart import Blueprint, Response, jsonify, request

from llmlb.errors import Conflict, InvalidRequest, StoreUnavailable
from llmlb.forms import Checked, Form
from llmlb.house import House
from llmlb.http.auditing import note
from llmlb.http.manage.body import read_form
from llmlb.http.manage.query import reading
from llmlb.store.dashboard_settings import MOST_SETTINGS
from llmlb.store.opening import Store

ALERT_THRESHOLD = "ip_alert_threshold"
DEFAULT_ALERT_THRESHOLD = 100
"""Requests of one client in an hour."""

KEY = r"[a-z0-9_.-]{1,64}"
MOST_CHARS = 1000
LIMIT_S = 30.0


def _short(value: str) -> str:
    if len(value) > MOST_CHARS:
        raise ValueError(f"must have {MOST_CHARS} characters at most")
    return value


class SettingForm(Form):
    """What a setting of the dashboard is to be."""

    value: Annotated[str, Checked(_short, maxLength=MOST_CHARS)]
    """Of `ip_alert_threshold`: a whole number from 1 on."""


async def alert_threshold(store: Store) -> int:
    """From so many requests in an hour on, a client is shown as noisy. Raises StoreUnavailable."""
    return _threshold(await store.dashboard_settings.get(ALERT_THRESHOLD)) or (
        DEFAULT_ALERT_THRESHOLD
    )


def _threshold(text: str) -> int | None:
    number = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    return number or None


def dashboard_settings(house: Callable[[], House]) -> Blueprint:
    """The route, to be registered under each management prefix."""
    routes, rule = Blueprint("settings", __name__), "/dashboard/settings/<key>"

    @routes.get(rule)
    async def show_setting(key: str) -> Response:
        with reading("The setting", "try again later"):
            value = await house().store.dashboard_settings.get(key)
        if key == ALERT_THRESHOLD and not value:
            value = str(DEFAULT_ALERT_THRESHOLD)
        return jsonify(key=key, value=value)

    @routes.put(rule)
    async def edit_setting(key: str) -> Response:
        form = await read_form(SettingForm, request)
        if re.fullmatch(KEY, key) is None:
            raise InvalidRequest(
                "The name of a setting has up to 64 of the characters a-z, 0-9, '_', '.' and '-'.",
                param="key",
            )
        if key == ALERT_THRESHOLD and _threshold(form.value) is None:
            raise InvalidRequest(
                f"'{ALERT_THRESHOLD}' must be a whole number from 1 to 999999999.", param="value"
            )
        current = house()
        with trio.move_on_after(LIMIT_S) as writing:
            if not await current.store.dashboard_settings.put(key, form.value, current.world.now()):
                raise Conflict(f"There are {MOST_SETTINGS} settings already.", param="key")
        if writing.cancelled_caught:
            raise StoreUnavailable(f"The setting was not written within {LIMIT_S:.0f} s.")
        note(object_id=key, detail=f"value={form.value[:100]}")
        return jsonify(key=key, value=form.value)

    return routes
