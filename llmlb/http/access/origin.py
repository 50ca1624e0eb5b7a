"""Whether a page of the balancer's own has sent a request that comes with a cookie."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from llmlb.errors import CsrfFailed
from llmlb.http.access.credentials import CSRF_COOKIE, CSRF_HEADER, cookie_of

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

_PORTS = {"http": 80, "https": 443}


def refuse_forged(
    method: str, headers: Mapping[str, str], csrf_token: str, public_url: str | None
) -> None:
    """Raise CsrfFailed unless the request shows that a page of ours has sent it.

    Whoever reads must not be another site's page. Whoever changes something has to show both
    the origin, which no page can choose, and the session's token, twice: as a cookie, and as a
    header, which only a page that can read the cookie can send.
    """
    if method in SAFE:
        # a link on another site may lead here; a script there may not ask
        if is_foreign(headers, public_url) and headers.get("sec-fetch-mode") != "navigate":
            raise CsrfFailed("The request comes from a page of another site.")
        return
    if not _is_ours(headers, public_url):
        raise CsrfFailed(
            "The request does not come from a page of this balancer. Behind a proxy that changes "
            "the Host, set LLMLB_PUBLIC_URL."
        )
    said, kept = headers.get(CSRF_HEADER, ""), cookie_of(headers, CSRF_COOKIE) or ""
    expected = csrf_token.encode()
    if not (_same(said, expected) and _same(kept, expected)):
        raise CsrfFailed(
            f"The request needs the header '{CSRF_HEADER}' with what the cookie '{CSRF_COOKIE}' "
            "holds."
        )


def is_foreign(headers: Mapping[str, str], public_url: str | None) -> bool:
    """Whether a browser says that a page of another origin has sent this, or led to it.

    A form there is a way to lead to a POST, with a body that can be made to look like JSON.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and not (site == "same-origin" or _named(origin, headers, public_url))


def _is_ours(headers: Mapping[str, str], public_url: str | None) -> bool:
    """Whether it is sure that a page of ours has sent this."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin") or headers.get("referer")
    return origin is not None and _named(origin, headers, public_url)


def _named(origin: str, headers: Mapping[str, str], public_url: str | None) -> bool:
    """Whether *origin* is where the balancer is reached: at its public URL, or as it was asked.

    The scheme plays no part: behind a proxy that does TLS it is not the one that is seen here.
    """
    try:
        asked = urlsplit(origin)
        hosts = [urlsplit(f"//{headers.get('host', '')}", scheme=asked.scheme)]
        if public_url is not None:
            hosts.append(urlsplit(public_url))
        return asked.hostname is not None and _place(asked) in [_place(host) for host in hosts]
    except ValueError:
        return False


def _place(url: SplitResult) -> tuple[str | None, int | None]:
    return url.hostname, url.port or _PORTS.get(url.scheme)


def _same(said: str, expected: bytes) -> bool:
    return hmac.compare_digest(said.encode(errors="surrogatepass"), expected)
