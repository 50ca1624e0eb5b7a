from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llmlb.demo import llamacpp_server


class FakeLlamaCpp(ModuleType):
    """Stands for xllamacpp: keeps the parameters that a server was made with."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__("xllamacpp")
        self.broken = broken
        self.made_with: list[Any] = []
        self.llama_pooling_type = SimpleNamespace(LLAMA_POOLING_TYPE_MEAN="mean")

    def CommonParams(self) -> Any:  # noqa: N802 - as the real one
        return SimpleNamespace(
            model=SimpleNamespace(path=""),
            mmproj=SimpleNamespace(path=""),
            cpuparams=SimpleNamespace(n_threads=4),
            embedding=False,
        )

    def Server(self, parameters: Any) -> Any:  # noqa: N802
        if self.broken:
            raise RuntimeError("Failed to init server")
        self.made_with.append(parameters)
        return SimpleNamespace(listening_address=f"http://127.0.0.1:{parameters.port or 4321}")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLlamaCpp:
    fake = FakeLlamaCpp()
    monkeypatch.setitem(sys.modules, "xllamacpp", fake)
    return fake


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    return path


@pytest.fixture(autouse=True)
def ended_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The signal that would end the server has come already."""
    waited_for: list[Any] = []
    monkeypatch.setattr(signal, "sigwait", waited_for.append)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield waited_for
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_it_prints_its_address_and_waits_for_the_signals_that_end_it(
    library: FakeLlamaCpp,
    model: Path,
    ended_at_once: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert llamacpp_server.main(["--model", str(model), "--alias", "tiny-x", "--slots", "2"]) == 0
    assert capsys.readouterr().out == "ready at <http://127.0.0.1:4321>\n"
    assert set(ended_at_once[0]) == {signal.SIGINT, signal.SIGTERM}
    (parameters,) = library.made_with
    assert parameters.model.path == str(model)
    assert parameters.model_alias == {"tiny-x"}
    assert parameters.n_parallel == 2
    assert parameters.port == 0
    assert not parameters.embedding


def test_without_an_alias_the_model_is_named_by_its_file(
    library: FakeLlamaCpp, model: Path
) -> None:
    llamacpp_server.main(["--model", str(model)])
    assert library.made_with[0].model_alias == {"tiny.gguf"}


def test_embeddings_are_pooled(library: FakeLlamaCpp, model: Path) -> None:
    llamacpp_server.main(["--model", str(model), "--embeddings"])
    assert library.made_with[0].embedding
    assert library.made_with[0].pooling_type == "mean"


def test_a_projector_is_handed_on(library: FakeLlamaCpp, model: Path) -> None:
    llamacpp_server.main(["--model", str(model), "--mmproj", str(model)])
    assert library.made_with[0].mmproj.path == str(model)


def test_a_missing_file_is_named(
    library: FakeLlamaCpp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.gguf"
    assert llamacpp_server.main(["--model", str(missing)]) == 1
    assert capsys.readouterr().err == f"llamacpp_server: there is no file {missing}.\n"


def test_a_server_that_cannot_start_says_where(
    library: FakeLlamaCpp, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.broken = True
    assert llamacpp_server.main(["--model", str(model), "--port", "4000"]) == 1
    assert f"could not serve {model} on 127.0.0.1:4000" in capsys.readouterr().err


def test_a_missing_wheel_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert llamacpp_server.main(["--model", str(model)]) == 1
    assert "pip install 'llmlb[demo]'" in capsys.readouterr().err
