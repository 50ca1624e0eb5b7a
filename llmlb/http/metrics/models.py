"""Which models have a label of their own, so that there are never more than a few."""

from __future__ import annotations

from llmlb.catalog import Catalog

MOST_MODELS = 100
"""So many names get a label of their own, until the process ends; a series is never taken back."""

MOST_SERIES = 200
"""So many pairs of operation and model are measured apart: each is a hundred lines or so."""

OTHER = "other"
"""The models after them, all together."""

UNKNOWN = "unknown"
"""What no endpoint has: whatever clients make up is one label."""


class ModelLabels:
    """Owns the names that have become labels: names that endpoints list, or operators have set.

    A client's own spelling never is one.
    """

    def __init__(self) -> None:
        self._labels = set[str]()
        self._pairs = set[tuple[str, str]]()

    def label_for(self, operation: str, asked: str, served: str | None, catalog: Catalog) -> str:
        """`label`, for what is measured of each operation apart."""
        pair = operation, self.label(asked, served, catalog)
        if pair not in self._pairs:
            if len(self._pairs) >= MOST_SERIES:
                return OTHER
            self._pairs.add(pair)
        return pair[1]

    def label(self, asked: str, served: str | None, catalog: Catalog) -> str:
        """The label for the model *asked* for, which its endpoint calls *served*."""
        if asked in catalog.by_model:
            return self._bounded(asked)
        reach = catalog.reach(asked)
        if not reach.endpoints:
            return UNKNOWN
        # another spelling of a name that is listed
        return self._bounded(served or reach.own_ids[reach.endpoints[0].id])

    def _bounded(self, name: str) -> str:
        if name not in self._labels:
            if len(self._labels) >= MOST_MODELS:
                return OTHER
            self._labels.add(name)
        return name
