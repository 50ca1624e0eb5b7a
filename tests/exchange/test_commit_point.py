"""What commits a stream: until then a failure is the next endpoint's chance, after it is not."""

from __future__ import annotations

import pytest

from tests.fakes.house import COMPLETIONS, Scene
from tests.fakes.openai import chunk, event, finish, role, says, wire
from tests.fakes.upstream import Answer, disconnected, json_answer, sse_answer

COMMITTING: dict[str, object] = {
    "content": says("Hi"),
    "blank content": says(" "),
    "reasoning_content": chunk({"content": None, "reasoning_content": "Hm"}),
    "reasoning": chunk({"content": "", "reasoning": "Hm"}),
    "refusal": chunk({"refusal": "No"}),
    "tool_calls": chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
    "function_call": chunk({"function_call": {"name": "f", "arguments": ""}}),
    "audio": chunk({"audio": {"id": "a"}}),
    "text": {"choices": [{"index": 0, "text": "Hi", "finish_reason": None}]},
    "any finish_reason": chunk(finish="content_filter"),
    "the second of two choices": {
        "choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "x"}}]
    },
    "an unknown object": {"type": "response.output_text.delta", "delta": "Hi"},
    "an unknown list": [1, 2],
    "data that is no JSON": b"data: hello\n\n",
    "data that is no UTF-8": b"data: \xff\xfe\n\n",
    "data too deep to read": b"data: " + b"[" * 5000 + b"]" * 5000 + b"\n\n",
    "choices of another kind": {"choices": {"0": {}}},
    "a named event": b'event: response.created\ndata: {"type":"response.created"}\n\n',
}

WITHHELD: dict[str, object] = {
    "a role": role(),
    "an empty delta": chunk({}),
    "a null delta": {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
    "empty tool_calls": chunk({"role": "assistant", "tool_calls": [], "content": None}),
    "an empty finish_reason": chunk({}, finish=""),
    "no choices": {"choices": []},
    "a choice that is none": {"choices": [7, None]},
    "usage alone": {"choices": [], "usage": {"prompt_tokens": 3}},
    "a comment": b": keep-alive\n\n",
    "an event without data": b"event: ping\n\n",
    "blank lines": b"\n\n\n\n",
    "a retry": b"retry: 100\n\n",
}


@pytest.mark.parametrize("name", COMMITTING)
async def test_the_first_content_commits(scene: Scene, name: str) -> None:
    first = COMMITTING[name]
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(role(), first, disconnected()))
    scene.on("b", sse_answer(says("from b"), finish()))

    reply = await scene.stream()

    assert reply.body.startswith(wire(role(), first, done=False))
    if name == "any finish_reason":  # all is said
        assert reply.body == wire(role(), first, done=False)
    else:
        assert reply.last_error["type"] == "upstream_error"
    assert not scene.requests("b"), "never the same text twice"


@pytest.mark.parametrize("name", WITHHELD)
async def test_what_says_nothing_is_withheld(scene: Scene, name: str) -> None:
    first = WITHHELD[name]
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(first, disconnected()))
    scene.on("b", sse_answer(says("from b"), finish()))

    reply = await scene.stream(stream_options={"include_usage": True})

    assert reply.body == wire(says("from b"), finish())
    assert reply.headers["x-llmlb-endpoint"] == "b"
    assert reply.headers["x-llmlb-attempts"] == "2"


@pytest.mark.parametrize("name", WITHHELD)
async def test_what_was_withheld_comes_with_the_first_content(scene: Scene, name: str) -> None:
    first = WITHHELD[name]
    await scene.endpoint("a")
    scene.on("a", sse_answer(first, 1.0, says("Hi"), finish()))

    reply = await scene.stream(stream_options={"include_usage": True})

    assert reply.body == wire(first, says("Hi"), finish())
    assert reply.times[0] >= 1.0


async def test_the_first_content_of_a_completion_commits(scene: Scene) -> None:
    await scene.endpoint("a")
    first = {"choices": [{"index": 0, "text": "3"}]}
    scene.on("a", sse_answer({"choices": [{"text": ""}]}, first, disconnected()), COMPLETIONS)

    reply = await scene.ask(b'{"model":"tiny","stream":true,"prompt":"1"}', api=COMPLETIONS)

    assert reply.body.startswith(wire({"choices": [{"text": ""}]}, first, done=False))


