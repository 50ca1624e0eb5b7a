"""A model that an endpoint fetches, and how much of it is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmlb.jobs.status import JobStatus
from llmlb.types import EndpointId

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a model is there; 0 of 0 bytes before the endpoint has said how much it is."""

    downloaded_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float | None = None
    """Of the last seconds; None: not known yet."""
    stage: str | None = None
    """What the endpoint says that it is doing, in its own words."""

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return self.downloaded_bytes / self.total_bytes if self.total_bytes else 0.0

    @property
    def left_s(self) -> float | None:
        """How long the rest takes at this speed; None where that is not known."""
        if not self.bytes_per_s or not self.total_bytes:
            return None
        return (self.total_bytes - self.downloaded_bytes) / self.bytes_per_s


@dataclass(frozen=True, slots=True)
class Download:
    """One model on its way to one endpoint."""

    id: str
    endpoint_id: EndpointId
    endpoint_name: str
    """As it was at the beginning."""
    model: str
    """As the endpoint was asked for it."""
    started_at: datetime
    status: JobStatus = JobStatus.PENDING
    progress: Progress = Progress()
    finished_at: datetime | None = None
    error: str | None = None

    @property
    def fraction(self) -> float:
        """From 0 to 1; 1 when it is complete, though no byte had to be fetched."""
        return 1.0 if self.status is JobStatus.COMPLETED else self.progress.fraction

    def advanced(self, progress: Progress) -> Download:
        """This download, now that it is so far."""
        return replace(self, status=JobStatus.DOWNLOADING, progress=progress)

    def ended(self, status: JobStatus, at: datetime, error: str | None) -> Download:
        """This download as it is from now on."""
        at_rest = replace(self.progress, bytes_per_s=None)
        return replace(self, status=status, progress=at_rest, finished_at=at, error=error)
