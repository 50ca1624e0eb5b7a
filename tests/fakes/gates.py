"""Gates for applications that have no house of their own."""

from __future__ import annotations

from llmlb.accounts import Accounts
from llmlb.house import House
from llmlb.http.access.gate import Gate
from llmlb.http.access.sessions import Sessions
from llmlb.settings import Settings
from llmlb.store.session_keys import new_session_key
from llmlb.world import World


def gate_of(house: House) -> Gate:
    """A gate to *house* that tells nobody of whom it refuses."""
    return Gate(
        house.settings,
        lambda: house.keyring.accounts,
        Sessions([new_session_key(house.world.now())], house.world.now),
        house.world,
        on_used=house.key_used,
        on_refused=lambda *_: None,
    )


def gate_without_users() -> Gate:
    """A gate that lets in this machine alone."""
    world = World()
    return Gate(
        Settings(),
        Accounts,
        Sessions([new_session_key(world.now())], world.now),
        world,
        on_used=lambda _: None,
        on_refused=lambda *_: None,
    )
