"""How a web origin is written, as browsers send it in `Origin`, and what is none."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

ANY = "*"

SHOWN_CHARS = 100
"""Of what is wrong, in the sentence about it."""

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,31})://"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?P<port>:[0-9]{1,5})?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_origins(given: object) -> object:
    """`https://chat.example, tauri://localhost` as a tuple of origins; `*` stands alone.

    What is no text is for pydantic to judge. Raises ValueError, which says what is wrong.
    """
    if not isinstance(given, str):
        return given
    named = [part.strip() for part in given.split(",") if part.strip()]
    if ANY in named:
        if len(named) > 1:
            raise ValueError("has '*' beside others: write '*' alone, or each origin by itself")
        return (ANY,)
    return tuple(dict.fromkeys(origin_of(text) for text in named))


def origin_of(text: str) -> str:
    """*text* as a browser writes that origin: lower case, without the scheme's own port.

    Raises ValueError.
    """
    shown = text[:SHOWN_CHARS]
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or not text.isascii():
        raise ValueError(f"'{shown}' is no origin: {_what_is_wrong(text)}")
    scheme, host, port = found["scheme"], found["host"], found["port"]
    if host.startswith("["):
        with suppress(ValueError):
            return (
                f"{scheme}://[{ipaddress.IPv6Address(host[1:-1]).compressed}]{_port(scheme, port)}"
            )
        raise ValueError(f"'{shown}' is no origin: there is no IPv6 address {host}")
    return f"{scheme}://{host}{_port(scheme, port)}"


def _port(scheme: str, said: str | None) -> str:
    """`:8443`; nothing where a browser says nothing, either."""
    if said is None:
        return ""
    port = int(said[1:])
    if not 0 < port < 65536:
        raise ValueError(f"there is no port {port}")
    return "" if port == _DEFAULT_PORTS.get(scheme) else f":{port}"


def _what_is_wrong(text: str) -> str:
    if text.lower() == "null":
        return "pages of many kinds call themselves 'null', so it would let in strangers"
    if not text.isascii():
        return "write names of other alphabets as browsers send them, beginning with xn--"
    scheme, found, rest = text.partition("://")
    if not found:
        return "write it with its scheme, like https://chat.example"
    if ANY in rest:
        return "there are no patterns; name each origin by itself"
    if re.search(r"[/?#]", rest):
        return f"leave out what follows the host and the port, like {scheme}://chat.example"
    return "write scheme://host or scheme://host:port"
