"""The routes under /endpoints: which endpoints there are, and what is wanted of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import trio
from quart import Blueprint, Response, jsonify, request

from llmlb.actors.prober import Surveyor
from llmlb.endpoint_form import DEFAULT_INFERENCE_TIMEOUT_S, EndpointEdit, EndpointForm
from llmlb.errors import Conflict, InvalidRequest, NotFound, ProbeFailed, UpstreamUnreachable
from llmlb.house import House
from llmlb.http.auditing import note
from llmlb.http.manage.asking import asking
from llmlb.http.manage.body import read_form
from llmlb.http.manage.endpoint_json import (
    Figures,
    JsonObject,
    endpoint_json,
    models_json,
    newest_first,
)
from llmlb.http.manage.probing import check_now, sync_now
from llmlb.http.manage.query import Page, flag
from llmlb.http.upstream.listener import Listener, refuse_own
from llmlb.types import Endpoint, EndpointId, Mode, Status

VERIFY_LIMIT_S = 15.0
"""The surveyor has bounds of its own; this one is for all it does to check."""


def management(
    house: Callable[[], House],
    surveyor: Callable[[], Surveyor],
    listener: Callable[[], Listener | None] = lambda: None,
) -> Blueprint:
    """The management routes, to be registered under each prefix that they answer under.

    *house* and *surveyor* are asked at each request; they raise the LbError that says why
    there is none. *listener* is ours, if that is known: it cannot be an endpoint.
    """
    blueprint = Blueprint("management", __name__)
    _EndpointRoutes(house, surveyor, listener).add_to(blueprint)
    return blueprint


class _EndpointRoutes:
    """Owns nothing: each view asks the house, and puts its answer into JSON."""

    def __init__(
        self,
        house: Callable[[], House],
        surveyor: Callable[[], Surveyor],
        listener: Callable[[], Listener | None],
    ) -> None:
        self._house, self._surveyor, self._listener = house, surveyor, listener

    def add_to(self, blueprint: Blueprint) -> None:
        one = "/endpoints/<endpoint_id>"
        for rule, methods, view in (
            ("/endpoints", ["GET"], self.list_endpoints),
            ("/endpoints", ["POST"], self.create_endpoint),
            (one, ["GET"], self.show_endpoint),
            (one, ["PUT", "PATCH"], self.edit_endpoint),
            (one, ["DELETE"], self.delete_endpoint),
            (f"{one}/models", ["GET"], self.list_models),
            (f"{one}/test", ["POST"], self.test_endpoint),
            (f"{one}/sync", ["POST"], self.sync_endpoint),
            (f"{one}/enable", ["POST"], self.enable_endpoint),
            (f"{one}/drain", ["POST"], self.drain_endpoint),
            (f"{one}/disable", ["POST"], self.disable_endpoint),
        ):
            blueprint.add_url_rule(rule, view.__name__, view, methods=methods)

    async def list_endpoints(self) -> Response:
        house, page, status = self._house(), Page.asked(request.args), _asked_status()
        every = newest_first(house.registry.catalog)
        found = [e for e in every if status is None or e.status is status]
        figures = Figures.of(house)
        return jsonify(page.listed("endpoints", found, lambda e: endpoint_json(e, figures)))

    async def create_endpoint(self) -> tuple[Response, int]:
        house = self._house()
        verify = flag(request.args, "verify")
        form = await read_form(EndpointForm, request)
        self._refuse_ourselves(form.base_url)
        interval_s = house.settings.health_check_interval_s
        blank = Endpoint(
            EndpointId(house.world.new_id()),
            form.name,
            form.base_url,
            house.world.now(),
            health_check_interval_s=interval_s,
            inference_timeout_s=DEFAULT_INFERENCE_TIMEOUT_S,
        )
        endpoint = form.applied_to(blank, default_interval_s=interval_s)
        if verify:
            await self._verify(endpoint)
        with asking():
            registered = await house.registry.register(endpoint)
        note(object_id=registered.id, detail=f"{registered.name}, {registered.base_url}")
        return jsonify(endpoint_json(registered, Figures.of(house))), 201

    def _refuse_ourselves(self, base_url: str) -> None:
        try:
            refuse_own(base_url, self._listener())
        except ValueError as error:
            raise InvalidRequest(str(error), param="base_url") from None

    async def _verify(self, endpoint: Endpoint) -> None:
        reason = f"It did not answer within {VERIFY_LIMIT_S:.0f} s."
        with trio.move_on_after(VERIFY_LIMIT_S):
            try:
                await self._surveyor().check(endpoint)
            except ProbeFailed as failure:
                reason = str(failure)
            else:
                return
        raise UpstreamUnreachable(f"The endpoint was not registered: {reason}", param="base_url")

    async def show_endpoint(self, endpoint_id: str) -> Response:
        house = self._house()
        endpoint = known_endpoint(house, endpoint_id)
        shown = endpoint_json(endpoint, Figures.of(house))
        return jsonify({**shown, "models": models_json(endpoint)})

    async def edit_endpoint(self, endpoint_id: str) -> Response:
        house = self._house()
        endpoint = known_endpoint(house, endpoint_id)
        edit = await read_form(EndpointEdit, request)
        if "base_url" in edit.model_fields_set:
            self._refuse_ourselves(edit.base_url)
        interval_s = house.settings.health_check_interval_s

        def change(before: Endpoint) -> Endpoint:
            _refuse_declared(before)
            return edit.applied_to(before, default_interval_s=interval_s)

        with asking():
            edited = await house.registry.update(endpoint.id, change)
        note(detail=f"{edited.name}: {', '.join(sorted(edit.model_fields_set))}")
        return jsonify(endpoint_json(edited, Figures.of(house)))

    async def delete_endpoint(self, endpoint_id: str) -> tuple[str, int]:
        house = self._house()
        endpoint = known_endpoint(house, endpoint_id)
        _refuse_declared(endpoint)
        with asking():
            await house.registry.remove(endpoint.id)
        note(detail=endpoint.name)
        return "", 204

    async def list_models(self, endpoint_id: str) -> Response:
        endpoint = known_endpoint(self._house(), endpoint_id)
        return jsonify(endpoint_id=endpoint.id, models=models_json(endpoint))

    async def test_endpoint(self, endpoint_id: str) -> Response:
        house = self._house()
        return jsonify(await check_now(house, known_endpoint(house, endpoint_id)))

    async def sync_endpoint(self, endpoint_id: str) -> Response:
        house = self._house()
        return jsonify(await sync_now(house, known_endpoint(house, endpoint_id)))

    # -- run-time state, of declared endpoints too: llmlb.toml says what an endpoint is, not
    # whether it is wanted today

    async def enable_endpoint(self, endpoint_id: str) -> Response:
        return jsonify(await self._set_mode(endpoint_id, Mode.ENABLED))

    async def drain_endpoint(self, endpoint_id: str) -> Response:
        return jsonify(await self._set_mode(endpoint_id, Mode.DRAINING))

    async def disable_endpoint(self, endpoint_id: str) -> Response:
        return jsonify(await self._set_mode(endpoint_id, Mode.DISABLED))

    async def _set_mode(self, endpoint_id: str, mode: Mode) -> JsonObject:
        house = self._house()
        endpoint = known_endpoint(house, endpoint_id)
        with asking():
            changed = await house.registry.update(endpoint.id, lambda e: replace(e, mode=mode))
        return endpoint_json(changed, Figures.of(house))


def known_endpoint(house: House, endpoint_id: str) -> Endpoint:
    """The endpoint of that id, however its hexadecimal digits are written. Raises NotFound."""
    endpoint = house.registry.catalog.endpoints.get(EndpointId(endpoint_id.lower()))
    if endpoint is None:
        raise NotFound("There is no endpoint with this id.")
    return endpoint


def _refuse_declared(endpoint: Endpoint) -> None:
    if endpoint.declared:
        raise Conflict(f"'{endpoint.name}' is declared in llmlb.toml: edit it there.")


def _asked_status() -> Status | None:
    said = request.args.get("status")
    if said is None:
        return None
    if said not in set(Status):
        known = ", ".join(Status)
        raise InvalidRequest(f"'status' must be one of {known}.", param="status")
    return Status(said)
