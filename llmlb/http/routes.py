"""Which routes the application has, and what each group of them is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmlb.http.described import described
from llmlb.http.manage.audit import audit_log
from llmlb.http.manage.auth import authentication
from llmlb.http.manage.benchmarks import benchmarks
from llmlb.http.manage.chat import chosen_endpoint
from llmlb.http.manage.clients import clients
from llmlb.http.manage.dashboard import dashboard
from llmlb.http.manage.dashboard_settings import dashboard_settings
from llmlb.http.manage.dashboard_socket import dashboard_socket
from llmlb.http.manage.endpoint_logs import endpoint_logs
from llmlb.http.manage.endpoint_statistics import endpoint_statistics
from llmlb.http.manage.endpoints import management
from llmlb.http.manage.event_json import EventIds
from llmlb.http.manage.events import event_stream
from llmlb.http.manage.history import request_history
from llmlb.http.manage.keys import keys
from llmlb.http.manage.later import not_built_yet
from llmlb.http.manage.logs import logs_routes
from llmlb.http.manage.models import endpoint_models
from llmlb.http.manage.places import Places
from llmlb.http.manage.requests import decisions
from llmlb.http.manage.setup import setup
from llmlb.http.manage.usage import usage
from llmlb.http.manage.users import people
from llmlb.http.metrics.page import metrics_page
from llmlb.http.openai.routes import inference
from llmlb.http.status import status

if TYPE_CHECKING:
    from quart import Blueprint

    from llmlb.house import House
    from llmlb.http.access.gate import Gate
    from llmlb.http.application import LlmlbApp
    from llmlb.http.response_policy import ResponsePolicy

PREFIXES = ("/api", "/v0")
"""Of the management routes: ours, and the older one."""


def register_routes(app: LlmlbApp) -> None:
    """Put every route into *app*; what they need of it is asked for at each request."""
    app.register_blueprint(status(lambda: app.house))
    app.register_blueprint(described(app.run_in_thread))
    app.register_blueprint(metrics_page(lambda: app.metrics))
    app.register_blueprint(setup(lambda: app.house, lambda: app.doors))
    app.register_blueprint(inference(lambda: app.exchange, lambda: app.house))
    ids, places = EventIds(app.instance_id), Places()
    app.register_blueprint(dashboard_socket(lambda: app.house, lambda: app.doors.gate, places))
    for prefix in PREFIXES:
        for routes in _management(app, ids, places):
            name = f"{prefix[1:]}_{routes.name}"
            app.register_blueprint(routes, url_prefix=prefix, name=name)


def _management(app: LlmlbApp, ids: EventIds, places: Places) -> tuple[Blueprint, ...]:
    """The management routes, to be registered under one prefix."""

    def house() -> House:
        return app.house

    def gate() -> Gate:
        return app.doors.gate

    def policy() -> ResponsePolicy:
        return app.response_policy

    return (
        management(house, lambda: app.surveyor, lambda: app.listener),
        authentication(house, lambda: app.doors),
        people(house, lambda: app.doors),
        keys(house),
        logs_routes(lambda: app.logs, gate, policy),
        endpoint_logs(house, lambda: app.exchange.client, app.logs.redactor),
        endpoint_models(lambda: app.exchange),
        benchmarks(lambda: app.exchange),
        endpoint_statistics(house),
        dashboard(house),
        usage(house),
        request_history(house, policy),
        clients(house),
        dashboard_settings(house),
        chosen_endpoint(lambda: app.exchange),
        event_stream(house, gate, ids, places, policy),
        audit_log(house),
        decisions(house),
        not_built_yet(),
    )
