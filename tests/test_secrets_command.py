"""`llmlb secrets`: what it says, and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from llmlb.cli import main
from llmlb.store.key_file import FILE_NAME
from llmlb.store.opening import Store, open_store
from llmlb.store.secret_box import new_key
from llmlb.types import Endpoint, EndpointId
from tests.store.conftest import NOW, run_inline

KEY, HEADERS = "canary-key", (("X-Pass", "canary-header"),)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMLB_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("LLMLB_SECRET_KEY", raising=False)
    monkeypatch.delenv("LLMLB_DATABASE_URL", raising=False)
    return tmp_path


def with_store(directory: Path, work: Callable[[Store], Awaitable[None]]) -> None:
    async def run() -> None:
        store = await open_store(
            f"sqlite:{directory / 'llmlb.db'}", data_dir=directory, run_in_thread=run_inline
        )
        async with AsyncExitStack() as held:
            held.push_async_callback(store.close)
            await work(store)

    trio.run(run)


@pytest.fixture
def filled(directory: Path) -> Path:
    async def fill(store: Store) -> None:
        for number, key, headers in ((1, KEY, HEADERS), (2, KEY, ()), (3, None, ())):
            await store.endpoints.insert(
                Endpoint(
                    EndpointId(str(number)),
                    f"e{number}",
                    f"http://e{number}",
                    NOW,
                    api_key=key,
                    extra_headers=headers,
                )
            )

    with_store(directory, fill)
    return directory


def run(*arguments: str, given: str | None = None) -> Result:
    result = CliRunner().invoke(main, ["secrets", *arguments], input=given)
    assert "canary" not in result.output
    assert result.stdout == ""
    return result


def keys(directory: Path) -> list[str | None]:
    found: list[str | None] = []

    async def read(store: Store) -> None:
        found.extend(e.api_key for e in await store.endpoints.all())

    with_store(directory, read)
    return found


def test_rotate_says_what_it_did(filled: Path) -> None:
    result = run("rotate")
    assert result.exit_code == 0
    assert result.stderr.startswith("Secrets of 2 endpoints are encrypted with a new key")
    assert keys(filled) == [KEY, KEY, None]


def test_a_refusal_is_one_sentence_and_exit_code_1(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rotate_beside(_store: Store) -> None:
        result = run("rotate")
        assert result.exit_code == 1
        assert "is in use by another llmlb" in result.stderr

    with_store(filled, rotate_beside)
    monkeypatch.setenv("LLMLB_SECRET_KEY", "short")
    for command in ("rotate", "forget"):
        result = run(command)
        assert result.exit_code == 1
        assert result.stderr.startswith("LLMLB_SECRET_KEY holds a key of fewer than 32 characters")
        assert result.stderr.count("\n") == 1


def test_a_wrong_setting_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLB_PORT", "x")
    result = run("rotate")
    assert result.exit_code == 1
    assert "LLMLB_PORT=x is not valid" in result.stderr


def test_there_may_be_nothing_to_forget(filled: Path) -> None:
    result = run("forget")
    assert result.exit_code == 0
    assert "nothing to forget" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "answer", "code", "left"),
    [((), "y\n", 0, 0), (("--yes",), None, 0, 0), ((), "n\n", 1, 2), ((), "", 1, 2)],
)
def test_forget_says_what_is_lost_and_asks(
    filled: Path, arguments: tuple[str, ...], answer: str | None, code: int, left: int
) -> None:
    key_file = filled / FILE_NAME
    key = key_file.read_text()
    key_file.unlink()
    result = run("forget", *arguments, given=answer)
    assert result.exit_code == code
    assert "The API key and extra headers of the endpoint 'e1' cannot be decrypted." in (
        result.stderr
    )
    assert "The API key of the endpoint 'e2' cannot be decrypted." in result.stderr
    assert "e3" not in result.stderr
    assert ("Forget them for good?" in result.stderr) == (arguments == ())
    key_file.write_text(key)
    key_file.chmod(0o600)
    assert sum(key == KEY for key in keys(filled)) == left


def test_a_key_that_is_guessable_in_the_file_is_no_reason_to_forget(filled: Path) -> None:
    (filled / FILE_NAME).write_text(f"{new_key()}\nshort\n")
    result = run("forget", "--yes")
    assert result.exit_code == 1
    assert FILE_NAME in result.stderr
