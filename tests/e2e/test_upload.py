"""A large upload on real sockets: what it takes of memory, and what it leaves on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx

from tests.e2e.conftest import StartBalancer
from tests.e2e.media_stub import MediaStub

MIB = 1024 * 1024
UPLOAD_BYTES = 200 * 1000 * 1000


def peak_bytes(pid: int) -> int:
    """The most memory that the process has ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)


def spooled_files_of(pid: int) -> list[str]:
    """Files of the spool that the process holds open, whether they have a name or not."""
    held = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            held.append(str(fd.readlink()))
    return [file for file in held if "spool" in file]


def form_with(n_bytes: int) -> Iterator[bytes]:
    yield (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-tiny\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    )
    for _ in range(n_bytes // 100_000):
        yield bytes(100_000)
    yield b"\r\n--b--\r\n"


def test_200_mb_go_through_flat_memory_and_leave_nothing_behind(
    start_balancer: StartBalancer, media_stub: MediaStub, tmp_path: Path
) -> None:
    balancer = start_balancer(directory=tmp_path)
    balancer.ask("POST", "/api/endpoints", {"name": "stub", "base_url": media_stub.url})
    balancer.wait_until_online("stub")
    url = f"{balancer.base_url}/v1/audio/transcriptions"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    small = httpx.post(url, headers=headers, content=form_with(100_000))
    assert small.status_code == 200
    before_bytes = peak_bytes(balancer.child.pid)

    answer = httpx.post(url, headers=headers, content=form_with(UPLOAD_BYTES), timeout=120)

    assert (answer.status_code, answer.json()) == (200, {"text": "hello"})
    path, content_type, length = media_stub.asked[-1]
    assert path == "/v1/audio/transcriptions"
    assert content_type.startswith("multipart/form-data; boundary=llmlb-")
    assert length > UPLOAD_BYTES
    assert peak_bytes(balancer.child.pid) - before_bytes < 40 * MIB
    assert not [file for spool in tmp_path.rglob("spool") for file in spool.iterdir()]
    gives_up_at_s = time.monotonic() + 5  # the client has its answer a moment before it is let go
    while held := spooled_files_of(balancer.child.pid):
        assert time.monotonic() < gives_up_at_s, held
        time.sleep(0.05)
