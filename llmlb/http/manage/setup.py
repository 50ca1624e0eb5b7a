"""The page on which the first administrator is made, for whoever has the link to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from importlib import resources
from typing import Any, cast
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, Template
from quart import Blueprint, Response, jsonify, request

from llmlb.account_form import SHORTEST_PASSWORD, SetupForm
from llmlb.accounts import Role, User, UserId
from llmlb.accounts.changes import add_first_admin
from llmlb.errors import CsrfFailed, InvalidRequest, LbError, NotFound
from llmlb.house import House
from llmlb.http.access.opening import Doors
from llmlb.http.access.origin import is_foreign
from llmlb.http.auditing import note
from llmlb.http.inbound import headers_of, read_body
from llmlb.http.manage.asking import asking
from llmlb.http.manage.body import parse_body
from llmlb.http.manage.endpoint_json import instant

_FORM_TYPE = "application/x-www-form-urlencoded"
_FIELDS = 8


def setup(house: Callable[[], House], doors: Callable[[], Doors]) -> Blueprint:
    """`/setup`: a page for people, and JSON for scripts. It is gone once there is an admin."""
    blueprint = Blueprint("setup", __name__)
    routes = _SetupRoutes(house, doors)
    blueprint.add_url_rule("/setup", "page", routes.page, methods=["GET"])
    blueprint.add_url_rule("/setup", "submit", routes.submit, methods=["POST"])
    blueprint.add_url_rule("/setup.css", "style", routes.style, methods=["GET"])
    return blueprint


class _SetupRoutes:
    def __init__(self, house: Callable[[], House], doors: Callable[[], Doors]) -> None:
        self._house, self._doors = house, doors

    async def page(self) -> tuple[Response, int]:
        self._refuse_if_done()
        token = request.args.get("token", "")
        try:
            self._doors().setup.check(token)
        except LbError as refusal:
            return _page(refusal.http_status(), token=None, problem=refusal.message)
        return _page(200, token=token)

    async def style(self) -> Response:
        return Response(_style(), content_type="text/css; charset=utf-8")

    async def submit(self) -> tuple[Response, int]:
        self._refuse_if_done()
        if is_foreign(headers_of(request), self._doors().gate.settings.public_url):
            raise CsrfFailed("The request comes from a page of another site.")
        raw = cast("bytes", await read_body(request))  # no multipart form is taken here
        if request.mimetype != _FORM_TYPE:
            user = await self._made(parse_body(SetupForm, raw))
            return jsonify(
                id=user.id,
                username=user.username,
                role=user.role.value,
                created_at=instant(user.created_at),
            ), 201
        said = _fields(raw)
        try:
            user = await self._made(parse_body(SetupForm, json.dumps(said).encode()))
        except LbError as refusal:
            return _page(
                refusal.http_status(),
                token=said.get("token", ""),
                username=said.get("username", ""),
                problem=refusal.message,
            )
        return _page(201, done=True, username=user.username, url=request.host_url.rstrip("/"))

    async def _made(self, form: SetupForm) -> User:
        """The administrator. Raises SetupRequired without the right token, and Conflict."""
        house, doors = self._house(), self._doors()
        doors.setup.check(form.token)
        user = User(
            UserId(house.world.new_id()),
            form.username,
            await doors.passwords.hashed(form.password),
            Role.ADMIN,
            house.world.now(),
        )
        with asking():
            made = await house.keyring.change(partial(add_first_admin, user=user))
        note(user=made)
        return made

    def _refuse_if_done(self) -> None:
        if not self._doors().gate.setting_up:
            raise NotFound("There is nothing to set up.")


def _page(status: int, **said: Any) -> tuple[Response, int]:  # noqa: ANN401 - for the template
    known = {"username": "", "problem": "", "done": False, **said}
    text = _template().render(shortest=SHORTEST_PASSWORD, **known)
    return Response(text, content_type="text/html; charset=utf-8"), status


@cache
def _template() -> Template:
    # Not Quart's own way: that goes through a thread for each page.
    loader = PackageLoader("llmlb.http.manage")
    return Environment(loader=loader, autoescape=True).get_template("setup.html")


def _fields(raw: bytes) -> dict[str, str]:
    """What a browser's form says. Raises InvalidRequest."""
    try:
        return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None


@cache
def _style() -> str:
    return resources.files("llmlb.http.manage").joinpath("setup.css").read_text(encoding="utf-8")
