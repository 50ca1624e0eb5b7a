"""Which endpoints can fetch and delete models, and how each is asked to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

import trio

from llmlb.actors.jobs.messages import Fetch
from llmlb.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    NotImplementedYet,
    UnsupportedCapability,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmlb.http.jobs import lmstudio, pull
from llmlb.http.upstream.client import UpstreamClient
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.fetch import refusal_of_probe
from llmlb.http.upstream.quoting import without_secrets
from llmlb.types import Endpoint, Engine, Mode

DELETE_PATH, DELETE_LIMIT_S = "/api/delete", 30.0

_LOADS_MODELS = frozenset({Engine.OLLAMA, Engine.LM_STUDIO, Engine.XLLM})
"""The others serve what they were started with."""

_CAN_FETCH = "Ollama, and LM Studio from version 0.4 on, can fetch models"
_CAN_DELETE = "Ollama can delete models"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that somebody wants on an endpoint."""

    name: str
    """As the endpoint is asked for it, and how it is shown."""
    work: Fetch


async def wanted(
    client: UpstreamClient,
    endpoint: Endpoint,
    model: str,
    *,
    hf_repo: str | None,
    quantization: str | None,
    stall_s: float,
) -> Wanted:
    """How *endpoint* is to fetch *model*, or the repository of Hugging Face that is named.

    Raises UnsupportedCapability, NotImplementedYet, Conflict, InvalidRequest, and if LM Studio
    cannot be asked which version it is, UpstreamError and UpstreamUnreachable.
    """
    engine = _engine_of(endpoint, _CAN_FETCH)
    if engine is Engine.OLLAMA:
        name = _ollama_name(model, hf_repo, quantization)
        return Wanted(name, partial(pull.pull, client, endpoint, name, stall_s=stall_s))
    if engine is Engine.LM_STUDIO:
        await lmstudio.refuse_older(client, endpoint)
        name = model if hf_repo is None else f"https://huggingface.co/{hf_repo}"
        work = partial(lmstudio.download, client, endpoint, name, quantization, stall_s=stall_s)
        return Wanted(name if quantization is None else f"{name}@{quantization}", work)
    raise NotImplementedYet(f"{engine} cannot be asked for that yet; {_CAN_FETCH}.")


async def delete(client: UpstreamClient, endpoint: Endpoint, model: str) -> None:
    """Have *endpoint* delete *model*; what runs on it there is the endpoint's business.

    Raises NotFound, UnsupportedCapability, NotImplementedYet, Conflict, UpstreamError,
    UpstreamTimeout, UpstreamUnreachable.
    """
    engine = _engine_of(endpoint, _CAN_DELETE)
    if engine is not Engine.OLLAMA:
        raise NotImplementedYet(f"{engine} has no API for that; {_CAN_DELETE}.")
    with trio.move_on_after(DELETE_LIMIT_S):
        await _delete_from_ollama(client, endpoint, model)
        return
    raise UpstreamTimeout(
        f"'{endpoint.name}' did not say within {DELETE_LIMIT_S:.0f} s that it is deleted."
    )


def _engine_of(endpoint: Endpoint, who_can: str) -> Engine:
    """What runs there, if it comes by its models at run time.

    Raises Conflict, UnsupportedCapability.
    """
    if endpoint.mode is Mode.DISABLED:
        raise Conflict(f"'{endpoint.name}' is disabled: enable it first.")
    if endpoint.engine is None:
        raise Conflict(f"It is not known yet what runs on '{endpoint.name}'; {who_can}.")
    if endpoint.engine not in _LOADS_MODELS:
        raise UnsupportedCapability(
            f"'{endpoint.name}' runs {endpoint.engine}, which serves what it was started with; "
            f"{who_can}."
        )
    return endpoint.engine


def _ollama_name(model: str, hf_repo: str | None, quantization: str | None) -> str:
    """Ollama knows a repository of Hugging Face by a name, and a quantization by its tag."""
    if hf_repo is None:
        if quantization is not None:
            raise InvalidRequest(
                "Ollama takes the quantization as a part of the model's name.",
                param="quantization",
            )
        return model
    return f"hf.co/{hf_repo}" if quantization is None else f"hf.co/{hf_repo}:{quantization}"


async def _delete_from_ollama(client: UpstreamClient, endpoint: Endpoint, model: str) -> None:
    body, headers = json.dumps({"model": model}).encode(), [("content-type", "application/json")]
    try:
        async with client.call(
            endpoint, "DELETE", DELETE_PATH, headers=headers, body=body
        ) as response:
            if response.status // 100 == 2:
                return
            status, told = response.status, await refusal_of_probe(response, endpoint, DELETE_PATH)
    except UpstreamFault as fault:
        error = UpstreamUnreachable if fault.kind is FaultKind.UNREACHABLE else UpstreamError
        said = without_secrets(str(fault), endpoint)
        raise error(f"'{endpoint.name}' did not delete it: {said}") from None
    if status == 404:
        raise NotFound(f"'{endpoint.name}' has no such model.", param="model")
    said = without_secrets(str(told), endpoint)
    raise UpstreamError(f"'{endpoint.name}' did not delete it: {said}")
