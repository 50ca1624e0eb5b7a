"""The log: what an entry looks like, what it may not show, and where it goes."""

from llmlb.http.logs.logs import Logs

__all__ = ["Logs"]
