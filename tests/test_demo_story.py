from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from trio.testing import MockClock

from llmlb.demo.screen import Screen
from llmlb.demo.stopping import DemoFailed
from llmlb.demo.story import MODEL, Place, Story
from llmlb.demo.talk import Talk


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / ".demo", 40000)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def story(place: Place, out: io.StringIO) -> Story:
    return Story(place, Screen(out), [])


class ScriptedBalancer:
    """Answers as a balancer whose endpoints take one status after the other."""

    def __init__(self, statuses: Sequence[str], stream: str = "") -> None:
        self._statuses = list(statuses)
        self._stream = stream

    def __call__(self, request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/api/endpoints":
                status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
                item = {"name": "llama-a", "base_url": "u", "status": status, "model_count": 1}
                return httpx.Response(200, json={"endpoints": [item]})
            case "/v1/models":
                return httpx.Response(200, json={"data": [{"id": MODEL}]})
            case _:
                return httpx.Response(200, text=self._stream)

    def talk(self) -> Talk:
        transport = httpx.MockTransport(self)
        return Talk(httpx.AsyncClient(base_url="http://balancer", transport=transport))


def test_what_an_earlier_run_left_is_forgotten_but_not_the_models(place: Place) -> None:
    place.prepare()
    (place.data / "llmlb.db").touch()
    (place.models / "m.gguf").touch()
    place.prepare()
    assert list(place.data.iterdir()) == []
    assert [file.name for file in place.models.iterdir()] == ["m.gguf"]


def test_runs_on_other_ports_are_left_alone(place: Place) -> None:
    place.prepare()
    (place.data / "llmlb.db").touch()
    Place(place.directory, 40001).prepare()
    assert (place.data / "llmlb.db").exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DemoFailed, match=r"cannot write to .*file"):
        Place(tmp_path / "file", 40000).prepare()


async def test_missing_packages_say_how_to_install_them(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llmlb.demo.tiny_models", None)
    with pytest.raises(DemoFailed, match=r"pip install 'llmlb\[demo\]'"):
        await story.tell()


async def test_progress_is_shown_once_per_change_until_the_models_are_there(
    story: Story, out: io.StringIO, autojump_clock: MockClock
) -> None:
    talk = ScriptedBalancer(["pending", "pending", "offline", "online"]).talk()
    await story._wait_for_models(talk, expected=1)
    lines = [line.strip() for line in out.getvalue().splitlines()[1:]]
    assert lines == ["llama-a pending", "llama-a offline", "llama-a online"]


async def test_endpoints_that_never_come_online_end_the_wait(
    story: Story, place: Place, autojump_clock: MockClock
) -> None:
    with pytest.raises(DemoFailed) as failure:
        await story._wait_for_models(ScriptedBalancer(["offline"]).talk(), expected=1)
    assert str(failure.value) == (
        f"the endpoints did not come online within 60 s; the logs are in {place.run}."
    )


def event(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


async def test_the_answer_is_shown_with_the_endpoint_that_gave_it(
    story: Story, out: io.StringIO
) -> None:
    await story._show_answer(ScriptedBalancer([], event("hi") + "data: [DONE]\n\n").talk())
    assert "\nhi\n==> Served by endpoint None, 1 pieces of text\n" in out.getvalue()


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (event("hi"), "after 1 pieces of text and without its"),
        ("data: [DONE]\n\n", "after 0 pieces of text and with its"),
    ],
)
async def test_a_broken_or_empty_answer_is_a_failure(
    story: Story, stream: str, reason: str
) -> None:
    with pytest.raises(DemoFailed, match=reason):
        await story._show_answer(ScriptedBalancer([], stream).talk())
