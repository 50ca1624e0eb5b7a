"""Where do the arguments of a tool call end, while they are still coming."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TELLING = re.compile(r'["\\{}\[\]]')


@dataclass(slots=True)
class Arguments:
    """Follows one JSON object over any pieces, and keeps none of them."""

    complete: bool = False
    """The object has been closed; nothing of it can follow."""
    _depth: int = 0
    _in_string: bool = False
    _escaped_at: int | None = None
    """The position that a backslash has taken the meaning of, in the next piece."""

    def see(self, piece: str) -> None:
        """Take in the next *piece* of the arguments."""
        escaped_at = self._escaped_at
        self._escaped_at = None
        for telling in _TELLING.finditer(piece):
            if telling.start() == escaped_at:
                continue
            match telling[0]:
                case "\\" if self._in_string:
                    escaped_at = telling.end()
                case '"':
                    self._in_string = not self._in_string
                case "{" | "[" if not self._in_string:
                    self._depth += 1
                case "}" | "]" if not self._in_string:
                    self._depth -= 1
                    self.complete = self.complete or self._depth <= 0
                case _:
                    pass
        if escaped_at is not None and escaped_at >= len(piece):
            self._escaped_at = escaped_at - len(piece)
