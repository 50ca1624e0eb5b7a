"""What the world hands out where no test holds it still."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from llmlb.world import World


def test_ids_are_random_uuids_in_their_canonical_form() -> None:
    ids = [World().new_id() for _ in range(200)]
    assert len(set(ids)) == 200
    for text in ids:
        uuid = UUID(text)
        assert str(uuid) == text
        assert (uuid.version, uuid.variant) == (4, RFC_4122)
    assert {text[19] for text in ids} == set("89ab")
