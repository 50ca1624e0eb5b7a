"""Who owns the jobs that go on after their requests."""

from llmlb.actors.jobs.owner import JobOwner

__all__ = ["JobOwner"]
