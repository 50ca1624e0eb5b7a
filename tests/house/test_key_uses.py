"""When a key was used last, which is told once a second and not with every request."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from llmlb.accounts import KeyId
from tests.fakes.house import NOW, scene_in

KEY = KeyId("key-1")


async def test_a_use_within_a_second_of_the_last_one_told_is_not_told(tmp_path: Path) -> None:
    clock = [NOW]
    async with scene_in(tmp_path, now=lambda: clock[0]) as scene:
        seen: list[datetime] = []
        for seconds in (0, 0.4, 0.999, 1, 1.5, 2.5, -3600, -3599.5):
            clock[0] = NOW + timedelta(seconds=seconds)
            scene.house.key_used(KEY)
            await scene.settle()
            seen.append(scene.house.journal.key_uses[KEY])

    told = [(at - NOW).total_seconds() for at in seen]
    # a clock that was set back tells anew: the last use must not stay in the future
    assert told == [0, 0, 0, 1, 1, 2.5, -3600, -3600]
