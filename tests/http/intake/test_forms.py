"""Forms: taken apart in any pieces, sent on anew, and refused with a reason."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from llmlb.errors import LbError, Overloaded, RequestTooLarge
from llmlb.http.intake.form import Form, InvalidForm
from llmlb.http.intake.limit import Allowance
from llmlb.http.intake.spool import IN_MEMORY_BYTES, Spool
from llmlb.http.intake.taking_apart import MAX_FIELD_BYTES, MAX_PARTS, FormIntake
from tests.fakes.forms import BOUNDARY, CONTENT_TYPE, File, form_bytes, form_of, parsed_form
from tests.fakes.house import run_inline

LIMIT = 10 * 1024 * 1024


def intake(directory: Path, *, limit: int = LIMIT, content_type: str = CONTENT_TYPE) -> FormIntake:
    spool = Spool(directory, LIMIT, run_inline)
    return FormIntake({"content-type": content_type}, Allowance(limit), spool)


async def taken(directory: Path, *pieces: bytes) -> tuple[Form, FormIntake]:
    taking = intake(directory)
    try:
        for piece in pieces:
            await taking.take(piece)
        return await taking.finish(), taking
    except LbError:
        taking.close()
        raise


async def sent(form: Form, **replacing: str) -> dict[str, str | File]:
    """What an endpoint reads of *form*."""
    payload = form.payload(replacing)
    body = b"".join([piece async for piece in payload.chunks()])
    assert len(body) == payload.size_bytes
    assert b"".join([piece async for piece in payload.chunks()]) == body, "as often as need be"
    return parsed_form(payload.content_type, body)


_names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=50)
_data = st.binary(max_size=200) | st.sampled_from(
    [
        b"\r\n--of-the-clien",
        b"\r\n--of-the-client",
        b"--of-the-client--x",
        b"\r\n\r\n",
        bytes(IN_MEMORY_BYTES + 7),
    ]
)
_files = st.tuples(_names, st.just("audio/wav"), _data)


@given(
    fields=st.dictionaries(_names, _texts | _files, max_size=5),
    cuts=st.lists(st.integers(0, 1000), max_size=10),
)
def test_any_form_in_any_pieces_arrives_as_it_was_filled_in(
    fields: dict[str, str | File], cuts: list[int]
) -> None:
    body = form_bytes(fields)
    held = [value[2] for value in fields.values() if not isinstance(value, str)]
    if any(b"\r\n--of-the-client" in b"\r\n" + data for data in held):
        return  # no form can say that
    at = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(at)]

    async def check() -> None:
        with tempfile.TemporaryDirectory() as directory:
            form, taking = await taken(Path(directory), *pieces)
            for name, value in fields.items():
                assert form.value(name) == (value if isinstance(value, str) else None)
                assert form.has_file(name) == (not isinstance(value, str))
            assert await sent(form, model="m") == {**fields, "model": "m"}
            taking.close()

    trio.run(check)


@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"--of-the-client\r\n"]))
@example(data=b'Content-Disposition: form-data; name="a"\r\n\r\n', start=b"--of-the-client\r\n")
@example(
    data=b"Content-Disposition: form-data\r\n\r\n\r\n--of-the-client--",
    start=b"--of-the-client\r\n",
)
def test_no_bytes_do_more_than_be_refused(data: bytes, start: bytes) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as directory, suppress(InvalidForm):
            _, taking = await taken(Path(directory), start, data)
            taking.close()

    trio.run(check)


async def refusal(directory: Path, body: bytes) -> LbError:
    with pytest.raises(LbError) as caught:
        await taken(directory, body)
    return caught.value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "ends before"),
        (b"model=tiny", "ends before"),
        (form_bytes({"model": "m"})[:-4], "ends before"),
        (b"--of-the-client\r\nX: y\r\n\r\na\r\n--of-the-client--", "broken"),
        (
            b"--of-the-client\r\nContent-Disposition: form-data\r\n\r\nb\r\n--of-the-client--",
            "no name",
        ),
        (b"--of-the-client\r\nX: \xff\xfe\r\n\r\na\r\n--of-the-client--", "broken"),
        (b"--of-the-client\r\nX: " + b"y" * 200_000, "too long"),
        (b"x" * 200_000, "too long"),
        (form_bytes({"n" * 2000: "m"}), "longer than"),
        (form_bytes({"f": ("n" * 2000, "a/b", b"")}), "longer than"),
        (form_bytes([("a", "b")] * (MAX_PARTS + 1)), "more than 256 parts"),
    ],
)
async def test_what_is_wrong_is_said(tmp_path: Path, body: bytes, why: str) -> None:
    error = await refusal(tmp_path, body)
    assert isinstance(error, InvalidForm)
    assert why in error.message


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="a\rb"',
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=é",
    ],
)
def test_a_form_without_a_usable_boundary_is_refused(tmp_path: Path, content_type: str) -> None:
    with pytest.raises(InvalidForm, match="boundary"):
        intake(tmp_path, content_type=content_type)


async def test_what_stands_behind_the_end_is_ignored_but_counts(tmp_path: Path) -> None:
    body = form_bytes({"model": "m"})
    form, taking = await taken(tmp_path, body, b"x" * 500_000)
    assert form.value("model") == "m"
    taking.close()
    short = intake(tmp_path, limit=len(body) + 10)
    await short.take(body)
    with pytest.raises(RequestTooLarge):
        await short.take(b"x" * 11)
    short.close()


async def test_a_full_spool_is_503(tmp_path: Path) -> None:
    taking = FormIntake(
        {"content-type": CONTENT_TYPE}, Allowance(LIMIT), Spool(tmp_path, 1000, run_inline)
    )
    with pytest.raises(Overloaded):
        await taking.take(form_bytes({"f": ("a", "a/b", bytes(IN_MEMORY_BYTES * 2))}))
    taking.close()


async def test_a_long_field_is_kept_like_a_file() -> None:
    text = "é" * MAX_FIELD_BYTES
    async with form_of({"prompt": text}) as form:
        assert form.value("prompt") is None
        assert not form.has_file("prompt")
        assert await sent(form) == {"prompt": text}


async def test_names_cannot_carry_headers_along(tmp_path: Path) -> None:
    head = 'Content-Disposition: form-data; name="a\\"; x=\\"b"; filename="c%0D%0AX: y"'
    body = f"--{BOUNDARY}\r\n{head}\r\nContent-Type: a/b\x01\r\n\r\nd\r\n--{BOUNDARY}--".encode()
    form, taking = await taken(tmp_path, body)
    payload = form.payload({"model": 'm"\r\nX: y'})
    written = b"".join([piece async for piece in payload.chunks()])
    assert b"\r\nX: y\r\n" not in written.replace(b'm"\r\nX: y', b"")
    assert b"\x01" not in written
    assert written.count(b"Content-Disposition") == 2
    taking.close()


async def test_a_field_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    head = b'--of-the-client\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
    form, taking = await taken(tmp_path, head + b"\xff\r\n--of-the-client--")
    with pytest.raises(InvalidForm) as caught:
        form.value("model")
    assert caught.value.param == "model"
    taking.close()


async def test_the_first_of_two_fields_counts_and_one_is_sent() -> None:
    async with form_of({"model": "a", "x": "y"}) as form:
        assert form.value("nothing") is None
        assert await sent(form, model="b") == {"model": "b", "x": "y"}


async def test_no_cut_of_a_form_adds_to_its_parts(tmp_path: Path) -> None:
    body = form_bytes({"model": "m", "x": "y"})
    for at in range(len(body) + 1):
        form, taking = await taken(tmp_path, body[:at], body[at:])
        assert (form.value("model"), form.value("x")) == ("m", "y"), at
        taking.close()
    form, taking = await taken(tmp_path, *(bytes([byte]) for byte in body))
    assert (form.value("model"), form.value("x")) == ("m", "y")
    taking.close()
