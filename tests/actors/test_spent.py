"""Under what a request is counted, whatever clients send."""

from __future__ import annotations

import pytest

from llmlb.accounting import Outcome, Totals, Usage
from llmlb.actors.spent import usage_of
from llmlb.records import Attempt
from llmlb.store.burst import UsageKey
from llmlb.types import EndpointId
from tests.actors.conftest import A_ID, CHAT, NOW, a_record, tokens

B_ID = EndpointId("id-b")


def attempt(one: EndpointId, usage: Usage, outcome: Outcome = Outcome.FAILED) -> Attempt:
    return Attempt(one, "n", "m", 0.0, 50.0, None, outcome, usage=usage)


def key(one: str, model: str = "m", key_id: str = "") -> UsageKey:
    return UsageKey(one, model, CHAT, NOW.date(), key_id)


def test_the_request_counts_where_it_was_asked_last_and_tokens_where_they_were_made() -> None:
    attempts = (
        attempt(B_ID, tokens(7, 1)),
        attempt(B_ID, Usage()),
        attempt(A_ID, Usage(4, 2, estimated=True), Outcome.SUCCEEDED),
    )
    assert list(usage_of(a_record(attempts=attempts, key_id="k"))) == [
        (
            key(B_ID, key_id="k"),
            Totals(input_tokens=7, output_tokens=1, total_tokens=8),
        ),
        (
            key(A_ID, key_id="k"),
            Totals(1, 1, 0, 0, 4, 2, 6, 100.0, estimated_tokens=2, timed_output_tokens=2),
        ),
    ]


def test_tokens_of_which_an_endpoint_says_that_they_are_none_together_are_counted_alike() -> None:
    lying = Usage(7, 1, 0)
    attempts = (attempt(B_ID, lying), attempt(A_ID, Usage(), Outcome.SUCCEEDED))
    (_, counted), _ = usage_of(a_record(attempts=attempts))
    assert counted == Totals.of_tokens(lying)


def test_a_request_that_nobody_was_asked_for_counts_under_no_endpoint() -> None:
    refused = a_record(outcome=Outcome.REFUSED, endpoint_id=None, known_model=False, model="?")
    assert list(usage_of(refused)) == [(key("", ""), Totals(1, 0, 1, refused_requests=1))]


@pytest.mark.parametrize(
    ("asked", "counted"),
    [
        ("PHI4-Mini", "phi4-mini"),
        ("phi4-mini:latest", "phi4-mini"),
        ("MICROSOFT/phi-4-MINI-instruct", "microsoft/Phi-4-mini-instruct"),
        ("Their-Own", "Their-Own"),
        ("their-own:latest", "their-own:latest"),
    ],
)
def test_no_way_to_write_a_name_makes_another_row(asked: str, counted: str) -> None:
    ((found, _),) = usage_of(a_record(model=asked))
    assert found.model == counted
