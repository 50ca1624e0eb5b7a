"""The routes under /users and /invitations: who may log in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from quart import Blueprint, Response, jsonify, request

from llmlb.account_form import InvitationForm, UserEdit, UserForm
from llmlb.accounts import (
    Accounts,
    Invitation,
    InvitationStatus,
    Permission,
    Role,
    Step,
    User,
    UserId,
)
from llmlb.accounts.changes import (
    add_invitation,
    add_user,
    edit_user,
    remove_user,
    revoke_invitation,
)
from llmlb.accounts.credentials import digest_of, new_invitation_code, new_password
from llmlb.actors.keyring import Rule
from llmlb.errors import PermissionDenied
from llmlb.house import House
from llmlb.http.access.caller import permissions_of
from llmlb.http.access.opening import Doors
from llmlb.http.auditing import note
from llmlb.http.inbound import caller_at_hand
from llmlb.http.manage.asking import asking
from llmlb.http.manage.body import read_form
from llmlb.http.manage.endpoint_json import JsonObject, instant
from llmlb.http.manage.query import Page


def people(house: Callable[[], House], doors: Callable[[], Doors]) -> Blueprint:
    """The routes, to be registered under each prefix that they answer under."""
    blueprint = Blueprint("people", __name__)
    _PeopleRoutes(house, doors).add_to(blueprint)
    return blueprint


class _PeopleRoutes:
    """Owns nothing: each view asks the key ring, and puts its answer into JSON."""

    def __init__(self, house: Callable[[], House], doors: Callable[[], Doors]) -> None:
        self._house, self._doors = house, doors

    def add_to(self, blueprint: Blueprint) -> None:
        for rule, method, view in (
            ("/users", "GET", self.list_users),
            ("/users", "POST", self.create_user),
            ("/users/<user_id>", "PUT", self.edit_user),
            ("/users/<user_id>", "DELETE", self.delete_user),
            ("/invitations", "GET", self.list_invitations),
            ("/invitations", "POST", self.create_invitation),
            ("/invitations/<invitation_id>", "DELETE", self.revoke_invitation),
        ):
            blueprint.add_url_rule(rule, view.__name__, view, methods=[method])

    async def list_users(self) -> Response:
        page = Page.asked(request.args)
        users = sorted(
            self._house().keyring.accounts.users.values(),
            key=lambda user: (user.created_at, user.id),
            reverse=True,
        )
        return jsonify(page.listed("users", users, _user_json))

    async def create_user(self) -> tuple[Response, int]:
        house = self._house()
        form = await read_form(UserForm, request)
        password = new_password()
        user = User(
            UserId(house.world.new_id()),
            form.username,
            await self._doors().passwords.hashed(password),
            Role(form.role),
            house.world.now(),
            must_change_password=True,
        )
        rule = _within_rights(partial(add_user, user=user), role=user.role)
        with asking():
            await house.keyring.change(rule)
        note(object_id=user.id, detail=f"{user.username}, {user.role.value}")
        return jsonify(user=_user_json(user), generated_password=password), 201

    async def edit_user(self, user_id: str) -> Response:
        form = await read_form(UserEdit, request)
        password_hash = None
        if form.password is not None:
            password_hash = await self._doors().passwords.hashed(form.password)
        role = None if form.role is None else Role(form.role)
        rule = partial(
            edit_user,
            user_id=UserId(user_id),
            username=form.username,
            password_hash=password_hash,
            role=role,
        )
        allowed = _within_rights(rule, user_id=UserId(user_id), role=role)
        with asking():
            user = await self._house().keyring.change(allowed)
        changed = ", ".join(sorted(form.model_fields_set))
        note(detail=f"{changed}; now {user.username}, {user.role.value}")
        return jsonify(_user_json(user))

    async def delete_user(self, user_id: str) -> tuple[str, int]:
        rule = partial(remove_user, user_id=UserId(user_id))
        with asking():
            gone = await self._house().keyring.change(_within_rights(rule, user_id=UserId(user_id)))
        note(detail=gone.username)
        return "", 204

    async def list_invitations(self) -> Response:
        page = Page.asked(request.args)
        invitations = sorted(
            self._house().keyring.accounts.invitations.values(),
            key=lambda invitation: (invitation.created_at, invitation.id),
            reverse=True,
        )
        return jsonify(page.listed("invitations", invitations, _invitation_json))

    async def create_invitation(self) -> tuple[Response, int]:
        house, caller = self._house(), caller_at_hand()
        form = await read_form(InvitationForm, request, empty=True)
        now, code = house.world.now(), new_invitation_code()
        invitation = Invitation(
            id=house.world.new_id(),
            digest=digest_of(code),
            created_by=UserId("" if caller.user is None else caller.user.id),
            created_at=now,
            expires_at=now + timedelta(hours=form.expires_in_hours),
        )
        with asking():
            await house.keyring.change(partial(add_invitation, invitation=invitation, now=now))
        note(object_id=invitation.id)
        shown = {
            "id": invitation.id,
            "code": code,
            "created_at": instant(invitation.created_at),
            "expires_at": instant(invitation.expires_at),
        }
        return jsonify(shown), 201

    async def revoke_invitation(self, invitation_id: str) -> tuple[str, int]:
        rule = partial(revoke_invitation, invitation_id=invitation_id)
        with asking():
            await self._house().keyring.change(rule)
        return "", 204


def _within_rights(
    rule: Rule[User], *, user_id: UserId | None = None, role: Role | None = None
) -> Rule[User]:
    """*rule*, unless the key at hand would make somebody, or change somebody, beyond itself.

    Whoever can make an administrator, or set the password of one, can do everything. So a key
    has to be able to do that much already. The rule raises PermissionDenied then.
    """
    caller = caller_at_hand()
    key, owner = caller.key, caller.user
    if key is None or owner is None or permissions_of(key, owner) == frozenset(Permission):
        return rule

    def within_rights(accounts: Accounts) -> Step[User]:
        changed = None if user_id is None else accounts.users.get(user_id)
        if Role.ADMIN in (role, None if changed is None else changed.role):
            raise PermissionDenied(
                "Only an API key with every permission may make or change administrators."
            )
        return rule(accounts)

    return within_rights


def _user_json(user: User) -> JsonObject:
    return {
        "id": user.id,
        "username": user.username,
        "role": user.role.value,
        "created_at": instant(user.created_at),
        "last_login": instant(user.last_login_at),
        "must_change_password": user.must_change_password,
    }


def _invitation_json(invitation: Invitation) -> JsonObject:
    """Its status says who has done what with it; whether its time is over, `expires_at` says."""
    return {
        "id": invitation.id,
        "created_by": invitation.created_by,
        "created_at": instant(invitation.created_at),
        "expires_at": instant(invitation.expires_at),
        "status": InvitationStatus(invitation.status).value,
        "used_by": invitation.used_by,
        "used_at": instant(invitation.used_at),
    }
