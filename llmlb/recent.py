"""What the latest requests were, and why each of them went where it went."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from msgspec.structs import replace

from llmlb.records import RequestRecord

KEPT_REQUESTS = 1_000


class RecentRequests:
    """Owns the newest 1,000 records, without bodies. Not an actor: to add one is one step."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, RequestRecord] = OrderedDict()

    def add(self, record: RequestRecord) -> None:
        """Take in *record*; one with the same request id, which a client may choose, goes."""
        if record.bodies is not None:
            record = replace(record, bodies=None)
        self._by_id.pop(record.request_id, None)
        self._by_id[record.request_id] = record
        if len(self._by_id) > KEPT_REQUESTS:
            self._by_id.popitem(last=False)

    def find(self, request_id: str) -> RequestRecord | None:
        """The newest request of that id, as the client was told it."""
        return self._by_id.get(request_id)

    def newest_first(self) -> Iterator[RequestRecord]:
        """All of them."""
        return iter(reversed(self._by_id.values()))
