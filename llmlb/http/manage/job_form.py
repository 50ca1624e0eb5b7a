"""What may be said of a download, a deletion and a benchmark."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from llmlb.forms import Checked, Form
from llmlb.jobs import BenchmarkPlan
from llmlb.types import Api

NAME_CHARS = 500
"""A model may be named by a link."""

_REPO = r"[\w.-]{1,100}/[\w.-]{1,200}"
_QUANTIZATION = r"[\w.-]{1,50}"


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("may not be blank")
    if len(text) > NAME_CHARS:
        raise ValueError(f"may not be longer than {NAME_CHARS} characters")
    if not text.isprintable():
        raise ValueError("may not hold control characters or line breaks")
    return text.strip()


def _repo(text: str) -> str:
    if not re.fullmatch(_REPO, text, re.ASCII):
        raise ValueError("must be like owner/name, as Hugging Face has it")
    return text


def _quantization(text: str) -> str:
    if not re.fullmatch(_QUANTIZATION, text, re.ASCII):
        raise ValueError("must be like Q4_K_M")
    return text


def _from_to(least: float, most: float) -> Checked:
    def check(number: float) -> float:
        if not least <= number <= most:
            raise ValueError(f"must be from {least} to {most}")
        return number

    return Checked(check, minimum=least, maximum=most)


_ModelName = Annotated[str, Checked(_name, minLength=1, maxLength=NAME_CHARS)]


class DownloadForm(Form):
    """A model that an endpoint is to fetch."""

    model: _ModelName
    """As the endpoint's own library knows it, as `llama3.2:3b`."""
    hf_repo: Annotated[str, Checked(_repo)] | None = None
    """A repository of Hugging Face in its place."""
    quantization: Annotated[str, Checked(_quantization)] | None = None
    """Which of its files, as `Q4_K_M`; not said: the endpoint's choice."""


class DeletionForm(Form):
    """A model that an endpoint is to delete."""

    model: _ModelName
    """As the endpoint itself calls it."""


class BenchmarkForm(Form):
    """A benchmark of one model on all of its endpoints."""

    model: _ModelName
    api_kind: Literal["chat_completions", "completions", "responses"] = "chat_completions"
    """The route that is measured; not said: chats."""
    total_requests: Annotated[int, _from_to(1, 500)] = 20
    """The endpoints take turns; not said: 20."""
    concurrency: Annotated[int, _from_to(1, 64)] = 4
    """Requests at once, over all endpoints; not said: 4."""
    max_tokens: Annotated[int, _from_to(1, 4096)] = 128
    """Of each answer; not said: 128."""
    temperature: Annotated[float, _from_to(0, 2)] = 0.2
    """Not said: 0.2."""

    def plan(self) -> BenchmarkPlan:
        """What is to be measured."""
        return BenchmarkPlan(
            self.model,
            Api(self.api_kind),
            self.total_requests,
            self.concurrency,
            self.max_tokens,
            self.temperature,
        )
