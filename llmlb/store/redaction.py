"""What of a foreign record may be kept: all but what its names, or its URLs, say is secret."""

from __future__ import annotations

import json
import re

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"(api_?keys?(_?encrypted)?|authorization|headers?|token|secret|secret_?key|password|passwd"
    r"|credentials?|bearer|cookies?)$"
)
_USER_OF_URL = re.compile(r"(?<=://)[^/\s\"]*@")
"""In any text."""
_USER_OF_ADDRESS = re.compile(r"(^|//)[^/]*@")
"""In what is named a URL, whether it is one or not."""


def redacted(record: str) -> str | None:
    """*record*, a JSON text, with secrets hidden; None if it cannot be read, and so not judged."""
    try:
        # Done while it is read, so that no depth of nesting is too deep for us alone.
        return _USER_OF_URL.sub(
            f"{HIDDEN}@", json.dumps(json.loads(record, object_pairs_hook=_without_secrets))
        )
    except (ValueError, RecursionError):
        return None


def _without_secrets(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {name: _kept(name, value) for name, value in pairs}


def _kept(name: str, value: object) -> object:
    if value is not None and is_secret_name(name):
        return HIDDEN
    if isinstance(value, str) and name.lower().endswith("url"):
        return _USER_OF_ADDRESS.sub(rf"\1{HIDDEN}@", value)
    return value


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret, as `api_key`, `X-Auth-Token` or `password` is."""
    return _SECRET_NAME.search(name.lower().replace("-", "_")) is not None