async def test_64_kib_withheld_commit(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    comment = b": " + b"x" * 1020 + b"\n\n"
    assert len(comment) == 1024
    scene.on("a", sse_answer(*[comment] * 65, disconnected()))

    reply = await scene.stream()

    assert reply.body.startswith(comment * 65)
    assert reply.last_error["type"] == "upstream_error"
    assert not scene.requests("b")


async def test_64_kib_and_no_more_are_withheld(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(*[b": " + b"x" * 1020 + b"\n\n"] * 64, disconnected()))
    scene.on("b", sse_answer(says("from b"), finish()))

    reply = await scene.stream()

    assert reply.body == wire(says("from b"), finish())


async def test_an_event_too_long_to_hold_commits(scene: Scene) -> None:
    await scene.endpoint("a")
    huge = event(chunk({"role": "assistant", "content": "", "padding": "x" * 200_000}))
    reads = [huge[i : i + 4096] for i in range(0, len(huge), 4096)]
    scene.on("a", sse_answer(*reads, says("Hi"), finish()))

    reply = await scene.stream()

    assert reply.body == huge + wire(says("Hi"), finish())
    assert reply.status == 200


# -- after it


@pytest.mark.parametrize(
    "end",
    [
        disconnected(),
        {"error": {"message": "out of memory", "type": "server_error"}},
        {"object": "error", "message": "out of memory", "code": 500},
        {"id": "c-1", "error": {"message": "out of memory"}, "choices": []},
        b'event: error\ndata: {"message": "out of memory"}\n\n',
        b'error: {"message": "out of memory"}\n\n',
        b'error: {"code":500,"message":"out of memory"}\n\ndata: [DONE]\n\n',
    ],
)
async def test_a_failure_after_it_is_one_error_event_and_no_done(scene: Scene, end: object) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(says("Hi"), end, says("more"), finish()))

    reply = await scene.stream()
    await scene.settle()

    assert reply.status == 200
    assert reply.events[0] + b"\n\n" == event(says("Hi"))
    assert len(reply.events) == 2
    error = reply.last_error
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_error")
    if not isinstance(end, Exception):
        assert "out of memory" in error["message"]
    assert not reply.aborted, "the stream ends in good order"
    assert scene.totals("a").failed_requests == 1
    assert not scene.requests("b")
    assert scene.latency_ms("a") is None


async def test_what_came_before_an_error_in_the_same_read_is_passed_on(scene: Scene) -> None:
    await scene.endpoint("a")
    read = wire(says("B"), {"error": {"message": "out of memory"}}, says("C"), done=False)
    scene.on("a", sse_answer(says("A"), read))

    reply = await scene.stream()

    assert [e + b"\n\n" for e in reply.events[:-1]] == [event(says("A")), event(says("B"))]
    assert "out of memory" in reply.last_error["message"]


async def test_an_error_in_the_same_read_as_the_first_content_is_no_commit(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(wire(says("A"), {"error": {"message": "oom"}})))
    scene.on("b", sse_answer(says("from b"), finish()))

    assert (await scene.stream()).body == wire(says("from b"), finish())


async def test_a_model_may_talk_about_errors(scene: Scene) -> None:
    await scene.endpoint("a")
    talk = [
        says('{"error": {"message": "x"}}'),
        says('"finish_reason": "stop"'),
        says("data: [DONE]"),
        says("event: error\n\nerror: x"),
        {**says("x"), "error": None},
        chunk({"tool_calls": [{"function": {"arguments": '{"error": {"a": 1}}'}}]}),
        chunk({"content": "x", "error": {"nested": True}}),
    ]
    scene.on("a", sse_answer(*talk, finish()))

    reply = await scene.stream()
    await scene.settle()

    assert reply.body == wire(*talk, finish())
    assert scene.totals("a").successful_requests == 1


# -- large plain answers

MIB = 1024 * 1024


def big(n_bytes: int) -> Answer:
    """A JSON answer of that many bytes, in reads of 1 MiB."""
    frame = b'{"choices":[{"message":{"content":"%s"}}]}'
    body = frame % (b"x" * (n_bytes - len(frame) + 2))
    reads = [body[i : i + MIB] for i in range(0, len(body), MIB)]
    return Answer(200, {"content-type": "application/json"}, reads)


async def test_8_mib_of_a_plain_answer_are_held_and_checked(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    broken = big(8 * MIB)
    scene.on("a", Answer(200, broken.headers, [*broken.chunks][:-1]))  # type: ignore[misc]
    scene.on("b", big(8 * MIB))

    reply = await scene.ask()

    assert reply.headers["content-length"] == str(8 * MIB)
    assert reply.headers["x-llmlb-endpoint"] == "b"


async def test_a_larger_plain_answer_is_streamed_on_from_there(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", big(20 * MIB))

    reply = await scene.ask()

    assert reply.body == b"".join(big(20 * MIB).chunks)  # type: ignore[arg-type]
    assert "content-length" not in reply.headers
    assert [len(piece) // MIB for piece in reply.pieces] == [9] + [1] * 11
    assert not reply.aborted


async def test_a_larger_plain_answer_that_breaks_is_cut_off(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    whole = big(20 * MIB)
    scene.on("a", Answer(200, whole.headers, [*[*whole.chunks][:12], disconnected()]))  # type: ignore[misc]

    reply = await scene.ask()
    await scene.settle()

    assert reply.aborted
    assert reply.n_bytes == 12 * MIB
    assert not scene.requests("b")
    assert scene.totals("a").failed_requests == 1


async def test_a_plain_answer_that_breaks_before_the_bound_is_the_next_ones_chance(
    scene: Scene,
) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", Answer(200, {}, [b'{"choices":[', disconnected()]))
    scene.on("b", json_answer({"choices": [{}]}))

    reply = await scene.ask()

    assert reply.json == {"choices": [{}]}


async def test_done_alone_is_not_content(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.endpoint("b")
    scene.on("a", sse_answer(role()))
    scene.on("b", sse_answer(says("from b"), finish()))

    reply = await scene.stream()

    assert reply.body == wire(says("from b"), finish())
