from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from llmlb.demo import ports


def test_a_free_port_can_be_listened_on() -> None:
    assert ports.why_not_bindable(ports.free_port()) is None


def test_a_taken_port_is_said_to_be_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reason = ports.why_not_bindable(server.getsockname()[1])
    assert reason is not None
    assert reason.startswith("is in use by ")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux says who listens")
def test_the_holder_of_a_port_is_named_where_the_system_tells() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        holder = ports.holder_of(server.getsockname()[1])
    assert holder is not None
    assert holder.startswith(f"process {os.getpid()} (")


def test_a_holder_that_is_not_known_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "holder_of", lambda port: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        reason = ports.why_not_bindable(server.getsockname()[1])
    assert reason == "is in use by another process"


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    reason = ports.why_not_bindable(0, host="192.0.2.1")
    assert reason is not None
    assert reason.startswith("cannot be listened on (")


TABLE = "sl local st ...\n 0: 0100007F:{port:04X} 00000000:0000 {state} 0:0 0:0 0 0 0 {inode} 1\n"


def make_proc(directory: Path, *, port: int, state: str = "0A", inode: int = 77) -> Path:
    (directory / "net").mkdir()
    (directory / "net" / "tcp").write_text(TABLE.format(port=port, state=state, inode=inode))
    return directory


def make_process(proc: Path, pid: int, command: bytes, inode: int) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")
    (proc / str(pid) / "fd" / "4").symlink_to("/dev/null")
    (proc / str(pid) / "cmdline").write_bytes(command)


def test_the_holder_is_the_process_with_the_listening_socket(tmp_path: Path) -> None:
    proc = make_proc(tmp_path, port=4000)
    make_process(proc, 11, b"other\0", inode=76)
    make_process(proc, 12, b"python\0-m\0hypercorn\0", inode=77)
    (proc / "13").mkdir()  # has just ended
    assert ports.holder_of(4000, proc) == "process 12 (python -m hypercorn)"


def test_a_process_that_hides_its_command_line_is_still_numbered(tmp_path: Path) -> None:
    proc = make_proc(tmp_path, port=4000)
    make_process(proc, 12, b"", inode=77)
    assert ports.holder_of(4000, proc) == "process 12 (name not known)"


def test_connections_are_no_holders(tmp_path: Path) -> None:
    assert ports.holder_of(4000, make_proc(tmp_path, port=4000, state="01")) is None


def test_a_socket_of_nobody_that_we_may_see_has_no_holder(tmp_path: Path) -> None:
    assert ports.holder_of(4000, make_proc(tmp_path, port=4000)) is None


def test_a_system_without_proc_has_no_holder(tmp_path: Path) -> None:
    assert ports.holder_of(4000, tmp_path / "nothing") is None
