"""The official client in front, real llama.cpp servers behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.conftest import StartBalancer
from tests.e2e.fleet import Balancer, Fleet

TO_THE_END = {"ignore_eos": True}
"""llama.cpp's own field, passed on like any that llmlb does not know: no early end by chance."""

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(balancer: Balancer) -> Iterator[OpenAI]:
    base_url = f"{balancer.base_url}/v1"
    with OpenAI(base_url=base_url, api_key="sk-of-the-client", max_retries=0) as client:
        yield client


def test_the_models_of_all_endpoints_are_listed(client: OpenAI) -> None:
    assert {m.id for m in client.models.list()} == {"tiny-a", "tiny-b", "tiny-s", "tiny-embed"}
    assert client.models.retrieve("tiny-s").id == "tiny-s"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such:model")
    assert caught.value.code == "model_not_found"


def test_a_plain_chat_completion(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="tiny-a", messages=HELLO, max_tokens=8, extra_body=TO_THE_END
    )
    answer = raw.parse()
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert raw.headers["x-llmlb-endpoint"] == "a"
    assert raw.headers["x-llmlb-attempts"] == "1"


def test_a_streamed_chat_completion(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny-b", messages=HELLO, max_tokens=8, extra_body=TO_THE_END, stream=True
    )
    chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)
    assert sum(bool(c.choices[0].delta.content) for c in chunks) >= 1


def test_a_client_that_asks_for_usage_gets_it(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny-b",
        messages=HELLO,
        max_tokens=8,
        extra_body=TO_THE_END,
        stream=True,
        stream_options={"include_usage": True},
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 8


def test_completions_plain_and_streamed(client: OpenAI) -> None:
    plain = client.completions.create(
        model="tiny-a", prompt="once", max_tokens=4, extra_body=TO_THE_END
    )
    assert plain.choices[0].finish_reason == "length"
    stream = client.completions.create(
        model="tiny-a", prompt="once", max_tokens=4, extra_body=TO_THE_END, stream=True
    )
    assert list(stream)[-1].choices[0].finish_reason == "length"


def test_embeddings(client: OpenAI) -> None:
    answer = client.embeddings.create(model="tiny-embed", input=["one", "two"])
    assert len(answer.data) == 2
    assert len(answer.data[0].embedding) > 1


# The SDK leaves its own generators half read at the end of a stream, which Trio points out.
@pytest.mark.filterwarnings("ignore:.*async.generator.*:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Async generator 'openai:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
async def test_the_asynchronous_client_plain_and_streamed(balancer: Balancer) -> None:
    async with AsyncOpenAI(
        base_url=f"{balancer.base_url}/v1", api_key="any", max_retries=0
    ) as client:
        plain = await client.chat.completions.create(
            model="tiny-s", messages=HELLO, max_tokens=4, extra_body=TO_THE_END
        )
        assert plain.usage is not None
        stream = await client.chat.completions.create(
            model="tiny-s", messages=HELLO, max_tokens=4, extra_body=TO_THE_END, stream=True
        )
        reasons = [chunk.choices[0].finish_reason async for chunk in stream]
        assert reasons[-1] == "length"


def test_errors_raise_the_classes_that_the_sdk_has_for_them(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody-has-this", messages=HELLO)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="tiny-a", messages="text")  # type: ignore[arg-type]
    assert bad.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError):
        # llama.cpp itself answers 500 to this one.
        client.post("/chat/completions", body={"model": "tiny-a"}, cast_to=object)


def test_what_was_served_is_counted_and_measured(client: OpenAI, balancer: Balancer) -> None:
    before = balancer.endpoints()["a"]
    client.chat.completions.create(
        model="tiny-a", messages=HELLO, max_tokens=5, extra_body=TO_THE_END
    )
    list(
        client.chat.completions.create(
            model="tiny-a", messages=HELLO, max_tokens=5, extra_body=TO_THE_END, stream=True
        )
    )
    after = balancer.endpoints()["a"]
    assert after["successful_requests"] == before["successful_requests"] + 2
    assert after["total_output_tokens"] == before["total_output_tokens"] + 10
    assert after["latency_ms"] > 0
    assert after["inflight"] == 0
    assert after["engine"] == "llama.cpp"
    assert after["max_concurrency_assumed"] is False


def test_both_servers_of_a_shared_model_get_work(client: OpenAI) -> None:
    def one(_: int) -> str:
        raw = client.chat.completions.with_raw_response.create(
            model="tiny-s", messages=HELLO, max_tokens=16, extra_body=TO_THE_END
        )
        return str(raw.headers["x-llmlb-endpoint"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(24))) == {"s1", "s2"}


def test_a_killed_server_costs_no_request_that_had_not_begun_to_stream(
    fleet: Fleet, balancer: Balancer, client: OpenAI
) -> None:
    """100 requests for S while one of its two servers is killed with SIGKILL."""
    failures: list[str] = []
    begun_and_cut = 0

    def one(number: int) -> None:
        nonlocal begun_and_cut
        if number == 30:
            fleet.s1.kill()
        if number % 2:
            answer = client.chat.completions.create(
                model="tiny-s", messages=HELLO, max_tokens=24, extra_body=TO_THE_END
            )
            if answer.choices[0].finish_reason != "length":
                failures.append(f"{number}: {answer!r}")
            return
        begun = False
        try:
            for chunk in client.chat.completions.create(
                model="tiny-s", messages=HELLO, max_tokens=24, extra_body=TO_THE_END, stream=True
            ):
                begun = begun or bool(chunk.choices)
        except openai.APIError as error:
            if begun:
                begun_and_cut += 1
            else:
                failures.append(f"{number}: {error!r}")

    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(one, range(100)))
        assert failures == []
        assert begun_and_cut <= 6
        balancer.wait_until_status("offline", "s1")
        assert balancer.endpoints()["s1"]["latency_ms"] is None
    finally:
        fleet.ensure_running()
    balancer.wait_until_status("online", "s1")


def test_the_bare_hypercorn_command_serves_the_same(
    fleet: Fleet, start_balancer: StartBalancer
) -> None:
    balancer = start_balancer(face="hypercorn")
    balancer.register_all(fleet.a)
    with OpenAI(base_url=f"{balancer.base_url}/v1", api_key="any", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="tiny-a", messages=HELLO, max_tokens=6, extra_body=TO_THE_END, stream=True
        )
        assert list(stream)[-1].choices[0].finish_reason == "length"
    assert balancer.stop() == 0


def test_responses_plain_and_streamed(client: OpenAI) -> None:
    plain = client.responses.create(model="tiny-a", input="hello", max_output_tokens=4)
    assert plain.status == "completed"
    assert plain.usage is not None
    events = list(
        client.responses.create(model="tiny-a", input="hello", max_output_tokens=4, stream=True)
    )
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"


def test_a_route_that_the_engine_lacks_for_a_model_is_a_bad_request(client: OpenAI) -> None:
    body = {"model": "tiny-a", "query": "q", "documents": ["one", "two"]}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/rerank", body=body, cast_to=object)
    assert caught.value.code == "unsupported_capability"
