"""What has to change so that the stored endpoints agree with the declared ones: no I/O."""

from __future__ import annotations

import uuid
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from llmlb.endpoint_form import DEFAULT_INFERENCE_TIMEOUT_S, NAME_CHARS, EndpointForm
from llmlb.types import Endpoint, EndpointId

_NAMESPACE = uuid.UUID("6f1c1d52-3f0e-5d0a-9a7e-2c9f6b1f4a55")
"""Of the ids of declared endpoints, so that one URL gets the same id on every machine."""


@dataclass(frozen=True, slots=True)
class Removal:
    """It was declared once, and is not any more."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Renaming:
    """It gives up a name that somebody else is declared to have."""

    endpoint: Endpoint
    """With its new name."""
    before: Endpoint


@dataclass(frozen=True, slots=True)
class Adoption:
    """It is declared, and so takes on what the file says."""

    endpoint: Endpoint
    before: Endpoint


@dataclass(frozen=True, slots=True)
class Addition:
    endpoint: Endpoint


Step = Removal | Renaming | Adoption | Addition


def reconcile(
    declared: Sequence[EndpointForm],
    known: Sequence[Endpoint],
    *,
    at: datetime,
    default_interval_s: float,
) -> list[Step]:
    """The steps that make *known* agree with *declared*, both without duplicates.

    A declared endpoint is the known one with its URL, else the one with its name; it keeps
    its id, models, statistics and mode, and notes unless the file has some. All else is as the
    file says, or at its default.

    At no point do two endpoints have one name or URL, and from wherever the steps are broken
    off, the next reconciliation arrives at the same end.
    """
    adopted = _matches(declared, known)
    survivors = [e for e in known if e.id in adopted or not e.declared]
    names = _Names(declared, survivors)
    steps: list[Step] = [Removal(e) for e in known if e.declared and e.id not in adopted]
    # All names in the way are given up before any is taken: two endpoints that swap their
    # names could not do so one after the other.
    steps += [
        Renaming(replace(e, name=names.free(e.name)), e)
        for e in survivors
        if names.in_the_way(e, adopted.get(e.id))
    ]
    for endpoint in survivors:
        form = adopted.get(endpoint.id)
        after = endpoint if form is None else _as_declared(form, endpoint, default_interval_s)
        if after != endpoint:
            steps.append(Adoption(after, endpoint))
    taken = {e.id for e in survivors}
    matched = {form.base_url for form in adopted.values()}
    for form in declared:
        if form.base_url not in matched:
            new = _new(form, at, taken, default_interval_s)
            taken.add(new.id)
            steps.append(Addition(new))
    return steps


def _matches(
    declared: Sequence[EndpointForm], known: Sequence[Endpoint]
) -> dict[EndpointId, EndpointForm]:
    """Which known endpoint is which declared one."""
    by_url = {e.base_url: e.id for e in known}
    by_name = {e.name: e.id for e in known}
    found = {by_url[f.base_url]: f for f in declared if f.base_url in by_url}
    for form in declared:
        same_name = by_name.get(form.name)
        if form.base_url not in by_url and same_name is not None:
            found.setdefault(same_name, form)
    return found


class _Names:
    """Which names will be whose, and which are free."""

    def __init__(self, declared: Sequence[EndpointForm], survivors: Sequence[Endpoint]) -> None:
        self._wanted = {form.name for form in declared}
        self._used = self._wanted | {e.name for e in survivors}

    def in_the_way(self, endpoint: Endpoint, form: EndpointForm | None) -> bool:
        """Whether *endpoint* (which *form* declares, if any) has the name of another."""
        keeps = form is not None and form.name == endpoint.name
        return endpoint.name in self._wanted and not keeps

    def free(self, name: str) -> str:
        """A name like *name* that nobody has or will have."""
        for number in count(2):
            suffix = f" ({number})"
            candidate = name[: NAME_CHARS - len(suffix)] + suffix
            if candidate not in self._used:
                break
        self._used.add(candidate)
        return candidate


def _as_declared(form: EndpointForm, before: Endpoint, default_interval_s: float) -> Endpoint:
    plain = replace(
        before,
        declared=True,
        api_key=None,
        extra_headers=(),
        tls_verify=True,
        ca_certificate=None,
        health_check_interval_s=default_interval_s,
        inference_timeout_s=DEFAULT_INFERENCE_TIMEOUT_S,
        max_concurrency=None,
        model_aliases=(),
        model_capabilities=(),
    )
    after = form.applied_to(plain, default_interval_s=default_interval_s)
    return after if after.is_same_server_as(before) else after.as_another_server()


def _new(
    form: EndpointForm, at: datetime, taken: Container[EndpointId], default_interval_s: float
) -> Endpoint:
    # The id of this URL may belong to an endpoint that has moved to another one since.
    endpoint_id = next(i for i in _ids(form.base_url) if i not in taken)
    plain = Endpoint(
        endpoint_id,
        form.name,
        form.base_url,
        at,
        declared=True,
        health_check_interval_s=default_interval_s,
        inference_timeout_s=DEFAULT_INFERENCE_TIMEOUT_S,
    )
    return form.applied_to(plain, default_interval_s=default_interval_s)


def _ids(base_url: str) -> Iterator[EndpointId]:
    for number in count(1):
        text = base_url if number == 1 else f"{base_url} {number}"
        yield EndpointId(str(uuid.uuid5(_NAMESPACE, text)))
