from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from llmlb.demo.tiny_models import (
    LlamaShape,
    ProjectorShape,
    write_tiny_llama,
    write_tiny_projector,
)


def value(path: Path, key: str) -> object:
    field = gguf.GGUFReader(path).get_field(key)
    assert field is not None
    return field.contents()


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    first = write_tiny_llama(tmp_path / "first.gguf", seed=7).read_bytes()
    again = write_tiny_llama(tmp_path / "again.gguf", seed=7).read_bytes()
    other = write_tiny_llama(tmp_path / "other.gguf", seed=8).read_bytes()
    assert first == again
    assert first != other


def test_name_and_context_are_written_into_the_model(tmp_path: Path) -> None:
    path = write_tiny_llama(
        tmp_path / "sub" / "m.gguf", name="tiny-z", shape=LlamaShape(context_tokens=4096, layers=1)
    )
    assert value(path, "general.name") == "tiny-z"
    assert value(path, "llama.context_length") == 4096
    assert value(path, "llama.block_count") == 1


def test_every_byte_has_a_token(tmp_path: Path) -> None:
    tokens = value(write_tiny_llama(tmp_path / "m.gguf"), "tokenizer.ggml.tokens")
    assert isinstance(tokens, list)
    assert {f"<0x{byte:02X}>" for byte in range(256)} <= set(tokens)
    assert len(set(tokens)) == len(tokens)


def test_the_projector_fits_the_model_it_is_served_with(tmp_path: Path) -> None:
    path = write_tiny_projector(tmp_path / "p.gguf", shape=ProjectorShape(image_px=56))
    assert value(path, "clip.vision.projection_dim") == LlamaShape().embedding
    shapes = {tensor.name: list(tensor.shape) for tensor in gguf.GGUFReader(path).tensors}
    assert shapes["v.position_embd.weight"] == [32, (56 // 14) ** 2 + 1]
    assert shapes["mm.2.weight"] == [64, 64]


def test_an_interrupted_writing_leaves_neither_a_half_file_nor_the_old_one_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_llama(tmp_path / "m.gguf", seed=1)
    before = path.read_bytes()

    def interrupted(writer: gguf.GGUFWriter) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_tiny_llama(path, seed=2)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.gguf"]
