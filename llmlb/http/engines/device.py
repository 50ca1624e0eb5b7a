"""What an endpoint computes on, as /v0/system or /api/system tells."""

from __future__ import annotations

from llmlb.http.engines.foreign import JsonObject, count, mapping, name
from llmlb.types import DeviceInfo, DeviceReport, DeviceType, GpuDevice

PATHS = ("/v0/system", "/api/system")
"""The second is the later name of the same route."""

MAX_GPUS = 64
MAX_REMARKS = 4


def parse_device(body: object) -> DeviceReport:
    """The device in `{"device": {"device_type", "gpu_devices"}}`.

    Unknown fields are ignored; what is wrong is skipped and named in the note.
    """
    device = mapping(body).get("device")
    if not isinstance(device, dict):
        return DeviceReport(note="no device in the answer")
    remarks: list[str] = []
    gpus = _gpus(device.get("gpu_devices"), remarks)
    info = DeviceInfo(_device_type(device.get("device_type"), gpus, remarks), gpus)
    shown = remarks[:MAX_REMARKS]
    if len(remarks) > MAX_REMARKS:
        shown.append(f"and {len(remarks) - MAX_REMARKS} more")
    return DeviceReport(info, "; ".join(shown) or None)


def _device_type(value: object, gpus: tuple[GpuDevice, ...], remarks: list[str]) -> DeviceType:
    said = name(value)
    if said is not None and said.lower() in set(DeviceType):
        return DeviceType(said.lower())
    remarks.append("device_type is missing" if value is None else "device_type is not cpu or gpu")
    return DeviceType.GPU if gpus else DeviceType.CPU


def _gpus(value: object, remarks: list[str]) -> tuple[GpuDevice, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        remarks.append("gpu_devices is not a list")
        return ()
    if len(value) > MAX_GPUS:
        remarks.append(f"gpu_devices after the first {MAX_GPUS} are not read")
    gpus = (_gpu(item, f"gpu_devices[{i}]", remarks) for i, item in enumerate(value[:MAX_GPUS]))
    return tuple(gpu for gpu in gpus if gpu is not None)


def _gpu(value: object, place: str, remarks: list[str]) -> GpuDevice | None:
    gpu = mapping(value)
    called = name(gpu.get("name"))
    if called is None:
        remarks.append(f"{place} has no usable name")
        return None
    return GpuDevice(
        called,
        _memory(gpu, "total_memory_bytes", place, remarks),
        _memory(gpu, "used_memory_bytes", place, remarks),
    )


def _memory(gpu: JsonObject, field: str, place: str, remarks: list[str]) -> int | None:
    value = gpu.get(field)
    size_bytes = count(value, least=0)
    if value is not None and size_bytes is None:
        remarks.append(f"{place}.{field} is not a number of bytes")
    return size_bytes
