"""How the body of each request is taken in: by which limit, in memory or apart, unpacked or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import trio

from llmlb.errors import UnsupportedMediaType
from llmlb.http.bodies import BodyBudget
from llmlb.http.intake.form import Form
from llmlb.http.intake.inflate import Inflater, encoding_of
from llmlb.http.intake.limit import Allowance
from llmlb.http.intake.pace import Pace
from llmlb.http.intake.spool import Spool
from llmlb.http.intake.taking_apart import FormIntake
from llmlb.http.intake.whole import WaitingBody, WholeIntake
from llmlb.http.openai.form_request import FILE_OF
from llmlb.http.paths import PATHS

MANAGEMENT_LIMIT_BYTES = 1024 * 1024

UPLOAD_PATHS = frozenset(PATHS[api] for api in FILE_OF)
"""Routes that take a form with files."""

_INFERENCE = re.compile(r"/v1/.*|/(?:api|v0)/endpoints/[^/]+/chat/completions", re.DOTALL)

Received = bytes | WaitingBody | Form


class Intake(Protocol):
    """Takes in one body. Closing gives back all that it holds."""

    async def take(self, data: bytes) -> None:
        """One more piece. Raises the LbError that refuses the body."""
        ...

    async def finish(self) -> Received:
        """The body, now that it is whole. Raises the LbError that refuses it."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Reception:
    """Decides how a body comes in, the same for every face."""

    budget: BodyBudget
    spool: Spool
    max_body_bytes: int
    max_upload_bytes: int
    progress_timeout_s: float

    def pace(self) -> Pace:
        """How quickly a body has to come in."""
        return Pace(self.progress_timeout_s)

    def intake_for(self, path: str, headers: Mapping[str, str]) -> Intake:
        """Where the body of a request to *path* goes.

        *headers* are by lower-case name. Raises UnsupportedMediaType, InvalidForm,
        RequestTooLarge.
        """
        encoding = encoding_of(headers.get("content-encoding", ""))
        allowance = Allowance(self._limit_bytes(path))
        length = headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20:
            allowance.refuse(int(length))
        inner = self._intake(path, headers, allowance)
        if encoding is None:
            return inner
        return _Inflated(inner, Inflater(encoding), Allowance(allowance.limit_bytes))

    def _intake(self, path: str, headers: Mapping[str, str], allowance: Allowance) -> Intake:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_form = kind == "multipart/form-data"
        if path in UPLOAD_PATHS:
            if not is_form:
                raise UnsupportedMediaType(f"{path} takes a form: send it as multipart/form-data.")
            return FormIntake(headers, allowance, self.spool)
        if is_form:
            raise UnsupportedMediaType("This route takes JSON, not a form.")
        return WholeIntake(allowance, self.budget, self.spool)

    def _limit_bytes(self, path: str) -> int:
        if path in UPLOAD_PATHS:
            return self.max_upload_bytes
        if _INFERENCE.fullmatch(path):
            return self.max_body_bytes
        return min(self.max_body_bytes, MANAGEMENT_LIMIT_BYTES)


class _Inflated:
    """Unpacks a body on its way to where it goes."""

    def __init__(self, inner: Intake, inflater: Inflater, packed: Allowance) -> None:
        self._inner, self._inflater = inner, inflater
        self._packed = packed
        """There are forms of any length that unpack to nothing."""

    async def take(self, data: bytes) -> None:
        self._packed.use(len(data))
        for piece in self._inflater.feed(data):
            await self._inner.take(piece)
            await trio.lowlevel.checkpoint()  # unpacking must not hold up everybody else

    async def finish(self) -> Received:
        self._inflater.finish()
        return await self._inner.finish()

    def close(self) -> None:
        self._inner.close()
