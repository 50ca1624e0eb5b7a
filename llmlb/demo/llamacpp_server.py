"""How to serve one GGUF file with the real llama.cpp server in a process of its own.

    python -m llmlb.demo.llamacpp_server --model tiny.gguf --port 0 --alias tiny-llama

Prints one line with its address when it is ready, and ends on SIGTERM or SIGINT.
Needs the `demo` extra (xllamacpp).
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

READY_LINE = "ready at <{}>"
"""What is printed with the base URL. The brackets are for those who read it from a log that
llama.cpp's own threads write into at the same moment, even on the same line."""

EXIT_CANNOT_SERVE = 1
CONTEXT_TOKENS_PER_SLOT = 512


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end. Gives the exit code."""
    options = _parse(arguments)
    # Blocked first: a signal that comes while the model loads is then kept for sigwait().
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        server = _start(_load_library(), options)
        print(READY_LINE.format(server.listening_address), flush=True)  # noqa: T201 - our output
        signal.sigwait(_ENDING)
        del server  # its destructor closes the listener and joins the threads
    except _CannotServe as problem:
        print(f"llamacpp_server: {problem}", file=sys.stderr)  # noqa: T201
        return EXIT_CANNOT_SERVE
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
    return 0


_ENDING = (signal.SIGTERM, signal.SIGINT)


class _CannotServe(Exception):
    """str(error) is one sentence that says why and what to do."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m llmlb.demo.llamacpp_server")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--mmproj", type=Path, help="a vision projector, to read images")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 means any free port")
    parser.add_argument("--alias", help="the model's id; by default the file's name")
    parser.add_argument("--slots", type=int, default=4, help="requests that run at once")
    parser.add_argument(
        "--context", type=int, default=CONTEXT_TOKENS_PER_SLOT, help="tokens of each slot"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--embeddings", action="store_true", help="serve embeddings")
    return parser.parse_args(arguments)


def _load_library() -> ModuleType:
    try:
        import xllamacpp  # noqa: PLC0415 - only the `demo` extra brings it
    except ImportError as error:
        raise _CannotServe(
            f"the llama.cpp server is not installed ({error}); "
            "install it with: pip install 'llmlb[demo]'"
        ) from None
    library: ModuleType = xllamacpp
    return library


def _start(library: ModuleType, options: argparse.Namespace) -> Any:  # noqa: ANN401 - untyped wheel
    for path in (options.model, options.mmproj):
        if path is not None and not path.is_file():
            raise _CannotServe(f"there is no file {path}.")
    try:
        return library.Server(_parameters(library, options))
    except RuntimeError as error:
        raise _CannotServe(
            f"llama.cpp could not serve {options.model} on {options.host}:{options.port}; "
            f"either the port is taken or the file is damaged ({error})"
        ) from None


def _parameters(library: ModuleType, options: argparse.Namespace) -> Any:  # noqa: ANN401
    parameters = library.CommonParams()
    parameters.model.path = str(options.model)
    if options.mmproj is not None:
        parameters.mmproj.path = str(options.mmproj)
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.model_alias = {options.alias or options.model.name}
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.slots * options.context  # llama.cpp divides it
    parameters.cpuparams.n_threads = options.threads
    parameters.warmup = False
    if options.embeddings:
        parameters.embedding = True
        # the OpenAI route needs one vector per text, so token vectors have to be pooled
        parameters.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return parameters


if __name__ == "__main__":
    sys.exit(main())
