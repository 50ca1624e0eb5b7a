"""Who may start a request now, who waits in line, and who is turned away."""

from llmlb.actors.admission.controller import AdmissionController, AdmissionStatistics
from llmlb.actors.admission.results import (
    CapacityExceeded,
    Closed,
    ModelUnknown,
    NoneCapable,
    Ready,
    Timeout,
    WaitResult,
)

__all__ = [
    "AdmissionController",
    "AdmissionStatistics",
    "CapacityExceeded",
    "Closed",
    "ModelUnknown",
    "NoneCapable",
    "Ready",
    "Timeout",
    "WaitResult",
]
