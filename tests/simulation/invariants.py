"""What must be true of a balancer, whatever befalls it: one small function each.

Every function is given plain values, and raises Violation with one sentence if they show what must
not be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from llmlb.accounting import Outcome, Totals
from llmlb.types import EndpointId, Status
from tests.simulation.ledger import Account, Asking, Call, Grant, Sums

FAREWELL_S = 0.05
"""So soon after its client has left, nothing is done for a request any more."""


class Violation(Exception):
    """An invariant does not hold; `invariant` is its name."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant = invariant


# -- leases


def no_lease_is_doubled(grants: Iterable[Grant], capacities: Mapping[EndpointId, int]) -> None:
    """No serial is out twice, no exchange holds two, no endpoint has more than it has room for."""
    held = [grant for grant in grants if grant.held]
    name = "no_lease_is_doubled"
    for serial, n in Counter(grant.lease.serial for grant in held).items():
        if n > 1:
            raise Violation(name, f"lease {serial} is out {n} times.")
    for tag, n in Counter(grant.asking.tag for grant in held).items():
        if n > 1:
            raise Violation(name, f"{tag} holds {n} leases.")
    for endpoint_id, n in Counter(grant.endpoint_id for grant in held).items():
        if n > capacities.get(endpoint_id, n):
            raise Violation(name, f"{n} leases on {endpoint_id} with {capacities[endpoint_id]}.")


def no_lease_is_lost(grants: Iterable[Grant], in_flight: Mapping[EndpointId, int]) -> None:
    """What the controller takes for in flight is what exchanges hold, and nothing else.

    Of grants of requests that are still going on; at a moment when all that was told is read.
    """
    held = Counter(grant.endpoint_id for grant in grants if grant.held)
    if held != Counter(in_flight):
        raise Violation(
            "no_lease_is_lost", f"in flight: {dict(in_flight)}; held by exchanges: {dict(held)}."
        )


def no_endpoint_is_overrun(calls: Iterable[Call], capacities: Mapping[str, int]) -> None:
    """No endpoint sees more requests at once than it may be sent."""
    for endpoint, n in Counter(call.endpoint for call in calls if call.open).items():
        if n > capacities[endpoint]:
            raise Violation(
                "no_endpoint_is_overrun", f"{endpoint} has {n} calls, and {capacities[endpoint]}."
            )


# -- the line


def line_is_bounded(asking: Iterable[Asking], limit: int) -> None:
    """No more new callers wait than the setting allows."""
    waiting = sum(one.fresh for one in asking)
    if waiting > limit:
        raise Violation("line_is_bounded", f"{waiting} wait, of {limit} at most.")


def first_come_first_served(
    grants: Iterable[Grant], last_number: Mapping[str, int]
) -> dict[str, int]:
    """Among equals, leases of one model are granted in the order of asking.

    *last_number* tells per model who was granted last; returns it after *grants*, which are new.
    """
    last = dict(last_number)
    for grant in sorted(grants, key=lambda grant: grant.lease.serial):
        asking = grant.asking
        if not asking.equal:
            continue
        if asking.number < last.get(asking.model, -1):
            raise Violation(
                "first_come_first_served", f"{asking.tag} asked for {asking.model} before others."
            )
        last[asking.model] = asking.number
    return last


# -- time and memory


def every_request_ends(accounts: Iterable[Account], now_s: float, limit_s: float) -> None:
    """None takes longer than line, attempts and stream may take together.

    A client that reads no more can keep its connection, and nothing else.
    """
    for account in accounts:
        age_s = now_s - account.sent_at_s
        over = account.ended_at_s is not None or account.waits_to_be_read
        if not over and age_s > limit_s:
            raise Violation(
                "every_request_ends", f"{account.tag} is {age_s:.1f} s old, of {limit_s:g} s."
            )


def nothing_goes_on_for_the_gone(
    accounts: Iterable[Account], calls: Iterable[Call], now_s: float
) -> None:
    """Soon after a client has left, its exchange is over and no endpoint works for it."""
    gone = {a.tag for a in accounts if a.left_at_s is not None and now_s - a.left_at_s > FAREWELL_S}
    name = "nothing_goes_on_for_the_gone"
    for account in accounts:
        if account.tag in gone and account.ended_at_s is None:
            raise Violation(name, f"{account.tag} has left, but its exchange goes on.")
    for call in calls:
        if call.tag in gone and call.open:
            raise Violation(name, f"{call.tag} has left, but {call.endpoint} works for it.")


def bodies_are_given_back(
    held_bytes: int, accounts: Iterable[Account], now_s: float, limit_s: float
) -> None:
    """No memory is held for the body of a request that is over, or ought to be by now."""
    young = any(now_s - account.sent_at_s <= limit_s for account in accounts)
    if held_bytes and not young:
        raise Violation("bodies_are_given_back", f"{held_bytes} bytes of bodies are held.")


def mailboxes_are_bounded(high_water: Mapping[str, int], bound: int) -> None:
    """No mailbox ever held more than live exchanges, probes and their echoes can fill it with."""
    for actor, most in high_water.items():
        if most > bound:
            raise Violation("mailboxes_are_bounded", f"{actor} had {most}, of {bound} at most.")


