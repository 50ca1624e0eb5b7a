"""How much of what admission saw is remembered, however large the fleet is."""

from __future__ import annotations

import pytest
from trio.testing import wait_all_tasks_blocked

from llmlb.actors.admission import AdmissionController
from llmlb.actors.admission.grounds import MOST_CANDIDATES
from llmlb.records import Exclusion
from llmlb.types import Mode
from tests.actors.conftest import CHAT, Latencies, catalog, endpoint


@pytest.mark.parametrize(("able", "disabled"), [(3, 2), (3, 50), (MOST_CANDIDATES, 1), (50, 50)])
async def test_those_who_could_are_named_first_and_the_rest_is_counted(
    admission: AdmissionController, latencies: Latencies, able: int, disabled: int
) -> None:
    fleet = [endpoint(f"{n:02}") for n in range(able)]
    for n, one in enumerate(fleet):
        latencies.measured(one, able - n)
    off = [endpoint(f"off-{n}", mode=Mode.DISABLED) for n in range(disabled)]
    admission.catalog_changed(catalog(*off, *fleet))
    await wait_all_tasks_blocked()

    view = admission.view("m", CHAT)

    named = [(c.name, c.excluded) for c in view.candidates]
    everybody: list[tuple[str, Exclusion | None]] = [(one.name, None) for one in reversed(fleet)]
    everybody += [(one.name, Exclusion.DISABLED) for one in off]
    assert named == everybody[:MOST_CANDIDATES]
    assert len(named) + view.omitted == able + disabled
