"""Which endpoints a name reaches, and what each of them calls that model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from llmlb.model_names import canonical, twin
from llmlb.types import Endpoint, EndpointId

if TYPE_CHECKING:
    from typing import Self

_NO_ALIASES: Mapping[str, Sequence[str]] = MappingProxyType({})

_Holders = Mapping[str, Iterable[tuple[Endpoint, str]]]
"""Who goes by a name, and what they call the model themselves."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The endpoints that one name reaches, by registration order, and their own ids for it."""

    endpoints: tuple[Endpoint, ...] = ()
    own_ids: Mapping[EndpointId, str] = field(default_factory=lambda: MappingProxyType({}))


_NOWHERE = Reach()


@dataclass(frozen=True, slots=True)
class Catalog:
    """Frozen view of endpoints × models × status, by registration order.

    All is worked out when it is made: a request costs a look into a table or three.
    """

    endpoints: Mapping[EndpointId, Endpoint]
    """Each with its models as its operator has overruled them."""
    by_model: Mapping[str, tuple[Endpoint, ...]]
    """The names that are listed: ids, and those aliases that reach an endpoint."""
    _named: Mapping[str, Reach] = field(repr=False)
    _by_canonical: Mapping[str, Reach] = field(repr=False)

    @classmethod
    def of(
        cls,
        endpoints: Mapping[EndpointId, Endpoint],
        *,
        aliases: Mapping[str, Sequence[str]] = _NO_ALIASES,
    ) -> Self:
        """The catalog of these endpoints, whatever their status.

        *aliases* are those of the settings: names, and the names that each stands for.
        """
        overruled = {i: e.as_overruled() for i, e in endpoints.items()}
        holders: defaultdict[str, list[tuple[Endpoint, str]]] = defaultdict(list)
        by_canonical: defaultdict[str, list[tuple[Endpoint, str]]] = defaultdict(list)
        for endpoint in overruled.values():
            for name, own_id in _own_names(endpoint):
                holders[name].append((endpoint, own_id))
                by_canonical[canonical(name)].append((endpoint, own_id))
        order = {endpoint_id: place for place, endpoint_id in enumerate(overruled)}
        plain = {name: _reach(has, order) for name, has in by_canonical.items()}
        named: dict[str, Reach] = {}
        for name, has in holders.items():
            meaning = canonical(name)
            # Nearly every name is the only one of its model, and no alias: this is for speed.
            if len(has) == len(by_canonical[meaning]) and name not in aliases:
                named[name] = plain[meaning]
            else:
                wanted = (name, *aliases.get(name, ()))
                named[name] = _reach(_found(wanted, holders, by_canonical), order)
        for name in (alias for alias in aliases if alias not in holders):
            reach = _reach(_found((name, *aliases[name]), holders, by_canonical), order)
            if reach.endpoints:
                named[name] = reach
        return cls(
            MappingProxyType(overruled),
            MappingProxyType({name: reach.endpoints for name, reach in named.items()}),
            MappingProxyType(named),
            MappingProxyType(plain),
        )

    def with_observed(self, endpoint: Endpoint) -> Self | None:
        """This catalog with what a probe has found; None if *endpoint* goes by other names now.

        That is rare, and then all has to be worked out anew.
        """
        now, before = endpoint.as_overruled(), self.endpoints.get(endpoint.id)
        if before is None or tuple(_own_names(now)) != tuple(_own_names(before)):
            return None
        named = _with_observed(self._named, now)
        return type(self)(
            MappingProxyType({**self.endpoints, now.id: now}),
            MappingProxyType({name: reach.endpoints for name, reach in named.items()}),
            MappingProxyType(named),
            MappingProxyType(_with_observed(self._by_canonical, now)),
        )

    def reach(self, name: str) -> Reach:
        """Whom *name* reaches; an unlisted name by what is known to mean the same."""
        found = self._named.get(name) or self._named.get(twin(name))
        return found or self._by_canonical.get(canonical(name), _NOWHERE)

    def still_has(self, endpoint: Endpoint) -> bool:
        """Whether *endpoint* is there, and still the server of which something was observed."""
        known = self.endpoints.get(endpoint.id)
        return known is not None and (known is endpoint or known.is_same_server_as(endpoint))

    def offering(self, name: str) -> tuple[Endpoint, ...]:
        """The endpoints that have the model *name*, whatever their status."""
        return self.reach(name).endpoints

    def own_id(self, endpoint: Endpoint, name: str) -> str:
        """What *endpoint* itself calls the model *name*: an id that it lists.

        The exact id wins, then the endpoint's own alias, then the aliases of the settings in
        their order, then what is known to mean the same. Raises KeyError if *name* does not
        reach it: a name that an endpoint did not list is never sent to it.
        """
        return self.reach(name).own_ids[endpoint.id]


def _with_observed(reaches: Mapping[str, Reach], now: Endpoint) -> dict[str, Reach]:
    found = dict(reaches)
    for name, reach in reaches.items():
        if now.id in reach.own_ids:
            endpoints = tuple(now if e.id == now.id else e for e in reach.endpoints)
            found[name] = Reach(endpoints, reach.own_ids)
    return found


def _own_names(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    """The names that *endpoint* goes by, and its id for each: first its ids, then its aliases."""
    ids = dict.fromkeys(m.id for m in endpoint.models)
    yield from ((model_id, model_id) for model_id in ids)
    for alias, model_id in endpoint.model_aliases:
        if model_id in ids and alias not in ids:
            yield alias, model_id


def _found(
    wanted: Sequence[str], holders: _Holders, by_canonical: _Holders
) -> Iterator[tuple[Endpoint, str]]:
    """Who has one of the *wanted*, the surest first."""
    for name in wanted:
        yield from holders.get(name, ())
    for name in wanted:
        yield from holders.get(twin(name), ())
        yield from by_canonical.get(canonical(name), ())


def _reach(found: Iterable[tuple[Endpoint, str]], order: Mapping[EndpointId, int]) -> Reach:
    endpoints: dict[EndpointId, Endpoint] = {}
    own_ids: dict[EndpointId, str] = {}
    for endpoint, own_id in found:
        endpoints.setdefault(endpoint.id, endpoint)
        own_ids.setdefault(endpoint.id, own_id)
    in_order = sorted(endpoints, key=order.__getitem__)
    return Reach(tuple(endpoints[i] for i in in_order), MappingProxyType(own_ids))