# -- answers


def text_is_whole_and_in_order(account: Account) -> None:
    """Tokens come from one call, in their order, each once; a whole answer has all of them."""
    name, tokens = "text_is_whole_and_in_order", account.text.split(";")
    if tokens.pop():
        raise Violation(name, f"{account.tag} got half a token.")
    sources = {token.rpartition(".")[0] for token in tokens}
    if len(sources) > 1:
        raise Violation(name, f"{account.tag} got text of {sorted(sources)}.")
    numbers = [int(token.rpartition(".")[2]) for token in tokens]
    if numbers != list(range(len(numbers))):
        raise Violation(name, f"{account.tag} got tokens {numbers}.")
    if account.whole and len(tokens) != account.wish.tokens:
        raise Violation(
            name, f"{account.tag} got {len(tokens)} tokens of {account.wish.tokens} as a whole."
        )


def not_both_failed_and_delivered(account: Account) -> None:
    """A request has one end, and the client, the exchange and the statistics agree on it."""
    name, tag, outcomes = "not_both_failed_and_delivered", account.tag, account.outcomes
    succeeded = outcomes.count(Outcome.SUCCEEDED)
    if account.whole and account.error is not None:
        raise Violation(name, f"{tag} got a whole answer and the error {account.error}.")
    if succeeded > 1 or Outcome.SUCCEEDED in outcomes[:-1]:
        raise Violation(name, f"{tag} went on after a success: {outcomes}.")
    if account.whole and not succeeded:
        raise Violation(name, f"{tag} got a whole answer, and its attempts ended {outcomes}.")
    if account.stayed and succeeded and not account.whole:
        raise Violation(name, f"{tag} counts as a success, but got no whole answer.")


def every_lease_is_accounted_for(account: Account) -> None:
    """Each attempt of a request has ended, and was told once."""
    name, leases, ends = "every_lease_is_accounted_for", account.grants, account.finished
    if any(grant.held for grant in leases):
        raise Violation(name, f"{account.tag} is over with a lease.")
    if len(ends) != len(leases):
        raise Violation(name, f"{account.tag} had {len(leases)} leases and told {len(ends)} ends.")


def everybody_who_stays_is_answered(account: Account) -> None:
    """A client that waits gets an answer or a reason, and never a fault of the balancer's own."""
    name = "everybody_who_stays_is_answered"
    if not account.stayed or account.whole:
        return
    if account.status is None:
        raise Violation(name, f"{account.tag} got nothing.")
    if account.error == "internal_error":
        raise Violation(name, f"{account.tag} got an internal error.")
    if account.status != 200 and account.error is None:
        raise Violation(name, f"{account.tag} got {account.status} without a reason.")


def nothing_broke_inside(broken: Sequence[str]) -> None:
    """The balancer's log tells of no fault of its own."""
    if broken:
        raise Violation("nothing_broke_inside", "; ".join(broken[:3]))


# -- at rest


def everything_is_given_back(
    in_flight: Mapping[EndpointId, int], waiting: Mapping[str, int], calls: Iterable[Call]
) -> None:
    """When the last request is over, no lease is out, nobody waits, no endpoint works."""
    name = "everything_is_given_back"
    if in_flight:
        raise Violation(name, f"still in flight: {dict(in_flight)}.")
    if waiting:
        raise Violation(name, f"still in line: {dict(waiting)}.")
    still = [f"{call.endpoint} for {call.tag}" for call in calls if call.open]
    if still:
        raise Violation(name, f"still working: {still}.")


def status_has_converged(shown: Mapping[str, Status], reachable: Mapping[str, bool]) -> None:
    """Two probe intervals after the last change, the status says what is."""
    for endpoint, up in reachable.items():
        expected = Status.ONLINE if up else Status.OFFLINE
        if shown[endpoint] is not expected:
            raise Violation(
                "status_has_converged", f"{endpoint} is shown {shown[endpoint]}, not {expected}."
            )


def statistics_add_up(stored: Mapping[EndpointId, Totals], sums: Mapping[EndpointId, Sums]) -> None:
    """The database has counted each attempt once, and each token of a whole answer once."""
    name = "statistics_add_up"
    for endpoint_id in {**stored, **sums}:
        totals, truth = stored.get(endpoint_id, Totals()), sums.get(endpoint_id, Sums())
        parts = totals.successful_requests + totals.failed_requests + totals.cancelled_requests
        if not totals.total_requests == parts == truth.attempts:
            raise Violation(
                name,
                f"{endpoint_id} has {totals.total_requests} requests, {parts} by their ends; "
                f"there were {truth.attempts}.",
            )
        most = truth.delivered + truth.perhaps
        if not truth.delivered <= totals.successful_requests <= most:
            raise Violation(
                name,
                f"{endpoint_id} has {totals.successful_requests} successes; there were "
                f"{truth.delivered} to {most}.",
            )
        if not truth.sure_tokens <= totals.total_tokens <= truth.most_tokens:
            raise Violation(
                name,
                f"{endpoint_id} has {totals.total_tokens} tokens; there were "
                f"{truth.sure_tokens} to {truth.most_tokens}.",
            )
