"""Which headers belong to one message on one connection, and so are never anybody's to set."""

from __future__ import annotations

CONNECTION_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""They describe one connection and one framing; those of each message are computed."""
