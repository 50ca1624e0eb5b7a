"""Which names mean the same model, though engines and libraries spell them differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

_DEFAULT_TAG = ":latest"
"""What Ollama reads into a name without a tag."""


def _meta(version: str, size: str) -> tuple[str, ...]:
    """Llama 3.1: Meta renamed its repositories, and LM Studio still has the older name."""
    repository = f"Llama-{version}-{size}-Instruct"
    return (
        f"meta-llama/{repository}",
        f"meta-llama/Meta-{repository}",
        f"meta-{repository.lower()}",
        repository.lower(),
    )


def _published(owner: str, repository: str) -> tuple[str, ...]:
    """On Hugging Face (and so in vLLM) with its owner, in LM Studio without."""
    return f"{owner}/{repository}", repository.lower()


def _groups() -> Iterator[tuple[str, ...]]:
    """One tuple per model: the same size, the same tuning, and of Ollama's tags the plain ones.

    A tag that Ollama has moved to other weights since (qwen3:4b, deepseek-r1:8b) is in none.
    """
    yield (
        "llama3:8b",
        "llama3",
        *_published("meta-llama", "Meta-Llama-3-8B-Instruct"),
    )
    yield "llama3:70b", *_published("meta-llama", "Meta-Llama-3-70B-Instruct")
    yield "llama3.1:8b", "llama3.1", *_meta("3.1", "8B")
    yield "llama3.1:70b", *_meta("3.1", "70B")
    yield "llama3.2:1b", *_published("meta-llama", "Llama-3.2-1B-Instruct")
    yield "llama3.2:3b", "llama3.2", *_published("meta-llama", "Llama-3.2-3B-Instruct")
    yield (
        "llama3.2-vision:11b",
        "llama3.2-vision",
        *_published("meta-llama", "Llama-3.2-11B-Vision-Instruct"),
    )
    yield "llama3.3:70b", "llama3.3", *_published("meta-llama", "Llama-3.3-70B-Instruct")

    for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"):
        plain = ("qwen2.5",) if size == "7B" else ()
        yield f"qwen2.5:{size.lower()}", *plain, *_published("Qwen", f"Qwen2.5-{size}-Instruct")
    for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B"):
        plain = ("qwen2.5-coder",) if size == "7B" else ()
        published = _published("Qwen", f"Qwen2.5-Coder-{size}-Instruct")
        yield f"qwen2.5-coder:{size.lower()}", *plain, *published
    for size in ("3B", "7B", "32B", "72B"):
        plain = ("qwen2.5vl",) if size == "7B" else ()
        yield (
            f"qwen2.5vl:{size.lower()}",
            *plain,
            *_published("Qwen", f"Qwen2.5-VL-{size}-Instruct"),
        )
    for size in ("0.6B", "1.7B", "8B", "14B", "32B"):
        plain = ("qwen3",) if size == "8B" else ()
        yield f"qwen3:{size.lower()}", *plain, *_published("Qwen", f"Qwen3-{size}")

    for size in ("2b", "9b", "27b"):
        plain = ("gemma2",) if size == "9b" else ()
        yield f"gemma2:{size}", *plain, *_published("google", f"gemma-2-{size}-it")
    for size in ("1b", "4b", "12b", "27b"):
        plain = ("gemma3",) if size == "4b" else ()
        yield f"gemma3:{size}", *plain, *_published("google", f"gemma-3-{size}-it")

    yield "mistral:7b", "mistral", *_published("mistralai", "Mistral-7B-Instruct-v0.3")
    yield (
        "mistral-nemo:12b",
        "mistral-nemo",
        *_published("mistralai", "Mistral-Nemo-Instruct-2407"),
    )
    yield "mixtral:8x7b", "mixtral", *_published("mistralai", "Mixtral-8x7B-Instruct-v0.1")
    yield "mixtral:8x22b", *_published("mistralai", "Mixtral-8x22B-Instruct-v0.1")

    yield "phi4:14b", "phi4", *_published("microsoft", "phi-4")
    yield "phi4-mini:3.8b", "phi4-mini", *_published("microsoft", "Phi-4-mini-instruct")

    yield "gpt-oss:20b", "gpt-oss", *_published("openai", "gpt-oss-20b")
    yield "gpt-oss:120b", *_published("openai", "gpt-oss-120b")

    for size in ("1.5B", "7B", "14B", "32B"):
        published = _published("deepseek-ai", f"DeepSeek-R1-Distill-Qwen-{size}")
        yield f"deepseek-r1:{size.lower()}", *published
    yield "deepseek-r1:70b", *_published("deepseek-ai", "DeepSeek-R1-Distill-Llama-70B")

    yield "llava:7b", "llava", "llava-hf/llava-v1.6-mistral-7b-hf", "llava-v1.6-mistral-7b"
    yield "llava:13b", "llava-hf/llava-v1.6-vicuna-13b-hf", "llava-v1.6-vicuna-13b"

    # LM Studio puts "text-embedding-" before the name of an embedding model.
    yield (
        "nomic-embed-text",
        "nomic-embed-text:v1.5",
        *_published("nomic-ai", "nomic-embed-text-v1.5"),
        "text-embedding-nomic-embed-text-v1.5",
    )
    yield "bge-m3", "bge-m3:567m", "BAAI/bge-m3", "text-embedding-bge-m3"
    yield (
        "mxbai-embed-large",
        "mxbai-embed-large:335m",
        *_published("mixedbread-ai", "mxbai-embed-large-v1"),
        "text-embedding-mxbai-embed-large-v1",
    )


GROUPS: tuple[tuple[str, ...], ...] = tuple(_groups())
"""Names of one model each, as they are usually written; no name stands in two groups."""

_GROUP_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name.lower(): group for group in GROUPS for name in group}
)


def twin(name: str) -> str:
    """The same name as Ollama also writes it: `name` for `name:latest`, and the reverse."""
    if name.endswith(_DEFAULT_TAG):
        return name.removesuffix(_DEFAULT_TAG)
    return name + _DEFAULT_TAG


def canonical(name: str) -> str:
    """A text that is equal for two names if, and only if, they are known to mean one model.

    The built-in names are compared without regard to case, all others exactly.
    """
    untagged = name.removesuffix(_DEFAULT_TAG)
    group = _GROUP_OF.get(untagged.lower())
    return untagged if group is None else group[0]


def usual(name: str) -> str:
    """*name* as it is usually written, if it is built in, for case does not matter then.

    So the names that reach a model are few, however many ways clients find to write them.
    """
    untagged = name.removesuffix(_DEFAULT_TAG)
    group = _GROUP_OF.get(untagged.lower(), ())
    return next((known for known in group if known.lower() == untagged.lower()), name)


def equivalents(name: str) -> tuple[str, ...]:
    """The other built-in names of the model that *name* means; none for an unknown name."""
    group = _GROUP_OF.get(name.removesuffix(_DEFAULT_TAG).lower(), ())
    return tuple(other for other in group if other != name)
