"""Each invariant fires on what it forbids, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs
from trio.testing import memory_stream_pair

from llmlb.accounting import FinishedRequest, Lease, Outcome, Totals
from llmlb.actors.admission import AdmissionController
from llmlb.routing import Standings
from llmlb.types import Api, Endpoint, EndpointId, Status
from tests.fakes.network import ServerSide
from tests.simulation import invariants
from tests.simulation.invariants import Violation
from tests.simulation.ledger import Account, Asking, Call, Grant, Sums
from tests.simulation.parts import Manner, Wish

AT = datetime(2026, 3, 1, tzinfo=UTC)
A, B = EndpointId("id-a"), EndpointId("id-b")

WISH = Wish(0.0, "r1", "tiny", True, 3, 10, Manner.PATIENT, 0.1, 1, None)


def account(tag: str = "r1", **said: Any) -> Account:
    return Account(replace(WISH, tag=tag), said.pop("sent_at_s", 0.0), **said)


def asking(number: int, model: str = "tiny", *, equal: bool = True, fresh: bool = True) -> Asking:
    return Asking(number, f"r{number}", model, equal, fresh)


def grant(
    serial: int, endpoint_id: EndpointId = A, asked: Asking | None = None, *, held: bool = True
) -> Grant:
    endpoint = Endpoint(endpoint_id, endpoint_id[-1], "http://a.lan", AT)
    lease = Lease(serial, endpoint, "tiny", serial, AdmissionController(standings=Standings()))
    if not held:
        lease.release()
    return Grant(asked or asking(serial), lease)


def ended(outcome: Outcome, endpoint_id: EndpointId = A) -> FinishedRequest:
    return FinishedRequest(endpoint_id, "tiny", Api.CHAT_COMPLETIONS, outcome, AT, 1.0)


def call(endpoint: str = "a", tag: str = "r1", *, ended: bool = False) -> Call:
    return Call(endpoint, tag, ServerSide(memory_stream_pair()[1]), ended)


def closed(one: Call) -> Call:
    one.side.closed_at = 1.0
    return one


def fires(name: str, check: Callable[[], object]) -> None:
    with pytest.raises(Violation) as caught:
        check()
    assert caught.value.invariant == name
    assert str(caught.value).startswith(f"{name}: ")


def test_a_lease_is_doubled_if_its_serial_is_out_twice() -> None:
    check = invariants.no_lease_is_doubled
    check([grant(1), grant(2), grant(1, held=False)], {A: 2})
    fires("no_lease_is_doubled", lambda: check([grant(1), grant(1, B)], {A: 9, B: 9}))


def test_a_lease_is_doubled_if_one_exchange_holds_two() -> None:
    one, other = grant(1, A, asking(7)), grant(2, B, asking(7))
    check = invariants.no_lease_is_doubled
    fires("no_lease_is_doubled", lambda: check([one, other], {A: 9, B: 9}))
    one.lease.release()
    check([one, other], {A: 9, B: 9})


def test_a_lease_is_doubled_if_an_endpoint_has_more_than_room() -> None:
    check = invariants.no_lease_is_doubled
    fires("no_lease_is_doubled", lambda: check([grant(1), grant(2)], {A: 1}))
    check([grant(1), grant(2)], {})  # it has been removed, and they go on


def test_a_lease_is_lost_if_nobody_holds_what_counts_as_in_flight() -> None:
    check = invariants.no_lease_is_lost
    check([grant(1), grant(2, held=False)], {A: 1})
    fires("no_lease_is_lost", lambda: check([grant(1)], {A: 2}))
    fires("no_lease_is_lost", lambda: check([grant(1), grant(2, B)], {A: 1}))


def test_an_endpoint_is_overrun_by_more_open_calls_than_it_may_be_sent() -> None:
    check = invariants.no_endpoint_is_overrun
    check([call(), call(ended=True), closed(call()), call("b")], {"a": 1, "b": 1})
    fires("no_endpoint_is_overrun", lambda: check([call(), call()], {"a": 1}))


def test_the_line_is_bounded_for_those_who_ask_for_the_first_time() -> None:
    check = invariants.line_is_bounded
    check([asking(1), asking(2, fresh=False)], 1)
    fires("line_is_bounded", lambda: check([asking(1), asking(2)], 1))


def test_who_asked_first_is_served_first_among_equals() -> None:
    check = invariants.first_come_first_served
    first, second = asking(1), asking(2)
    later = check([grant(11, A, second), grant(10, B, first)], {})
    assert later == {"tiny": 2}
    fires(
        "first_come_first_served",
        lambda: check([grant(10, A, second), grant(11, B, first)], {}),
    )
    fires("first_come_first_served", lambda: check([grant(12, A, first)], later))
    other_model, choosy = asking(1, "large"), asking(0, equal=False)
    check([grant(12, A, other_model), grant(13, A, choosy)], later)


def test_a_request_has_to_end_in_its_total_time() -> None:
    check = invariants.every_request_ends
    check([account(), account(ended_at_s=3.0)], 10.0, 10.0)
    fires("every_request_ends", lambda: check([account()], 10.1, 10.0))


def test_a_client_that_reads_no_more_may_keep_its_connection_but_no_attempt() -> None:
    check, stuck = invariants.every_request_ends, account(stuck=True)
    check([stuck], 99.0, 10.0)
    stuck.grants.append(grant(1))
    fires("every_request_ends", lambda: check([stuck], 99.0, 10.0))
    stuck.finished.append(ended(Outcome.FAILED))
    check([stuck], 99.0, 10.0)


def test_nothing_may_go_on_for_a_client_that_has_left() -> None:
    check, name = invariants.nothing_goes_on_for_the_gone, "nothing_goes_on_for_the_gone"
    gone = account(left_at_s=5.0)
    check([gone], [call()], 5.04)
    check([account()], [call()], 99.0)
    fires(name, lambda: check([gone], [], 5.06))
    gone.ended_at_s = 5.0
    check([gone], [closed(call())], 5.06)
    fires(name, lambda: check([gone], [call()], 5.06))


def test_no_body_is_held_for_a_request_that_ought_to_be_over() -> None:
    check = invariants.bodies_are_given_back
    check(0, [account()], 99.0, 10.0)
    check(5, [account(), account(sent_at_s=95.0)], 99.0, 10.0)
    fires("bodies_are_given_back", lambda: check(5, [account()], 99.0, 10.0))
    fires("bodies_are_given_back", lambda: check(5, [], 99.0, 10.0))


def test_a_mailbox_is_bounded() -> None:
    invariants.mailboxes_are_bounded({"admission": 3}, 3)
    fires("mailboxes_are_bounded", lambda: invariants.mailboxes_are_bounded({"admission": 4}, 3))


@pytest.mark.parametrize(
    ("text", "whole", "right"),
    [
        ("", False, True),
        ("e1.1.0;e1.1.1;", False, True),
        ("e1.1.0;e1.1.1;e1.1.2;", True, True),
        ("e1.1.0;e1.1.1;", True, False),
        ("e1.1.0;e1.1.0;", False, False),
        ("e1.1.1;e1.1.0;", False, False),
        ("e1.1.1;", False, False),
        ("e1.1.0;e2.1.1;", False, False),
        ("e1.1.0;e1.2.1;", False, False),
        ("e1.1.0;e1.1", False, False),
    ],
)
def test_text_comes_from_one_call_in_its_order(text: str, whole: bool, right: bool) -> None:
    got = account(text=text, whole=whole)
    if right:
        invariants.text_is_whole_and_in_order(got)
    else:
        fires("text_is_whole_and_in_order", lambda: invariants.text_is_whole_and_in_order(got))


S, F, C = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED


@pytest.mark.parametrize(
    ("outcomes", "said", "right"),
    [
        ([F, S], {"whole": True}, True),
        ([F, F], {"error": "upstream_error"}, True),
        ([C], {"left_at_s": 1.0}, True),
        ([S], {"left_at_s": 1.0}, True),
        ([S], {"stuck": True}, True),
        ([S], {"whole": True, "error": "upstream_error"}, False),
        ([S, S], {"whole": True}, False),
        ([S, F], {"error": "upstream_error"}, False),
        ([F], {"whole": True}, False),
        ([], {"whole": True}, False),
        ([S], {"error": "upstream_error"}, False),
    ],
)
def test_a_request_is_not_both_failed_and_delivered(
    outcomes: list[Outcome], said: dict[str, Any], right: bool
) -> None:
    got = account(**said)
    got.finished += [ended(outcome) for outcome in outcomes]
    if right:
        invariants.not_both_failed_and_delivered(got)
    else:
        fires(
            "not_both_failed_and_delivered",
            lambda: invariants.not_both_failed_and_delivered(got),
        )


def test_each_lease_of_a_request_is_accounted_for_once() -> None:
    check, name = invariants.every_lease_is_accounted_for, "every_lease_is_accounted_for"
    got = account(grants=[grant(1, held=False)])
    fires(name, lambda: check(got))
    got.finished.append(ended(F))
    check(got)
    got.finished.append(ended(F))
    fires(name, lambda: check(got))
    fires(name, lambda: check(account(grants=[grant(1)], finished=[ended(F)])))


def test_a_client_that_stays_is_answered() -> None:
    check, name = invariants.everybody_who_stays_is_answered, "everybody_who_stays_is_answered"
    check(account(whole=True, status=200))
    check(account(status=503, error="no_capable_endpoints"))
    check(account(status=200, error="upstream_error"))
    check(account(left_at_s=1.0))
    check(account(stuck=True))
    fires(name, lambda: check(account()))
    fires(name, lambda: check(account(status=500, error="internal_error")))
    fires(name, lambda: check(account(status=502)))


def test_nothing_may_break_inside() -> None:
    invariants.nothing_broke_inside([])
    fires("nothing_broke_inside", lambda: invariants.nothing_broke_inside(["an actor died: Bug()"]))


def test_at_rest_everything_is_given_back() -> None:
    check, name = invariants.everything_is_given_back, "everything_is_given_back"
    check({}, {}, [call(ended=True)])
    fires(name, lambda: check({A: 1}, {}, []))
    fires(name, lambda: check({}, {"tiny": 1}, []))
    fires(name, lambda: check({}, {}, [call()]))


@pytest.mark.parametrize("shown", list(Status))
@pytest.mark.parametrize("up", [True, False])
def test_at_rest_the_status_says_what_is(shown: Status, up: bool) -> None:
    def check() -> None:
        invariants.status_has_converged({"a": shown}, {"a": up})

    if shown is (Status.ONLINE if up else Status.OFFLINE):
        check()
    else:
        fires("status_has_converged", check)


TRUTH = Sums(attempts=4, delivered=2, perhaps=1, sure_tokens=20, most_tokens=35)
TOTALS = Totals(4, 3, 1, 0, total_tokens=30)


@pytest.mark.parametrize(
    "wrong",
    [
        structs.replace(TOTALS, total_requests=5),
        structs.replace(TOTALS, failed_requests=2),
        structs.replace(TOTALS, total_requests=5, failed_requests=2),
        structs.replace(TOTALS, successful_requests=1, cancelled_requests=2),
        structs.replace(TOTALS, successful_requests=4, failed_requests=0),
        structs.replace(TOTALS, total_tokens=19),
        structs.replace(TOTALS, total_tokens=36),
    ],
)
def test_statistics_that_do_not_add_up_are_found(wrong: Totals) -> None:
    invariants.statistics_add_up({A: TOTALS}, {A: TRUTH})
    fires("statistics_add_up", lambda: invariants.statistics_add_up({A: wrong}, {A: TRUTH}))


def test_statistics_have_no_endpoint_more_and_none_less() -> None:
    fires("statistics_add_up", lambda: invariants.statistics_add_up({}, {A: TRUTH}))
    fires("statistics_add_up", lambda: invariants.statistics_add_up({B: TOTALS}, {}))
