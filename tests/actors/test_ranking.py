"""Whether endpoints that are kept in order are in the order that sorting them would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from llmlb.actors.admission.ranking import LOOKED_THROUGH_EVERY_S, Ranking
from llmlb.actors.admission.slots import Slots
from llmlb.changes import MOST_NOTED, Changes
from llmlb.routing import STALE_AFTER_S, order
from llmlb.types import Api, Endpoint
from tests.actors.conftest import CHAT, Latencies, catalog, endpoint

FLEET = [
    endpoint(name, max_concurrency=slots)
    for name, slots in zip("abcdef", (1, 1, 2, 3, 1, 2), strict=True)
]

WHO = st.integers(0, len(FLEET) - 1)

STEPS = st.one_of(
    st.tuples(st.just("take"), WHO),
    st.tuples(st.just("give back"), WHO),
    st.tuples(st.just("measure"), WHO, st.floats(1, 100)),
    st.tuples(st.just("wait"), st.sampled_from([LOOKED_THROUGH_EVERY_S, STALE_AFTER_S / 2])),
    st.tuples(st.just("look")),
)


@effort(max_examples=200)
@given(st.lists(STEPS, max_size=40))
def test_the_order_is_always_that_of_sorting_all_of_them(steps: list[tuple[object, ...]]) -> None:
    reach = catalog(*FLEET).reach("m")
    slots, latencies, now_s, serial = Slots(), Latencies(), 1000.0, 0
    ranking = Ranking(reach, CHAT, slots, latencies.standings)
    out: dict[Endpoint, list[int]] = {one: [] for one in FLEET}
    for step in [*steps, ("look",)]:
        match step:
            case ("take", int(n)) if slots.has_room(FLEET[n]):
                serial += 1
                out[FLEET[n]].append(serial)
                slots.take(serial, FLEET[n].id)
            case ("give back", int(n)) if out[FLEET[n]]:
                slots.give_back(out[FLEET[n]].pop())
            case ("measure", int(n), float(latency_ms)):
                latencies.measured(FLEET[n], latency_ms, now_s)
            case ("wait", float(seconds)):
                now_s += seconds
            case ("look",):
                expected = order(
                    filter(slots.has_room, reach.endpoints),
                    own_id=lambda _: "m",
                    api=CHAT,
                    standings=latencies.standings,
                    in_flight=slots.in_flight,
                    last_turn=slots.last_turn,
                    now_s=now_s,
                )
                assert list(ranking.with_room(now_s)) == expected


def test_another_api_has_its_own_order() -> None:
    a, b = endpoint("a"), endpoint("b")
    slots, latencies = Slots(), Latencies()
    latencies.measured(a, 10)
    latencies.measured(b, 20)
    latencies.by_model[b.id, "m", Api.EMBEDDINGS] = latencies.by_endpoint[a.id]._replace(
        latency_ms=1
    )
    reach = catalog(a, b).reach("m")
    orders = [
        [e.name for e in Ranking(reach, api, slots, latencies.standings).with_room(0)]
        for api in (CHAT, Api.EMBEDDINGS)
    ]
    assert orders == [["a", "b"], ["b", "a"]]


def test_whoever_is_too_far_behind_is_told_to_look_at_everything() -> None:
    changes = Changes[int]()
    for n in range(MOST_NOTED):
        changes.note(n)
    assert changes.since(0) is not None
    assert changes.since(MOST_NOTED - 2) == [MOST_NOTED - 1, MOST_NOTED - 2]
    assert changes.since(changes.count) == []
    changes.note(0)
    assert changes.since(0) is None
    seen = changes.count
    changes.note_all()
    assert changes.since(seen) is None
    assert changes.since(changes.count) == []
