"""The official Anthropic client in front, a real llama.cpp server behind."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic

from tests.e2e.fleet import Balancer


@pytest.fixture
def client(balancer: Balancer) -> Iterator[Anthropic]:
    with Anthropic(base_url=balancer.base_url, api_key="any", max_retries=0) as client:
        yield client


def test_a_plain_message(client: Anthropic) -> None:
    message = client.messages.create(
        model="tiny-a", max_tokens=5, messages=[{"role": "user", "content": "hello"}]
    )
    assert message.role == "assistant"
    assert message.stop_reason in ("max_tokens", "end_turn")
    assert message.usage.output_tokens >= 1


def test_a_streamed_message(client: Anthropic) -> None:
    # Not by chance: where the first token is half a character, llama.cpp never says message_start.
    with client.messages.stream(
        model="tiny-a",
        max_tokens=5,
        extra_body={"temperature": 0},
        messages=[{"role": "user", "content": "hello"}],
    ) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert message.usage.input_tokens >= 1


def test_errors_raise_the_classes_that_the_sdk_has_for_them(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(
            model="nobody", max_tokens=5, messages=[{"role": "user", "content": "hello"}]
        )
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="tiny-a", max_tokens=5, messages=[])
