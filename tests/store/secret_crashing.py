"""An upgrade and a rotation of keys, ended at any of their steps by SIGKILL; run as a script."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
import trio

from llmlb.store.key_file import KeyFile
from llmlb.store.opening import open_store
from llmlb.store.secret_upkeep import secrets_of
from tests.sampling import some
from tests.store.conftest import NOW, run_inline
from tests.store.crashing import Steps, counted, kill_me
from tests.store.plaintext import HEADERS, KEY, bytes_below, older_database

EXPECTED = {"kept": (KEY, HEADERS), "bare": (None, ())}


@contextmanager
def counted_with_files(steps: Steps) -> Iterator[None]:
    """Also what is done to the file of keys."""

    def step(before: Callable[..., Any]) -> Callable[..., Any]:
        def taken(*arguments: Any, **options: Any) -> Any:
            steps.take()
            return before(*arguments, **options)

        return taken

    with (
        counted(steps),
        patch.object(os, "fsync", step(os.fsync)),
        patch.object(Path, "hardlink_to", step(Path.hardlink_to)),
        patch.object(Path, "replace", step(Path.replace)),
        patch.object(Path, "unlink", step(Path.unlink)),
    ):
        yield


def start(directory: Path) -> dict[str, object]:
    """Open the store as the server does, and close it; the secrets by endpoint."""

    async def main() -> dict[str, object]:
        store = await open_store(
            f"sqlite:{directory / 'llmlb.db'}",
            data_dir=directory,
            run_in_thread=run_inline,
            now=lambda: NOW,
        )
        found = {e.name: (e.api_key, e.extra_headers) for e in await store.endpoints.all()}
        await store.close()
        return dict(found)

    return trio.run(main)


def rotate(directory: Path) -> None:
    url = f"sqlite:{directory / 'llmlb.db'}"
    with secrets_of(url, data_dir=directory, secret_key=None) as upkeep:
        upkeep.rotate()


def prepare_upgrade(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    older_database(directory / "llmlb.db")


def prepare_rotation(directory: Path) -> None:
    prepare_upgrade(directory)
    start(directory)


SCENES: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "upgrade": (prepare_upgrade, start),
    "rotation": (prepare_rotation, rotate),
}


def main(scene: str, directory: Path) -> None:
    """Kill at every step; print how many there were, and after which the next start was wrong."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    prepare, act = SCENES[scene]
    prepare(directory)
    steps = Steps(None, kill_me)
    with counted_with_files(steps):
        act(directory)
    killed, wrong = 0, []
    tried = some(range(1, steps.taken + 1), scene, every=3)
    for step in tried:
        prepare(directory)
        child = os.fork()
        if child == 0:
            with counted_with_files(Steps(step, kill_me)):
                act(directory)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        found = start(directory)
        plain = b"canary" in bytes_below(directory)
        rotate(directory)
        alone = len(KeyFile(directory).lines()) == 1
        if found != EXPECTED or start(directory) != EXPECTED or plain or not alone:
            wrong.append(step)
    result = {"steps": steps.taken, "tried": len(tried), "killed": killed, "wrong": wrong}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
