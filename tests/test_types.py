"""What the frozen types say of themselves."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from llmlb import types
from llmlb.accounting import FinishedRequest, Lease, Outcome, Totals, Usage, Verdict
from llmlb.catalog import Catalog
from llmlb.types import (
    Api,
    DeviceInfo,
    DeviceType,
    Endpoint,
    EndpointId,
    Engine,
    Model,
    Status,
    ema,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EFFORT = effort(max_examples=100)


def endpoint(name: str = "a", *models: str, **changes: object) -> Endpoint:
    one = Endpoint(
        id=EndpointId(f"id-{name}"),
        name=name,
        base_url=f"http://{name}:1",
        registered_at=NOW,
        models=tuple(Model(m) for m in models),
    )
    return replace(one, **changes)  # type: ignore[arg-type]  # a test names real fields


# -- Endpoint


def test_a_new_endpoint_is_pending_unmeasured_and_without_a_device() -> None:
    one = endpoint()
    assert (one.status, one.latency_ms, one.device_info) == (Status.PENDING, None, None)
    assert one.initialising


def test_there_is_no_node_and_no_endpoint_type() -> None:
    assert not {"Node", "NodeRegistry", "NodeStatus", "EndpointType"} & set(dir(types))
    assert "endpoint_type" not in {f.name for f in fields(Endpoint)}


def test_an_endpoint_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        endpoint().name = "b"  # type: ignore[misc]  # that is the point


def test_secrets_do_not_show_when_an_endpoint_is_printed() -> None:
    one = endpoint(api_key="sk-hidden", extra_headers=(("x-token", "hidden-too"),))
    for shown in (repr(one), str(one), f"{Catalog.of({one.id: one})}"):
        assert "hidden" not in shown


@pytest.mark.parametrize(
    ("status", "probed", "synced", "initialising"),
    [
        (Status.PENDING, False, False, True),
        (Status.PENDING, True, True, True),
        (Status.ONLINE, True, False, True),  # its models are not known yet
        (Status.ONLINE, True, True, False),
        (Status.ONLINE, False, True, True),  # known from the last run only
        (Status.OFFLINE, False, False, True),
        (Status.OFFLINE, True, False, False),
        (Status.ERROR, False, False, True),
        (Status.ERROR, True, False, False),
    ],
)
def test_initialising_is_what_nothing_certain_is_known_of(
    status: Status, probed: bool, synced: bool, initialising: bool
) -> None:
    assert endpoint(status=status, probed=probed, synced=synced).initialising is initialising


@pytest.mark.parametrize(
    ("engine", "said_by_operator", "said_by_engine", "capacity", "assumed"),
    [
        (None, None, None, 8, True),
        (Engine.OPENAI, None, None, 8, True),
        (Engine.XLLM, None, None, 8, True),
        (Engine.LLAMACPP, None, None, 8, True),
        (Engine.VLLM, None, None, 64, True),
        (Engine.LM_STUDIO, None, None, 4, True),
        (Engine.OLLAMA, None, None, 4, True),
        (Engine.LLAMACPP, None, 2, 2, False),
        (Engine.LLAMACPP, 1, 2, 1, False),
        (Engine.VLLM, 100, None, 100, False),
    ],
)
def test_capacity_is_what_the_operator_says_else_the_engine_else_assumed(
    engine: Engine | None,
    said_by_operator: int | None,
    said_by_engine: int | None,
    capacity: int,
    assumed: bool,
) -> None:
    one = endpoint(
        engine=engine, max_concurrency=said_by_operator, engine_concurrency=said_by_engine
    )
    assert one.capacity == capacity
    assert one.capacity_is_assumed is assumed


def test_a_model_is_offered_by_exactly_the_name_that_is_listed() -> None:
    one = endpoint("a", "org/Model:7b")
    assert one.offers("org/Model:7b")
    for other in ("org/model:7b", "Model:7b", "org/Model", ""):
        assert not one.offers(other)


def test_update_latency_takes_the_first_value_and_then_a_fifth_of_each() -> None:
    one = endpoint().update_latency(100.0)
    assert one.latency_ms == 100.0
    assert one.update_latency(200.0).latency_ms == pytest.approx(120.0)
    assert one.latency_ms == 100.0, "it returns the new endpoint"


def test_reset_latency_is_infinite_and_the_next_sample_is_taken_as_it_is() -> None:
    reset = endpoint(latency_ms=100.0).reset_latency()
    assert reset.latency_ms == math.inf
    assert reset.update_latency(70.0).latency_ms == 70.0


@EFFORT
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_update_latency_is_the_ema(samples: list[float]) -> None:
    one, expected = endpoint(), None
    for sample in samples:
        one, expected = one.update_latency(sample), ema(expected, sample)
    assert one.latency_ms == expected


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"base_url": "http://b:1"}, False),
        ({"api_key": "sk-other"}, False),
        ({"extra_headers": (("x-a", "b"),)}, False),
        ({"name": "b", "notes": "n", "status": Status.ERROR, "max_concurrency": 3}, True),
    ],
)
def test_another_url_key_or_header_makes_it_another_server(
    changes: dict[str, object], same: bool
) -> None:
    one = endpoint()
    other = replace(one, **changes)  # type: ignore[arg-type]  # a test names real fields
    assert one.is_same_server_as(other) is same
    assert other.is_same_server_as(one) is same


def test_another_server_is_as_new_but_keeps_what_the_operator_set_and_its_models() -> None:
    chosen = endpoint("a", "m", api_key="k", notes="n", max_concurrency=3)
    observed = replace(
        chosen,
        status=Status.ERROR,
        engine=Engine.VLLM,
        engine_concurrency=64,
        device_info=DeviceInfo(DeviceType.CPU),
        device_note="a note",
        last_error="dead",
        error_count=1,
        probed=True,
        synced=True,
    )
    assert observed.as_another_server() == chosen
    assert chosen.initialising


# -- Lease


class Owner:
    """Takes down what leases tell."""

    def __init__(self) -> None:
        self.given_back: list[tuple[int, Outcome]] = []
        self.verdicts: list[Verdict] = []
        self.told: list[tuple[str, int]] = []

    def give_back(self, serial: int, outcome: Outcome, verdict: Verdict) -> None:
        self.given_back.append((serial, outcome))
        self.verdicts.append(verdict)

    def begun(self, serial: int) -> None:
        self.told.append(("begun", serial))

    def taken_back(self, serial: int, endpoint_id: EndpointId) -> None:
        self.told.append((f"taken back on {endpoint_id}", serial))


@pytest.fixture
def owner() -> Owner:
    return Owner()


def lease(owner: Owner) -> Lease:
    return Lease(7, endpoint(), "m", 1, owner)


def test_only_the_first_release_of_a_lease_counts(owner: Owner) -> None:
    held = lease(owner)
    held.outcome = Outcome.SUCCEEDED
    held.release()
    held.outcome = Outcome.FAILED
    held.release()
    with held:
        pass
    assert owner.given_back == [(7, Outcome.SUCCEEDED)]


def test_a_lease_is_released_as_cancelled_if_nobody_says_otherwise(owner: Owner) -> None:
    with lease(owner) as held:
        assert held.endpoint.name == "a"
        assert owner.given_back == []
    assert owner.given_back == [(7, Outcome.CANCELLED)]
    assert owner.verdicts == [Verdict()]


def test_a_lease_is_released_whatever_is_raised(owner: Owner) -> None:
    with pytest.raises(ZeroDivisionError), lease(owner):
        raise ZeroDivisionError
    assert owner.given_back == [(7, Outcome.CANCELLED)]


def test_a_lease_tells_that_its_answer_has_begun_only_while_it_is_out(owner: Owner) -> None:
    with lease(owner) as held:
        held.begun()
    held.begun()
    assert owner.told == [("begun", 7)]


def test_a_verdict_is_taken_back_before_the_release_and_after_it(owner: Owner) -> None:
    held = lease(owner)
    held.verdict = Verdict(ill=True, cools_s=3)
    held.take_back()
    assert owner.told == []
    held.release()
    assert owner.verdicts == [Verdict()]
    held.take_back()
    assert owner.told == [("taken back on id-a", 7)]


# -- Usage and Totals


@pytest.mark.parametrize(
    ("usage", "total"),
    [
        (Usage(), 0),
        (Usage(100, 50), 150),
        (Usage(100, 50, 150), 150),
        (Usage(100, None, 100), 100),
        (Usage(None, 50), 50),
        (Usage(100, 50, 0), 0),
        (Usage(100, 50, 175), 175),  # tokens of reasoning, of which some tell only the total
    ],
)
def test_the_total_is_what_was_said_else_the_sum_of_the_parts(usage: Usage, total: int) -> None:
    assert usage.total == total


def finished(outcome: Outcome, usage: Usage, duration_ms: float = 0.0) -> FinishedRequest:
    return FinishedRequest(
        EndpointId("id-a"), "m", Api.EMBEDDINGS, outcome, NOW, duration_ms, usage=usage
    )


_tokens = st.none() | st.integers(0, 10**9)
_requests = st.lists(
    st.builds(
        finished,
        st.sampled_from(Outcome),
        st.builds(Usage, _tokens, _tokens, _tokens),
        st.integers(0, 10**6).map(float),  # whole, so that sums are exact in any order
    ),
    max_size=20,
)


def counted(requests: list[FinishedRequest]) -> Totals:
    totals = Totals()
    for request in requests:
        totals = totals.plus(request)
    return totals


@EFFORT
@given(_requests)
def test_totals_count_each_request_once(requests: list[FinishedRequest]) -> None:
    totals = counted(requests)
    assert totals.total_requests == len(requests)
    assert totals.total_requests == (
        totals.successful_requests + totals.failed_requests + totals.cancelled_requests
    )
    assert totals.input_tokens == sum(r.usage.input_tokens or 0 for r in requests)
    assert totals.output_tokens == sum(r.usage.output_tokens or 0 for r in requests)
    assert totals.total_tokens == sum(r.usage.total for r in requests)
    assert totals.total_duration_ms == sum(
        r.duration_ms for r in requests if r.outcome is Outcome.SUCCEEDED
    )


@EFFORT
@given(_requests, _requests)
def test_totals_add_up(some: list[FinishedRequest], others: list[FinishedRequest]) -> None:
    assert counted(some) + counted(others) == counted(some + others)
    assert counted(some) + Totals() == counted(some)
