"""What of an exchange goes into the history: one row each, and bodies only if they are wanted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from llmlb.accounting import Outcome
from llmlb.errors import StoreUnavailable
from llmlb.http import keeping
from llmlb.http.keeping import LOOKED_AT_BYTES, kept_request, kept_response
from llmlb.records import MOST_TEXT_CHARS
from llmlb.store.history import Row
from llmlb.store.history_search import HistorySearch
from llmlb.types import Api
from tests.fakes.downstream import FakeDownstream
from tests.fakes.forms import form_of
from tests.fakes.house import Scene
from tests.fakes.openai import chat, completion, counted, finish, says, usage_alone
from tests.fakes.upstream import disconnected, json_answer, sse_answer

ON = pytest.mark.parametrize("settings", [{"history_bodies": "on", "history_body_bytes": 300}])

JSON = (("content-type", "application/json"),)


async def rows(scene: Scene) -> list[Row]:
    """All that is in the history, the oldest first, with what is long."""
    await scene.settle()
    assert await scene.house.history.flush()
    found = await scene.house.store.history.search(HistorySearch(), 100, details=True)
    return found.rows[::-1]


async def test_every_request_is_one_row_however_it_ends(scene: Scene) -> None:
    await scene.endpoint("a", slots=5)
    scene.on("a", json_answer(completion(usage=counted(7, 3))))
    await scene.ask(request_id="plain")
    scene.on("a", sse_answer(says("Hi"), finish(), usage_alone(7, 3)))
    await scene.ask(chat(stream=True), request_id="stream")
    scene.on("a", disconnected())
    await scene.ask(request_id="failed")
    await scene.ask(b"{", request_id="refused")
    await scene.ask(chat("unheard-of"), request_id="unknown")
    scene.on("a", json_answer(completion()))
    await scene.ask(downstream=FakeDownstream(leaves_at=0), request_id="gone")

    found = {row["request_id"]: row for row in await rows(scene)}

    assert {name: (row["outcome"], row["http_status"]) for name, row in found.items()} == {
        "plain": (Outcome.SUCCEEDED, 200),
        "stream": (Outcome.SUCCEEDED, 200),
        "failed": (Outcome.FAILED, 502),
        "refused": (Outcome.REFUSED, 400),
        "unknown": (Outcome.REFUSED, 404),
        "gone": (Outcome.CANCELLED, 200),
    }
    for name in ("plain", "stream"):
        assert (found[name]["total_tokens"], found[name]["tokens_estimated"]) == (10, 0)
    assert found["failed"]["error_code"] == "upstream_error"
    assert found["unknown"]["model"] == "unheard-of"
    for row in found.values():
        assert (row["request_body"], row["response_body"]) == (None, None)
    newest = await scene.house.store.history.of_request("plain")
    assert newest is not None
    said = json.loads(newest["decision"])
    assert said["decisions"][0]["answer"] == "granted"


async def test_a_history_that_cannot_be_written_costs_no_request(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: Any) -> None:
        raise StoreUnavailable("The disk is full.")

    await scene.endpoint("a")
    scene.on("a", json_answer(completion()))
    with monkeypatch.context() as trouble:
        trouble.setattr(scene.house.store.history, "write", full)
        for number in range(3):
            assert (await scene.ask(request_id=f"r{number}")).status == 200
        assert not await scene.house.history.flush()
        assert scene.house.history.statistics().waiting == 3
    assert [row["request_id"] for row in await rows(scene)] == ["r0", "r1", "r2"]


async def test_of_a_model_s_name_only_so_much_is_remembered(scene: Scene) -> None:
    await scene.endpoint("a")
    await scene.ask(chat("m" * 1_000_000), request_id="long")
    (row,) = await rows(scene)
    record = scene.house.recent.find("long")
    assert record is not None
    assert [d.model for d in record.decisions] == [record.model] == ["m" * MOST_TEXT_CHARS]
    assert len(row["decision"]) < 2 * MOST_TEXT_CHARS


_SECRET = "my very own words"
_PYDANTIC = {"type": "missing", "loc": ["body", "n"], "msg": "Field required"}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"detail": [_PYDANTIC | {"input": {"prompt": _SECRET}}]}, "Field required"),
        ({"error": {"message": str([_PYDANTIC | {"input": _SECRET}])}}, "Field required"),
        ({"error": {"message": f"1 error\nn\n  [input_value={_SECRET!r}]"}}, "1 error"),
        ({"error": "cannot load 'data:image/png;base64,QUJDREVGR0g='"}, "cannot load"),
        ({"error": "Incorrect API key: sk-abcdefghijklmnop1234"}, "Incorrect API key: ***"),
        ({"error": "Invalid type for 'input': got an object"}, "'input': got an object"),
    ],
)
@pytest.mark.parametrize("status", [400, 500])
async def test_what_an_endpoint_quotes_of_a_request_is_told_to_its_client_alone(
    scene: Scene, said: Any, kept: str, status: int
) -> None:
    await scene.endpoint("a")
    scene.on("a", json_answer(said, status=status))
    reply = await scene.ask()
    assert kept.partition(":")[0] in reply.body.decode()
    (row,) = await rows(scene)
    [tried] = json.loads(row["decision"])["attempts"]
    for told in (row["error_message"], tried["reason"]):
        assert kept in told
        for quoted in (_SECRET, "QUJDREVG", "sk-abc"):
            assert quoted not in told


# -- bodies


@ON
async def test_bodies_are_kept_without_media_and_cut_short(scene: Scene) -> None:
    await scene.endpoint("a")
    b64 = base64.b64encode(b"x" * 900).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64}"}}
    content = [{"type": "text", "text": "What is it?"}, image]
    scene.on("a", json_answer(completion("It is an x. " * 50)))
    body = chat(messages=[{"role": "user", "content": content}])
    await scene.ask(body, api=Api.COMPLETIONS)  # which no image check looks at
    await scene.ask(body, api=Api.CHAT_COMPLETIONS)
    refused, *_ = await rows(scene)
    assert "What is it?" in refused["request_body"]
    assert f"[redacted data-url len={len(b64)}]" in refused["request_body"]
    assert b64[:20] not in refused["request_body"]

    await scene.ask(chat(), request_id="long")
    *_, long = await rows(scene)
    assert long["request_body"] == chat().decode()
    assert long["response_body"].startswith('{"id": "c-1"')
    assert long["response_body"].endswith(f" [cut; {long['response_bytes']} bytes in all]")
    assert len(long["response_body"]) < 340


@ON
async def test_of_a_stream_what_the_client_was_sent_is_kept(scene: Scene) -> None:
    await scene.endpoint("a")
    scene.on("a", sse_answer(says("Hel"), says("lo"), finish()))
    got = await scene.stream()
    (row,) = await rows(scene)
    assert got.body.decode().startswith(row["response_body"].partition(" [cut;")[0])
    assert "Hel" in row["response_body"]


async def test_of_a_form_the_short_fields_alone_are_kept() -> None:
    prompt, file = "data:a/b;base64,QUJDREVG", ("x.wav", "audio/wav", b"RIFF")
    async with form_of({"model": "whisper-1", "prompt": prompt, "file": file}) as form:
        kept = json.loads(kept_request(form, 9999) or "")
    named = {field["name"]: field for field in kept["form"]}
    assert named["model"]["value"] == "whisper-1"
    assert named["prompt"]["value"] == "[redacted data-url len=8]"
    assert named["file"].keys() == {"name", "bytes", "content_type"}


async def test_of_a_form_no_more_is_looked_at_than_of_any_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[int] = []

    def without_media(text: str, *, whole: bool) -> str:
        looked_at.append(len(text))
        return "" if whole or len(looked_at) == 1 else text

    monkeypatch.setattr(keeping, "without_media", without_media)
    fields = {f"f{n}": base64.b64encode(bytes(45_000)).decode() for n in range(12)}
    async with form_of({**fields, "file": ("x.wav", "audio/wav", b"RIFF")}) as form:
        kept = kept_request(form, 1000) or ""
        assert kept.endswith(f" [cut; {form.size_bytes} bytes in all]")
    assert looked_at == [4000, LOOKED_AT_BYTES]


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ((("content-type", "audio/mpeg"),), "[audio/mpeg, 5 bytes]"),
        ((("content-type", "application/json"), ("content-encoding", "gzip")), None),
        ((), "[unknown type, 5 bytes]"),
        ((("content-type", "text/event-stream; charset=utf-8"),), "hello"),
        (JSON, "hello"),
    ],
)
def test_what_is_no_text_is_told_by_type_and_size(headers: Any, kept: str | None) -> None:
    said = kept_response(b"hello", 5, headers, 100)
    assert said == (kept or "[application/json, 5 bytes]")
    assert kept_response(b"", 0, headers, 100) is None


def test_no_more_of_a_body_is_looked_at_than_costs_little() -> None:
    media = base64.b64encode(b"y" * 300_000)
    body = b'{"a": "' + media + b'", "b": "' + media + b'"}'
    kept = kept_request(body, 1000)
    assert (
        kept
        == f'{{"a": "[redacted base64 len={LOOKED_AT_BYTES - 7}] [cut; {len(body)} bytes in all]'
    )
    assert kept_request("é".encode() * 1000, 7) == "ééé [cut; 2000 bytes in all]"
    assert kept_request(json.dumps({"a": "b"}).encode("utf-16"), 100) == "[no text, 22 bytes]"
    assert kept_request(None, 100) is None


@pytest.mark.parametrize("n_bytes", [10, 1300, 100_000])
def test_media_that_the_bound_cuts_through_leave_nothing(n_bytes: int) -> None:
    media = base64.b64encode(bytes(range(256)) * 2000)
    body = b'{"messages": [{"content": "' + b"word " * (n_bytes // 5) + media
    kept = kept_request(body, 256) or ""
    assert media[:16].decode() not in kept


def test_an_answer_of_an_endpoint_may_be_any_bytes() -> None:
    assert kept_response(b"\xff\xfe{}", 4, JSON, 100) == "\ufffd\ufffd{}"
