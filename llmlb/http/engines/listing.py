"""What GET /v1/models tells, whichever engine answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmlb.errors import ProbeFailed
from llmlb.http.engines.foreign import JsonObject, mapping, name, objects

PATH = "/v1/models"


@dataclass(frozen=True, slots=True)
class Listing:
    """The models by id, in the endpoint's order, each as it was listed; and who says so."""

    models: Mapping[str, JsonObject]
    server: str = ""
    """The `Server` header, in lower case."""

    def owned_by(self, word: str) -> bool:
        """Whether any model's `owned_by` holds *word*."""
        owners = (entry.get("owned_by") for entry in self.models.values())
        return any(isinstance(owner, str) and word in owner.lower() for owner in owners)


def parse_models(body: object) -> dict[str, JsonObject]:
    """The models in `{"data": [{"id"}]}` or `{"models": [{"name" or "model"}]}`, by id.

    Entries without a usable id are skipped, and of two with the same id the first stays. Raises
    ProbeFailed where there is no list at all.
    """
    if not isinstance(body, dict):
        raise ProbeFailed(f"{PATH} answers with {_kind(body)} instead of an object.")
    if isinstance(body.get("data"), list):
        return _by_id(body["data"], "id")
    if isinstance(body.get("models"), list):
        return _by_id(body["models"], "name", "model")
    if body.get("object") == "list" and body.get("data", 0) is None:
        return {}  # Ollama without any model
    error = body.get("error")
    said = name(mapping(error).get("message", error))
    if said is not None:
        raise ProbeFailed(f"{PATH} answers with an error: {said}")
    raise ProbeFailed(f"{PATH} answers without a list of models.")


def _by_id(entries: object, *keys: str) -> dict[str, JsonObject]:
    models: dict[str, JsonObject] = {}
    for entry in objects(entries):
        for key in keys:
            model_id = name(entry.get(key))
            if model_id is not None:
                models.setdefault(model_id, entry)
                break
    return models


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
