"""The routes under /me/api-keys and /api-keys: which keys there are, and what they may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from quart import Blueprint, Response, jsonify, request

from llmlb.account_form import KeyEdit, KeyForm
from llmlb.accounts import (
    VIEWER_PERMISSIONS,
    Accounts,
    ApiKey,
    KeyId,
    KeyLimits,
    Permission,
    Role,
    Step,
    User,
    UserId,
)
from llmlb.accounts.changes import add_key, edit_key, key_of, remove_key
from llmlb.accounts.credentials import PREFIX_CHARS, digest_of, new_api_key
from llmlb.errors import InvalidRequest, PermissionDenied
from llmlb.house import House
from llmlb.http.access.caller import Caller, permissions_of
from llmlb.http.access.gate import session_of
from llmlb.http.auditing import note
from llmlb.http.inbound import caller_at_hand
from llmlb.http.manage.asking import asking
from llmlb.http.manage.body import read_form
from llmlb.http.manage.endpoint_json import JsonObject, instant
from llmlb.http.manage.query import Page


def keys(house: Callable[[], House]) -> Blueprint:
    """The routes, to be registered under each prefix that they answer under."""
    blueprint = Blueprint("keys", __name__)
    _KeyRoutes(house).add_to(blueprint)
    return blueprint


class _KeyRoutes:
    """Owns nothing: each view asks the key ring, and puts its answer into JSON."""

    def __init__(self, house: Callable[[], House]) -> None:
        self._house = house

    def add_to(self, blueprint: Blueprint) -> None:
        for rule, method, view in (
            ("/me/api-keys", "GET", self.list_own),
            ("/me/api-keys", "POST", self.create_own),
            ("/me/api-keys/<key_id>", "PUT", self.edit_own),
            ("/me/api-keys/<key_id>", "DELETE", self.delete_own),
            ("/api-keys", "GET", self.list_all),
            ("/api-keys/<key_id>", "PUT", self.edit_any),
            ("/api-keys/<key_id>", "DELETE", self.delete_any),
        ):
            blueprint.add_url_rule(rule, view.__name__, view, methods=[method])

    async def list_own(self) -> Response:
        user, _ = session_of(caller_at_hand())
        return self._listed(self._house().keyring.accounts.keys_of(user.id))

    async def list_all(self) -> Response:
        every = self._house().keyring.accounts.keys.values()
        return self._listed(sorted(every, key=lambda k: (k.created_at, k.id), reverse=True))

    def _listed(self, found: list[ApiKey]) -> Response:
        return jsonify(Page.asked(request.args).listed("api_keys", found, self._shown))

    async def create_own(self) -> tuple[Response, int]:
        house = self._house()
        user, _ = session_of(caller_at_hand())
        form = await read_form(KeyForm, request)
        secret = new_api_key()
        key = ApiKey(
            id=KeyId(house.world.new_id()),
            owner=user.id,
            name=form.name,
            prefix=secret[:PREFIX_CHARS],
            digest=digest_of(secret),
            created_at=house.world.now(),
            permissions=_permissions(user, form.permissions),
            expires_at=_instant(form.expires_at),
            allowed_models=_names(form.allowed_models),
            limits=KeyLimits(
                form.requests_per_minute, form.tokens_per_minute, form.max_concurrency
            ),
        )
        with asking():
            await house.keyring.change(partial(add_key, key=key))
        note(object_id=key.id, detail=f"{key.name}: {', '.join(sorted(key.permissions))}")
        return jsonify({**self._shown(key), "key": secret}), 201

    async def edit_own(self, key_id: str) -> Response:
        user, _ = session_of(caller_at_hand())
        form = await read_form(KeyEdit, request)
        if user.role is not Role.ADMIN and (named := form.of_admins & form.model_fields_set):
            field = min(named)
            raise InvalidRequest(f"Only an administrator may change '{field}'.", param=field)
        return await self._edit(KeyId(key_id), form, user.id)

    async def edit_any(self, key_id: str) -> Response:
        form = await read_form(KeyEdit, request)
        _refuse_escalation(caller_at_hand(), KeyId(key_id), form)
        return await self._edit(KeyId(key_id), form, None)

    async def _edit(self, key_id: KeyId, form: KeyEdit, owner: UserId | None) -> Response:
        def edit(accounts: Accounts) -> Step[ApiKey]:
            before = key_of(accounts, key_id, owner=owner)
            return edit_key(accounts, _edited(before, form))

        with asking():
            key = await self._house().keyring.change(edit)
        note(detail=f"{key.name}: {', '.join(sorted(form.model_fields_set))}")
        return jsonify(self._shown(key))

    async def delete_own(self, key_id: str) -> tuple[str, int]:
        user, _ = session_of(caller_at_hand())
        return await self._delete(KeyId(key_id), user.id)

    async def delete_any(self, key_id: str) -> tuple[str, int]:
        return await self._delete(KeyId(key_id), None)

    async def _delete(self, key_id: KeyId, owner: UserId | None) -> tuple[str, int]:
        with asking():
            gone = await self._house().keyring.change(
                partial(remove_key, key_id=key_id, owner=owner)
            )
        note(detail=gone.name)
        return "", 204

    def _shown(self, key: ApiKey) -> JsonObject:
        """All of a key but the key."""
        models, limits = key.allowed_models, key.limits
        used_at = self._house().journal.key_uses.get(key.id, key.last_used_at)
        return {
            "id": key.id,
            "key_prefix": key.prefix,
            "name": key.name,
            "created_by": key.owner,
            "created_at": instant(key.created_at),
            "expires_at": instant(key.expires_at),
            "last_used_at": instant(used_at),
            "enabled": key.enabled,
            "permissions": sorted(key.permissions),
            "allowed_models": None if models is None else sorted(models),
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
            "max_concurrency": limits.max_concurrency,
        }


def _edited(before: ApiKey, form: KeyEdit) -> ApiKey:
    """*before* with all that *form* says."""
    said, limits = form.model_fields_set, before.limits
    after = replace(
        before,
        name=form.name or before.name,
        expires_at=_instant(form.expires_at) if "expires_at" in said else before.expires_at,
        allowed_models=(
            _names(form.allowed_models) if "allowed_models" in said else before.allowed_models
        ),
        limits=KeyLimits(
            *(
                getattr(form if name in said else limits, name)
                for name in ("requests_per_minute", "tokens_per_minute", "max_concurrency")
            )
        ),
        enabled=before.enabled if form.enabled is None else form.enabled,
    )
    if form.permissions is None:
        return after
    return replace(after, permissions=frozenset(map(Permission, form.permissions)))


def _permissions(user: User, named: list[str] | None) -> frozenset[Permission]:
    """What a new key of *user* may do. Raises InvalidRequest."""
    if user.role is not Role.ADMIN:
        if named is not None:
            raise InvalidRequest(
                "Only an administrator names permissions; yours are always the same.",
                param="permissions",
            )
        return VIEWER_PERMISSIONS
    if named is None:
        raise InvalidRequest("'permissions' must name at least one.", param="permissions")
    return frozenset(map(Permission, named))


def _refuse_escalation(caller: Caller, key_id: KeyId, form: KeyEdit) -> None:
    """Raise PermissionDenied if a key would give itself, or another one, what it has not."""
    if caller.key is None or caller.user is None:
        return
    if caller.key.id == key_id:
        raise PermissionDenied("An API key cannot change itself.")
    own = permissions_of(caller.key, caller.user)
    if not own.issuperset(map(Permission, form.permissions or ())):
        raise PermissionDenied("An API key cannot give permissions that it does not have.")


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _names(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
