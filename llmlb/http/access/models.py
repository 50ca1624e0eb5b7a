"""Which models a key may ask for."""

from __future__ import annotations

from llmlb.catalog import Catalog
from llmlb.errors import InvalidRequest, PermissionDenied
from llmlb.http.access.caller import Caller
from llmlb.http.intake.form import Form
from llmlb.http.members import is_named_twice


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


def refuse_second_model(caller: Caller, body: bytes | Form) -> None:
    """Raise InvalidRequest if a request by a key with a list of models names two.

    The one that is looked at here need not be the one that an endpoint takes.
    """
    limited = caller.key is not None and caller.key.allowed_models is not None
    if limited and isinstance(body, bytes) and is_named_twice(body, "model"):
        raise InvalidRequest("'model' is there more than once.", param="model")
