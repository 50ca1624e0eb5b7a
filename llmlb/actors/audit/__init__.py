"""The audit log: who did what, written down in a chain, once and for all."""

from llmlb.actors.audit.log import AuditLog
from llmlb.actors.audit.upkeep import AuditStore, Retention

__all__ = ["AuditLog", "AuditStore", "Retention"]
