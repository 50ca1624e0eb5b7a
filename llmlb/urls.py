"""Whether two texts name the same server: every base URL gets one spelling."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, quote, urlsplit

LONGEST_URL_CHARS = 2048
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_FORBIDDEN = re.compile(r"[\s\x00-\x20\x7f\\<>\"^`{|}]")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_USER = re.compile(r"(^|//)[^/]*@")
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~-._"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_base_url(text: str) -> str:
    """The one spelling of an endpoint's base URL, without a trailing slash or `/v1`.

    Raises ValueError with a sentence for people. Normalising twice changes nothing.
    """
    url = text.strip()
    if not url:
        raise ValueError("The URL is empty.")
    if len(text) > LONGEST_URL_CHARS:
        raise ValueError(f"The URL is longer than {LONGEST_URL_CHARS} characters.")
    if not _SCHEME.match(url):
        raise ValueError(f"'{_shown(url)}' has no scheme: did you mean http://{_shown(url)}?")
    if _FORBIDDEN.search(url):
        raise ValueError(f"'{_shown(url)}' has a character that a URL cannot have.")
    if "?" in url or "#" in url:
        raise ValueError("The URL may not have a query (?) or a fragment (#).")
    split = _split(url)
    if split.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"The scheme is '{split.scheme}', but must be http or https.")
    if "@" in split.netloc:
        raise ValueError("The URL may not have a user name or password: use the API key instead.")
    return f"{split.scheme}://{_host(split)}{_port(split)}{_path(split.path)}"


def _shown(text: str) -> str:
    """*text* for people, without a password that may stand in it."""
    hidden = _USER.sub(r"\1***@", text[:LONGEST_URL_CHARS])
    return "".join(c if c.isprintable() else "�" for c in hidden[:200])


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(f"'{_shown(url)}' is not a URL that can be read.") from None


def _host(split: SplitResult) -> str:
    host = split.hostname or ""
    if not host:
        raise ValueError("The URL names no host.")
    if "[" in split.netloc:
        return f"[{_ipv6(host)}]"
    name = _ascii(host)
    if not _HOST_NAME.fullmatch(name) or len(name) > 253:
        raise ValueError(f"'{_shown(host)}' is not a host name.")
    if name.rpartition(".")[2].isdigit():
        return _ipv4(name)
    return name


def _ipv6(host: str) -> str:
    if "%" in host:
        raise ValueError("An IPv6 address with a zone (%) cannot be used in a URL.")
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"'{_shown(host)}' is not an IPv6 address.") from None
    # Python 3.13 spells a mapped address otherwise than 3.11 does.
    mapped = address.ipv4_mapped
    return address.compressed if mapped is None else f"::ffff:{mapped}"


def _ipv4(host: str) -> str:
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise ValueError(f"'{_shown(host)}' is not an IPv4 address.") from None


def _ascii(host: str) -> str:
    """The host in lower case, as DNS spells it, without the dot of the root."""
    try:
        return host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise ValueError(f"'{_shown(host)}' is not a host name.") from None


def _port(split: SplitResult) -> str:
    try:
        port = split.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("The port must be a number from 1 to 65535.")
    return "" if port is None or port == _DEFAULT_PORTS[split.scheme] else f":{port}"


def _path(path: str) -> str:
    if any(segment in {".", ".."} for segment in path.split("/")):
        raise ValueError("The path may not have '.' or '..' in it.")
    kept = path.rstrip("/")
    while kept.endswith("/v1"):
        kept = kept.removesuffix("/v1").rstrip("/")
    try:
        return quote(kept, safe=_PATH_CHARACTERS)
    except UnicodeError:
        raise ValueError("The path has a character that a URL cannot have.") from None
