"""Which files a real llama.cpp server can serve without a download: tiny random-weight models.

The text they make is noise; slots, batching, streaming, usage and image decoding are real.
Needs the `demo` extra (numpy and gguf).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

_Tensor = npt.NDArray[np.float32]

_WORDS = (
    *("▁", "▁the", "▁a", "▁of", "▁to", "▁and", "▁in", "▁is", "▁it", "▁that", "▁hello", "▁world"),
    *"etaoinshrdlu.",
)
WORD_BOOST = 3
"""How much louder the words are than raw bytes, so that the noise is mostly readable."""

_CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}assistant:"
)


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The dimensions of a tiny Llama. The defaults give a file of half a megabyte."""

    embedding: int = 64
    heads: int = 4
    layers: int = 2
    feed_forward: int = 128
    context_tokens: int = 2048


@dataclass(frozen=True, slots=True)
class ProjectorShape:
    """The dimensions of a tiny LLaVA-1.5 style vision projector (0.2 MB)."""

    text_embedding: int = 64
    """Has to equal `LlamaShape.embedding` of the model it is served with."""
    image_px: int = 28
    patch_px: int = 14
    embedding: int = 32
    heads: int = 2
    layers: int = 2
    feed_forward: int = 64


def write_tiny_llama(
    path: Path, *, name: str = "tiny-llama", seed: int = 0, shape: LlamaShape | None = None
) -> Path:
    """Write a chat-capable Llama with a byte-level vocabulary; the same seed, the same file."""
    shape = shape or LlamaShape()
    random = _Random(seed, scale=0.08)

    def fill(writer: gguf.GGUFWriter) -> None:
        vocabulary_size = _add_vocabulary(writer)
        _add_llama_header(writer, name, shape, vocabulary_size)
        _add_llama_tensors(writer, random, shape, vocabulary_size)

    return _write_atomically(path, "llama", fill)


def write_tiny_projector(
    path: Path,
    *,
    name: str = "tiny-llava-projector",
    seed: int = 1,
    shape: ProjectorShape | None = None,
) -> Path:
    """Write the file that lets the server of a tiny Llama read images (llama.cpp's mmproj)."""
    shape = shape or ProjectorShape()
    random = _Random(seed, scale=0.05)

    def fill(writer: gguf.GGUFWriter) -> None:
        _add_projector_header(writer, name, shape)
        _add_projector_tensors(writer, random, shape)

    return _write_atomically(path, "clip", fill)


class _Random:
    """Owns the generator of the weights."""

    def __init__(self, seed: int, scale: float) -> None:
        self._generator = np.random.default_rng(seed)
        self._scale = scale

    def tensor(self, *dimensions: int) -> _Tensor:
        values = self._generator.standard_normal(dimensions) * self._scale
        return values.astype(np.float32)


def _write_atomically(
    path: Path, architecture: str, fill: Callable[[gguf.GGUFWriter], None]
) -> Path:
    """Write beside *path*, then rename, so that an interrupted run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        writer = gguf.GGUFWriter(part, architecture)
        try:
            fill(writer)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _add_vocabulary(writer: gguf.GGUFWriter) -> int:
    """Three control tokens, one per byte, and a few words. Gives the number of tokens."""
    kinds = gguf.TokenType
    tokens: list[tuple[str, Any, float]] = [
        ("<unk>", kinds.UNKNOWN, 0.0),
        ("<s>", kinds.CONTROL, 0.0),
        ("</s>", kinds.CONTROL, 0.0),
    ]
    tokens += [(f"<0x{byte:02X}>", kinds.BYTE, 0.0) for byte in range(256)]
    tokens += [(word, kinds.NORMAL, -float(rank)) for rank, word in enumerate(_WORDS, start=1)]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_types([kind for _, kind, _ in tokens])
    writer.add_token_scores([score for _, _, score in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(_CHAT_TEMPLATE)
    return len(tokens)


def _add_llama_header(
    writer: gguf.GGUFWriter, name: str, shape: LlamaShape, vocabulary_size: int
) -> None:
    writer.add_name(name)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.embedding // shape.heads)
    writer.add_vocab_size(vocabulary_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_llama_tensors(
    writer: gguf.GGUFWriter, random: _Random, shape: LlamaShape, vocabulary_size: int
) -> None:
    width, inner = shape.embedding, shape.feed_forward
    writer.add_tensor("token_embd.weight", random.tensor(vocabulary_size, width))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    output = random.tensor(vocabulary_size, width)
    output[-len(_WORDS) :] *= WORD_BOOST
    writer.add_tensor("output.weight", output)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        writer.add_tensor(f"{block}attn_norm.weight", np.ones(width, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}{part}.weight", random.tensor(width, width))
        writer.add_tensor(f"{block}ffn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{block}ffn_gate.weight", random.tensor(inner, width))
        writer.add_tensor(f"{block}ffn_up.weight", random.tensor(inner, width))
        writer.add_tensor(f"{block}ffn_down.weight", random.tensor(width, inner))


def _add_projector_header(writer: gguf.GGUFWriter, name: str, shape: ProjectorShape) -> None:
    writer.add_type("mmproj")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_vision_encoder", val=True)
    writer.add_bool("clip.has_text_encoder", val=False)
    writer.add_bool("clip.has_llava_projector", val=True)
    writer.add_bool("clip.use_gelu", val=False)
    writer.add_string("clip.projector_type", "mlp")
    vision = "clip.vision."
    writer.add_uint32(f"{vision}image_size", shape.image_px)
    writer.add_uint32(f"{vision}patch_size", shape.patch_px)
    writer.add_uint32(f"{vision}embedding_length", shape.embedding)
    writer.add_uint32(f"{vision}feed_forward_length", shape.feed_forward)
    writer.add_uint32(f"{vision}projection_dim", shape.text_embedding)
    writer.add_uint32(f"{vision}block_count", shape.layers)
    writer.add_uint32(f"{vision}attention.head_count", shape.heads)
    writer.add_float32(f"{vision}attention.layer_norm_epsilon", 1e-5)
    writer.add_array(f"{vision}image_mean", [0.48145466, 0.4578275, 0.40821073])
    writer.add_array(f"{vision}image_std", [0.26862954, 0.26130258, 0.27577711])


def _add_projector_tensors(writer: gguf.GGUFWriter, random: _Random, shape: ProjectorShape) -> None:
    width, inner, text = shape.embedding, shape.feed_forward, shape.text_embedding
    positions = (shape.image_px // shape.patch_px) ** 2 + 1

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(width, np.float32))

    def add_linear(name: str, outputs: int, inputs: int) -> None:
        writer.add_tensor(f"{name}.weight", random.tensor(outputs, inputs))
        writer.add_tensor(f"{name}.bias", np.zeros(outputs, np.float32))

    writer.add_tensor("v.class_embd", random.tensor(width))
    writer.add_tensor(
        "v.patch_embd.weight", random.tensor(width, 3, shape.patch_px, shape.patch_px)
    )
    writer.add_tensor("v.position_embd.weight", random.tensor(positions, width))
    add_norm("v.pre_ln")
    add_norm("v.post_ln")
    for layer in range(shape.layers):
        block = f"v.blk.{layer}."
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            add_linear(f"{block}{part}", width, width)
        add_norm(f"{block}ln1")
        add_norm(f"{block}ln2")
        add_linear(f"{block}ffn_up", inner, width)
        add_linear(f"{block}ffn_down", width, inner)
    add_linear("mm.0", text, width)
    add_linear("mm.2", text, text)
