"""What a record of endpoints.json, nodes.json or agents.json means here."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from llmlb.addresses import refuse_no_endpoint
from llmlb.store.columns import (
    MOST_GPUS,
    device_of,
    duration_of,
    instant_of,
    number_of,
    text_of,
    uuid_of,
    whole_of,
)
from llmlb.store.older import UnreadableRecord, as_object, id_by_content
from llmlb.types import (
    Capability,
    DeviceInfo,
    DeviceType,
    Endpoint,
    EndpointId,
    GpuDevice,
    Model,
)
from llmlb.urls import normalise_base_url


def endpoint_from(value: object, now: datetime) -> Endpoint:
    """The endpoint of one record of endpoints.json. Raises UnreadableRecord."""
    record = as_object(value)
    return Endpoint(
        id=uuid_of(record.get("id")) or EndpointId(id_by_content(record)),
        name=_name(record, "name"),
        base_url=_base_url(record.get("base_url")),
        registered_at=_registered_at(record, now),
        latency_ms=number_of(record.get("latency_ms")),
        device_info=device_of(record.get("device_info")),
        api_key=text_of(record.get("api_key")),
        health_check_interval_s=duration_of(record.get("health_check_interval_secs")) or 30,
        inference_timeout_s=duration_of(record.get("inference_timeout_secs")) or 120,
        notes=text_of(record.get("notes")),
        last_seen_at=instant_of(record.get("last_seen")),
    )


def endpoint_from_node(value: object, now: datetime) -> Endpoint:
    """The endpoint of one record of nodes.json or agents.json. Raises UnreadableRecord."""
    record = as_object(value)
    return Endpoint(
        id=uuid_of(record.get("id")) or EndpointId(id_by_content(record)),
        name=_name(record, "custom_name", "machine_name"),
        base_url=_base_url(f"http://{_host(record)}:{_port(record)}"),
        registered_at=_registered_at(record, now),
        device_info=_device(record),
        notes=_notes(record),
        models=(
            *(Model(name) for name in _texts(record.get("loaded_models"))),
            *(
                Model(name, frozenset({Capability.EMBEDDINGS}))
                for name in _texts(record.get("loaded_embedding_models"))
            ),
        ),
        last_seen_at=instant_of(record.get("last_seen")),
    )


def _name(record: Mapping[str, Any], *keys: str) -> str:
    for key in keys:
        if name := text_of(record.get(key)):
            return name
    raise UnreadableRecord(f"it has no {keys[-1]}")


def _base_url(value: object) -> str:
    text = text_of(value)
    if text is None:
        raise UnreadableRecord("it has no base_url")
    try:
        return refuse_no_endpoint(normalise_base_url(text))
    except ValueError as error:
        raise UnreadableRecord(str(error)) from None


def _registered_at(record: Mapping[str, Any], now: datetime) -> datetime:
    return instant_of(record.get("registered_at")) or instant_of(record.get("created_at")) or now


def _host(record: Mapping[str, Any]) -> str:
    host = text_of(record.get("ip_address"))
    if host is None:
        raise UnreadableRecord("it has no ip_address")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise UnreadableRecord("its ip_address is not an IP address") from None
    return f"[{address}]" if address.version == 6 else str(address)


def _port(record: Mapping[str, Any]) -> int:
    """Where its OpenAI API listens: as it says, else one above the port of its runtime."""
    for key, offset in (("node_api_port", 0), ("agent_api_port", 0), ("runtime_port", 1)):
        port = whole_of(record.get(key))
        if port is not None:
            return port + offset
    raise UnreadableRecord("it has no runtime_port")


def _device(record: Mapping[str, Any]) -> DeviceInfo | None:
    gpus: list[GpuDevice] = []
    listed = record.get("gpu_devices")
    for gpu in listed if isinstance(listed, list) else ():
        if isinstance(gpu, dict) and (name := text_of(gpu.get("model"))):
            device = GpuDevice(name, whole_of(gpu.get("memory")))
            gpus += [device] * _count(gpu.get("count"))
    model = text_of(record.get("gpu_model"))
    if not gpus and (model or record.get("gpu_available") is True):
        gpus = [GpuDevice(model or "GPU")] * _count(record.get("gpu_count"))
    if gpus:
        return DeviceInfo(DeviceType.GPU, tuple(gpus[:MOST_GPUS]))
    return DeviceInfo(DeviceType.CPU) if record.get("gpu_available") is False else None


def _count(value: object) -> int:
    count = whole_of(value)
    return 1 if count is None else min(count, MOST_GPUS)


def _notes(record: Mapping[str, Any]) -> str | None:
    tags = ", ".join(_texts(record.get("tags")))
    lines = (text_of(record.get("notes")), f"Tags: {tags}" if tags else None)
    return "\n".join(line for line in lines if line) or None


def _texts(value: object) -> list[str]:
    found = (text_of(item) for item in value) if isinstance(value, list) else ()
    return [text for text in found if text]
