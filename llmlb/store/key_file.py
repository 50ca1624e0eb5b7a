"""Where the keys of the secrets are, if the environment holds none: a file, one key per line."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import structlog
from cryptography.fernet import Fernet

from llmlb.errors import StartupError
from llmlb.store import files
from llmlb.store.faults import KeyFileRefused
from llmlb.store.secret_box import SecretBox, keys_of, new_key

log = structlog.get_logger()

FILE_NAME = "secret.key"
LARGEST_FILE_BYTES = 64 * 1024

_INSTEAD = "or set LLMLB_SECRET_KEY"


class KeyFile:
    """The newest key stands first and encrypts; the others only decrypt."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def lines(self) -> list[str]:
        """The keys, as they stand there; none if there is no file. Raises StartupError."""
        try:
            content = self._read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refusal(f"cannot be read ({error.strerror})", "give it to this user") from (
                None
            )
        try:
            text = content.decode("ascii")
        except UnicodeDecodeError:
            raise self._refusal("is not the text that it was", "restore it") from None
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise self._refusal(
                "is empty", "restore it, or remove it if no endpoint has a key or extra headers"
            )
        return lines

    def box(self) -> SecretBox:
        """What opens and seals with these keys; they are made at first need."""
        lines = self.lines()
        return SecretBox(
            keys_of(lines, str(self.path)) if lines else [],
            remedy=f"restore {self.path}, {_INSTEAD} to the key that was in it",
            make=self._made,
        )

    def replace(self, lines: Sequence[str]) -> None:
        """Let these keys be in it from now on: durable on return. Raises KeyFileRefused."""
        try:
            files.write_for_owner(self.path, _content(lines), anew=False)
        except OSError as error:
            raise self._not_written(error) from None

    def _made(self) -> list[Fernet]:
        try:
            files.write_for_owner(self.path, _content([new_key()]), anew=True)
        except FileExistsError:
            pass  # another database in this directory was faster, and its key is as good
        except OSError as error:
            raise self._not_written(error) from None
        return keys_of(self.lines(), str(self.path))

    def _read(self) -> bytes:
        if not self.path.is_file():  # reading a pipe would wait for ever
            if os.path.lexists(self.path):
                raise self._refusal("is not a file", "move it away")
            raise FileNotFoundError
        with self.path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                self._take_from_others(file.fileno())
            content = file.read(LARGEST_FILE_BYTES + 1)
        if len(content) > LARGEST_FILE_BYTES:
            raise self._refusal("is too large for a file of keys", "restore it")
        return content

    def _take_from_others(self, descriptor: int) -> None:
        try:
            os.fchmod(descriptor, files.OWNER_ONLY)
        except OSError as error:
            raise self._refusal(
                f"can be read by others ({error.strerror})", "take it from them with chmod 600"
            ) from None
        log.warning(
            "others could read the key of the secrets, and cannot any more; 'llmlb secrets "
            "rotate' makes a new one",
            file=str(self.path),
        )

    def _refusal(self, why: str, remedy: str) -> StartupError:
        return StartupError(f"The key file {self.path} {why}: {remedy}, {_INSTEAD}.")

    def _not_written(self, error: OSError) -> KeyFileRefused:
        return KeyFileRefused(f"its key file {self.path} cannot be written: {error.strerror}")


def _content(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
