"""How an event looks on the wire: one JSON object in one line, made once for all who are told."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from urllib.parse import urlsplit

from llmlb.events import EndpointRegistered, Event, Told


def told(seq: int, at: datetime, event: Event) -> Told:
    """*event* with its place, its time (UTC) and its JSON."""
    data = {field.name: getattr(event, field.name) for field in fields(event)}
    if "endpoint_id" in data:
        data["runtime_id"] = data["endpoint_id"]  # as the older product has it
    if isinstance(event, EndpointRegistered):
        data |= {"machine_name": event.name, "ip_address": urlsplit(event.base_url).hostname}
    shown = {
        "type": type(event).__name__,
        "seq": seq,
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }
    # json.dumps escapes line breaks and all that is not ASCII: one line, whatever names hold
    return Told(seq, at, event, json.dumps(shown))
