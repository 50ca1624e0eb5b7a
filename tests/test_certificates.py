"""What is taken for certificates, and what is kept of it."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from llmlb.certificates import PEM_BYTES, certificates_in

ONE, OTHER = (trustme.CA().cert_pem.bytes().decode() for _ in range(2))
KEY = trustme.CA().private_key_pem.bytes().decode()
NO_CERTIFICATE = ssl.DER_cert_to_PEM_cert(b"no certificate")


@pytest.mark.parametrize("blank", ["", " \n\t"])
def test_a_blank_text_holds_none(blank: str) -> None:
    assert certificates_in(blank) is None


def test_one_or_several_are_kept() -> None:
    assert certificates_in(ONE) == ONE
    assert certificates_in(ONE + OTHER) == ONE + OTHER


def test_what_is_written_around_them_is_not_kept() -> None:
    assert certificates_in(f"# our authority\n{ONE}\nand\r\n  \n{OTHER}  ") == ONE + OTHER
    assert certificates_in(ONE.replace("\n", "\r\n")) == ONE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello", "one or more certificates in PEM"),
        ("-----BEGIN CERTIFICATE-----", "one or more certificates in PEM"),
        (ONE.replace("-----END CERTIFICATE-----", ""), "one or more certificates in PEM"),
        (ONE + ONE[:60], "one or more certificates in PEM"),
        (ONE.replace("CERTIFICATE", "CERTIFICATE REQUEST"), "one or more certificates in PEM"),
        (ONE.replace("M", "✓", 1), "one or more certificates in PEM"),
        (ONE + NO_CERTIFICATE, "a certificate that cannot be read"),
        (NO_CERTIFICATE + ONE, "a certificate that cannot be read"),
        (ONE.replace("M", "=", 3), "a certificate that cannot be read"),
        (ONE + KEY, "no private key"),
        (KEY, "no private key"),
        (ONE + "x" * PEM_BYTES, "larger than 64 KiB"),
        ("é" * (PEM_BYTES // 2 + 1), "larger than 64 KiB"),
    ],
)
def test_all_else_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        certificates_in(text)
    assert "PRIVATE KEY-----" not in str(refused.value)


@given(st.text(max_size=200) | st.text("-BEGINCRTFA \n=M/", max_size=300))
def test_no_text_fails_otherwise(text: str) -> None:
    with suppress(ValueError):
        certificates_in(text)


@given(st.integers(0, len(ONE) - 1), st.characters(min_codepoint=1, max_codepoint=127))
def test_a_certificate_with_an_error_is_kept_only_if_it_can_be_loaded(at: int, put: str) -> None:
    try:
        kept = certificates_in(ONE[:at] + put + ONE[at + 1 :])
    except ValueError:
        return
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=kept)
