"""The request history: what is still to be written of it, and when the oldest of it goes."""

from llmlb.actors.history.history import History, HistoryStatistics
from llmlb.actors.history.upkeep import HistoryStore, Keeping

__all__ = ["History", "HistoryStatistics", "HistoryStore", "Keeping"]
