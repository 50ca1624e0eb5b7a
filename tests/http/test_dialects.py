"""Plain answers of the OpenAI routes: what is one, and what it cost."""

from __future__ import annotations

import pytest

from llmlb.accounting import Usage
from llmlb.http.openai.dialects import DIALECTS
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.types import Api

IMAGES = b'{"data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 5, "output_tokens": 2}}'
HEARD = b'{"text": "Hello.", "usage": {"input_tokens": 5, "output_tokens": 2}}'

ANSWERS = [
    *((api, IMAGES) for api in (Api.IMAGE_GENERATIONS, Api.IMAGE_EDIT, Api.IMAGE_VARIATION)),
    *((api, HEARD) for api in (Api.TRANSCRIPTION, Api.TRANSLATION)),
]


@pytest.mark.parametrize(("api", "body"), ANSWERS)
def test_an_answer_is_passed_on_as_it_came_and_counted(api: Api, body: bytes) -> None:
    assert DIALECTS[api].answer(body) == (body, Usage(5, 2))


@pytest.mark.parametrize(("api", "body"), [(Api.TRANSLATION, b"Hello.\n"), (Api.SPEECH, b"\xff")])
def test_what_is_no_json_may_be_an_answer(api: Api, body: bytes) -> None:
    assert DIALECTS[api].answer(body) == (body, Usage())


@pytest.mark.parametrize("api", DIALECTS)
@pytest.mark.parametrize("body", [b"", b'{"error": {"message": "oom"}}', b'{"error": "oom"}'])
def test_nothing_or_an_error_is_no_answer_on_any_route(api: Api, body: bytes) -> None:
    with pytest.raises(UpstreamFault, match=r"oom|empty") as raised:
        DIALECTS[api].answer(body)
    assert raised.value.kind is FaultKind.BAD_ANSWER


@pytest.mark.parametrize("api", [Api.IMAGE_GENERATIONS, Api.IMAGE_EDIT, Api.IMAGE_VARIATION])
def test_no_images_are_no_answer(api: Api) -> None:
    with pytest.raises(UpstreamFault, match="no data"):
        DIALECTS[api].answer(b'{"created": 1, "data": []}')


@pytest.mark.parametrize("api", DIALECTS)
def test_no_route_translates_its_stream(api: Api) -> None:
    assert DIALECTS[api].translator() is None


def test_every_route_has_a_dialect() -> None:
    assert set(DIALECTS) == set(Api) - {Api.MESSAGES, Api.COUNT_TOKENS}
