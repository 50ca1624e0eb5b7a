"""Who may start a request now, who waits in line, and who is turned away."""

from llmlb.actors.admission.controller import AdmissionController
from llmlb.actors.admission.results import (
    CapacityExceeded,
    Closed,
    ModelUnknown,
    NoneCapable,
    Ready,
    Timeout,
    WaitResult,
)
from llmlb.actors.admission.statistics import AdmissionStatistics

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
