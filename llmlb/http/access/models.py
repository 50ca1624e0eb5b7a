"""Which models a key may ask for."""

from __future__ import annotations

from llmlb.catalog import Catalog
from llmlb.errors import PermissionDenied
from llmlb.http.access.caller import Caller


def may_use(caller: Caller, name: str, catalog: Catalog) -> bool:
    """Whether *name* is on the list of the caller's key, or means nothing but what is on it."""
    if caller.may_ask_for(name):
        return True
    own_ids = set(catalog.reach(name).own_ids.values())
    return bool(own_ids) and all(caller.may_ask_for(own_id) for own_id in own_ids)


def refuse_model(caller: Caller, name: str, catalog: Catalog) -> None:
    """Raise PermissionDenied for a model that is not the key's to use, be there one or not."""
    if not may_use(caller, name, catalog):
        raise PermissionDenied(f"The API key may not use the model '{name[:200]}'.", param="model")
