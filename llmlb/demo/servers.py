"""The command lines of the processes that the demonstration and the end-to-end tests start."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmlb.demo.children import Child
from llmlb.demo.llamacpp_server import READY_LINE
from llmlb.demo.ports import LOOPBACK

_READY_LINE = re.compile(READY_LINE.format(r"([^<>\s]+)"))


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """What one llama.cpp server process serves."""

    name: str
    model_file: Path
    alias: str
    """The model's id for clients."""
    slots: int = 4
    embeddings: bool = False
    projector_file: Path | None = None
    context_tokens: int | None = None
    """Of each slot; None leaves it to the server."""
    threads: int = 1

    def command(self, port: int = 0) -> tuple[str, ...]:
        """How to start it; port 0 means any free one."""
        words = [sys.executable, "-m", "llmlb.demo.llamacpp_server"]
        words += ["--model", str(self.model_file), "--alias", self.alias]
        words += ["--port", str(port), "--slots", str(self.slots)]
        if self.context_tokens is not None:
            words += ["--context", str(self.context_tokens)]
        if self.threads != 1:
            words += ["--threads", str(self.threads)]
        if self.embeddings:
            words.append("--embeddings")
        if self.projector_file is not None:
            words += ["--mmproj", str(self.projector_file)]
        return tuple(words)

    def start(
        self, log_dir: Path, *, port: int = 0, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start the process, without waiting until it is ready."""
        log = log_dir / f"{self.name}.log"
        return Child(self.name, self.command(port), log=log, environment=environment)


def address_of(server: Child) -> str | None:
    """The base URL that a llama.cpp server has announced, None before it is ready."""
    match = _READY_LINE.search(server.output())
    return match.group(1) if match else None


def hypercorn_command(port: int) -> tuple[str, ...]:
    """The balancer under the bare server command."""
    return (
        *(sys.executable, "-m", "hypercorn", "llmlb.http:app"),
        *("--worker-class", "trio", "--bind", f"{LOOPBACK}:{port}"),
    )


def llmlb_command(*words: str) -> tuple[str, ...]:
    """The console script `llmlb`, under this very interpreter."""
    script = "import sys; from llmlb.cli import main; sys.exit(main())"
    return (sys.executable, "-c", script, *words)


def llmlb_serve_command(port: int) -> tuple[str, ...]:
    """The balancer under its own hosting."""
    return llmlb_command("serve", "--host", LOOPBACK, "--port", str(port))
