"""How values look in a column or a foreign file, and what is made of unreadable ones: None."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from llmlb.types import Api, Capability, DeviceInfo, DeviceType, EndpointId, GpuDevice

Value = str | int | float | bytes | None
"""What a column can hold."""

_LARGEST_INTEGER = 2**63 - 1
MOST_GPUS = 256
"""No server has more; a file that says so is wrong."""


def storable(value: Value) -> Value:
    """*value* as a column can hold it: foreign servers send numbers and texts that none can."""
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, int) and not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        return max(-_LARGEST_INTEGER, min(_LARGEST_INTEGER, value))
    return value


def text_of(value: object) -> str | None:
    """A text with something in it, without blanks around it."""
    return (_encodable(value).strip() or None) if isinstance(value, str) else None


def number_of(value: object) -> float | None:
    """A number that is not negative; it may be inf."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) or number < 0 else number


def duration_of(value: object) -> float | None:
    """A finite number above zero."""
    number = number_of(value)
    return number if number is not None and 0 < number < math.inf else None


def whole_of(value: object) -> int | None:
    """A whole number from 0 to the largest that a column holds."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _LARGEST_INTEGER else None


def uuid_of(value: object) -> EndpointId | None:
    """A UUID in its canonical text form."""
    try:
        return EndpointId(str(UUID(value))) if isinstance(value, str) else None
    except ValueError:
        return None


def instant_of(value: object) -> datetime | None:
    """An RFC 3339 instant, in UTC; without an offset it is read as UTC."""
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
        return instant.replace(tzinfo=instant.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def instant_text(instant: datetime) -> str:
    """RFC 3339 in UTC, always equally long, so that texts sort like instants."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def json_of(value: object) -> Any:  # noqa: ANN401 - it is any JSON value
    """What a column's JSON says; None where it is no JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def capabilities_of(value: object) -> frozenset[Capability] | None:
    """The capabilities known here, from a list of their names."""
    if not isinstance(value, list):
        return None
    known = {capability.value for capability in Capability}
    found = frozenset(Capability(v) for v in value if isinstance(v, str) and v in known)
    return found or None


def apis_of(value: object) -> frozenset[Api] | None:
    """The routes known here, from a list of their names."""
    if not isinstance(value, list):
        return None
    known = {api.value for api in Api}
    return frozenset(Api(v) for v in value if isinstance(v, str) and v in known)


def capabilities_json(capabilities: Iterable[Capability]) -> str:
    """The same, for a column."""
    return json.dumps(sorted(capabilities))


def pairs_of(value: object) -> tuple[tuple[str, str], ...] | None:
    """Header lines, or aliases, from a list of pairs of texts."""
    if not isinstance(value, list):
        return None
    pairs = []
    for pair in value:
        match pair:
            case [str(name), str(text)]:
                pairs.append((name, text))
            case _:
                return None
    return tuple(pairs)


def overruled_of(value: object) -> tuple[tuple[str, frozenset[Capability]], ...] | None:
    """What models can do, from a list of pairs: a model's id, and a list of capabilities."""
    if not isinstance(value, list):
        return None
    pairs = []
    for pair in value:
        match pair:
            case [str(model_id), list(names)] if capabilities := capabilities_of(names):
                pairs.append((model_id, capabilities))
            case _:
                return None
    return tuple(pairs)


def overruled_json(pairs: Iterable[tuple[str, frozenset[Capability]]]) -> str:
    """The same, for a column."""
    return json.dumps([[model_id, sorted(capabilities)] for model_id, capabilities in pairs])


def device_of(value: object) -> DeviceInfo | None:
    """`{"device_type", "gpu_devices": [{name, total_memory_bytes, used_memory_bytes}]}`."""
    if not isinstance(value, dict):
        return None
    kind = text_of(value.get("device_type"))
    if kind is None or kind.lower() not in set(DeviceType):
        return None
    gpus = value.get("gpu_devices")
    return DeviceInfo(
        DeviceType(kind.lower()),
        tuple(
            GpuDevice(
                name,
                whole_of(gpu.get("total_memory_bytes")),
                whole_of(gpu.get("used_memory_bytes")),
            )
            for gpu in (gpus[:MOST_GPUS] if isinstance(gpus, list) else ())
            if isinstance(gpu, dict) and (name := text_of(gpu.get("name")))
        ),
    )


def device_json(device: DeviceInfo | None) -> str | None:
    """The same, for a column."""
    if device is None:
        return None
    return json.dumps(
        {
            "device_type": device.device_type,
            "gpu_devices": [
                {
                    "name": gpu.name,
                    "total_memory_bytes": gpu.total_memory_bytes,
                    "used_memory_bytes": gpu.used_memory_bytes,
                }
                for gpu in device.gpu_devices
            ],
        }
    )


def _encodable(text: str) -> str:
    """JSON can spell half a surrogate pair; UTF-8 cannot."""
    if text.isascii():  # nearly all: there is nothing to look for
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
