"""Whether a text is certificates in PEM, and nothing else that should not leave its owner."""

from __future__ import annotations

import re
import ssl

PEM_BYTES = 64 * 1024
"""A bundle of all well-known authorities is larger; nobody needs that for one endpoint."""

_LABELS = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates_in(text: str) -> str | None:
    """The certificates that *text* holds, without what is written around them; None if blank.

    Raises ValueError that says what is wrong with it.
    """
    if len(text.encode("utf-8", "replace")) > PEM_BYTES:
        raise ValueError(f"may not be larger than {PEM_BYTES // 1024} KiB")
    if not text.strip():
        return None
    labels = _LABELS.findall(text)
    if any(label.endswith("PRIVATE KEY") for label in labels):
        raise ValueError("may hold no private key: give the certificate alone")
    blocks = _CERTIFICATE.findall(text)
    if not blocks or len(blocks) != len(labels):
        raise ValueError("must be one or more certificates in PEM (-----BEGIN CERTIFICATE-----)")
    try:
        normal = "".join(ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(b)) for b in blocks)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for block in blocks:  # each by itself, for of several one that is good would do
            context.load_verify_locations(cadata=block)
    except (ssl.SSLError, ValueError):
        raise ValueError("holds a certificate that cannot be read") from None
    return normal
