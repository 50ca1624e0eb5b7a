"""Logging in and out, and what people do with their own account."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
from quart import Blueprint, Response, jsonify, request

from llmlb.account_form import LoginForm, PasswordForm, RegistrationForm
from llmlb.accounts import Role, User, UserId
from llmlb.accounts.changes import (
    accept_invitation,
    end_session,
    log_in,
    open_invitation,
    set_own_password,
)
from llmlb.accounts.credentials import digest_of
from llmlb.errors import CsrfFailed, RateLimitExceeded, StoreUnavailable, WrongPassword
from llmlb.house import House
from llmlb.http.access.caller import Caller
from llmlb.http.access.credentials import (
    CSRF_COOKIE,
    DEVICE_COOKIE,
    SESSION_COOKIE,
    cookie_of,
)
from llmlb.http.access.gate import session_of
from llmlb.http.access.opening import Doors
from llmlb.http.access.origin import is_foreign
from llmlb.http.access.proxies import came_securely
from llmlb.http.access.sessions import DEVICE_LIFETIME, LIFETIME
from llmlb.http.auditing import note
from llmlb.http.inbound import caller_at_hand, headers_of, whence_of
from llmlb.http.manage.asking import asking
from llmlb.http.manage.body import read_form
from llmlb.http.manage.endpoint_json import JsonObject, instant

log = structlog.get_logger()


def authentication(house: Callable[[], House], doors: Callable[[], Doors]) -> Blueprint:
    """The routes under /auth, to be registered under each prefix that they answer under."""
    blueprint = Blueprint("authentication", __name__)
    _AuthRoutes(house, doors).add_to(blueprint)
    return blueprint


class _AuthRoutes:
    """Owns nothing: what is remembered is in the house and behind the doors."""

    def __init__(self, house: Callable[[], House], doors: Callable[[], Doors]) -> None:
        self._house, self._doors = house, doors

    def add_to(self, blueprint: Blueprint) -> None:
        for rule, method, view in (
            ("/auth/login", "POST", self.login),
            ("/auth/register", "POST", self.register),
            ("/auth/me", "GET", self.me),
            ("/auth/logout", "POST", self.logout),
            ("/auth/change-password", "PUT", self.change_password),
        ):
            blueprint.add_url_rule(rule, view.__name__, view, methods=[method])

    async def login(self) -> Response:
        house, doors, caller = self._house(), self._doors(), caller_at_hand()
        self._refuse_foreign()
        form = await read_form(LoginForm, request)
        known = house.keyring.accounts.by_name.get(form.username)
        # What is no name may be a password in the wrong field, and is written down nowhere.
        note(name=known.username) if known else note(detail="unknown name")
        user = await self._proved(form, known, caller)
        note(user=user)
        await doors.refresh_keys()
        token, session = doors.gate.sessions.begin(user)
        response = jsonify(
            token=token, expires_in=int(LIFETIME.total_seconds()), user=_user_json(user)
        )
        self._set_cookie(response, SESSION_COOKIE, token, LIFETIME.total_seconds())
        self._set_cookie(
            response, CSRF_COOKIE, session.csrf_token, LIFETIME.total_seconds(), readable=True
        )
        device = doors.gate.sessions.device(user)
        self._set_cookie(response, DEVICE_COOKIE, device, DEVICE_LIFETIME.total_seconds())
        return response

    async def _proved(self, form: LoginForm, known: User | None, caller: Caller) -> User:
        """The user, with the login on record. Raises WrongPassword, RateLimitExceeded."""
        doors = self._doors()
        sent = cookie_of(headers_of(request), DEVICE_COOKIE)
        device = None if known is None else doors.gate.sessions.is_device_of(sent, known.id)
        place = (form.username, caller.address, device)
        doors.throttle.refuse(*place)
        # Counted before it is known, and taken back: of many attempts at once each counts.
        doors.throttle.failed(*place)
        try:
            right, better_hash = await doors.passwords.check(
                form.password,
                None if known is None else known.password_hash,
                patient=device is not None,  # a flood of others' attempts does not keep it out
            )
        except RateLimitExceeded:  # nobody has looked at the password
            doors.throttle.take_back(*place)
            raise
        user = await self._recorded(known, better_hash) if right and known else None
        if user is None:
            raise WrongPassword("The user name or the password is not right.")
        doors.throttle.succeeded(*place)
        return user

    async def _recorded(self, user: User, better_hash: str | None) -> User | None:
        """*user* after having logged in; None if the password has changed in the meantime."""
        house = self._house()
        rule = partial(log_in, user=user, now=house.world.now(), better_hash=better_hash)
        try:
            with asking():
                return await house.keyring.change(rule)
        except StoreUnavailable as error:  # whoever looks after the disk has to get in
            log.warning("a login could not be recorded", reason=str(error))
            return house.keyring.accounts.users.get(user.id)

    async def register(self) -> tuple[Response, int]:
        house, doors, caller = self._house(), self._doors(), caller_at_hand()
        self._refuse_foreign()
        form = await read_form(RegistrationForm, request)
        now, digest = house.world.now(), digest_of(form.invitation_code)
        place = ("", caller.address, None)
        doors.throttle.refuse(*place)
        doors.throttle.failed(*place)
        open_invitation(house.keyring.accounts, digest, now)  # before a hash is worked on
        user = User(
            UserId(house.world.new_id()),
            form.username,
            await doors.passwords.hashed(form.password),
            Role.VIEWER,
            now,
        )
        with asking():
            await house.keyring.change(
                partial(accept_invitation, digest=digest, user=user, now=now)
            )
        doors.throttle.succeeded(*place)
        note(user=user)
        shown: JsonObject = {
            "id": user.id,
            "username": user.username,
            "role": user.role.value,
            "created_at": instant(user.created_at),
        }
        return jsonify(shown), 201

    async def me(self) -> Response:
        user = caller_at_hand().user
        if user is None:  # this machine itself, while it needs no credential
            return jsonify(
                user_id=None, username="local", role=Role.ADMIN.value, must_change_password=False
            )
        shown = _user_json(user)
        return jsonify({"user_id": shown.pop("id"), **shown})

    async def logout(self) -> tuple[Response, int]:
        house = self._house()
        _, session = session_of(caller_at_hand())
        rule = partial(end_session, session=session.revoked(), now=house.world.now())
        with asking():
            await house.keyring.change(rule)
        return self._without_cookies(Response("")), 204

    async def change_password(self) -> Response:
        house, doors = self._house(), self._doors()
        user, _ = session_of(caller_at_hand())
        form = await read_form(PasswordForm, request)
        password_hash = await doors.passwords.hashed(form.new_password)
        rule = partial(set_own_password, user_id=user.id, password_hash=password_hash)
        with asking():
            await house.keyring.change(rule)
        return self._without_cookies(Response(""))

    def _refuse_foreign(self) -> None:
        """No page of another site logs somebody in here, into an account of its own choice."""
        if is_foreign(headers_of(request), self._doors().gate.settings.public_url):
            raise CsrfFailed("The request comes from a page of another site.")

    def _set_cookie(
        self,
        response: Response,
        name: str,
        value: str,
        max_age_s: float,
        *,
        readable: bool = False,
    ) -> None:
        settings = self._doors().gate.settings
        response.set_cookie(
            name,
            value,
            max_age=int(max_age_s),
            path="/",
            secure=came_securely(whence_of(request), headers_of(request), settings.trusted_proxies),
            httponly=not readable,
            samesite="Lax",
        )

    def _without_cookies(self, response: Response) -> Response:
        self._set_cookie(response, SESSION_COOKIE, "", 0)
        self._set_cookie(response, CSRF_COOKIE, "", 0, readable=True)
        return response


def _user_json(user: User) -> JsonObject:
    return {
        "id": user.id,
        "username": user.username,
        "role": user.role.value,
        "must_change_password": user.must_change_password,
    }
