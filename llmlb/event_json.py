"""An event that is told: its place, its time, and how it looks on the wire."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from urllib.parse import urlsplit

from llmlb.events import EndpointRegistered, Event


class Told:
    """An event with its place among all events since the start, counted from 1, and its time (UTC).

    A state has no place of its own: its `seq` is that of the last event before it.
    """

    __slots__ = ("_json", "at", "event", "seq")

    def __init__(self, seq: int, at: datetime, event: Event) -> None:
        self.seq, self.at, self.event = seq, at, event
        self._json: str | None = None

    @property
    def json(self) -> str:
        """As everybody is told it, in one line of ASCII: made once, when somebody wants it."""
        if self._json is None:
            self._json = _shown(self)
        return self._json


def _shown(told: Told) -> str:
    event = told.event
    data = {field.name: getattr(event, field.name) for field in fields(event)}
    if "endpoint_id" in data:
        data["runtime_id"] = data["endpoint_id"]  # as the older product has it
    if isinstance(event, EndpointRegistered):
        data |= {"machine_name": event.name, "ip_address": urlsplit(event.base_url).hostname}
    shown = {
        "type": type(event).__name__,
        "seq": told.seq,
        "at": told.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }
    # json.dumps escapes line breaks and all that is not ASCII: one line, whatever names hold
    return json.dumps(shown)
