"""What OpenTelemetry's conventions call what is measured and traced here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llmlb.types import Api

PROVIDER = "llmlb"
"""`gen_ai.provider.name`: many engines serve behind it, and clients see none of them."""

_OPERATIONS: Mapping[Api, str] = MappingProxyType(
    {Api.CHAT_COMPLETIONS: "chat", Api.MESSAGES: "chat", Api.COMPLETIONS: "text_completion"}
)


def operation_of(api: Api) -> str:
    """`gen_ai.operation.name`; for what the conventions have no word for, ours."""
    return _OPERATIONS.get(api, api.value)
