"""Who may use a route: the one place where that is decided, for every face."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from llmlb.accounts import Accounts, ApiKey, KeyId, Role, User
from llmlb.accounts.credentials import find_key
from llmlb.errors import (
    AuthenticationError,
    ExpiredApiKey,
    InvalidSession,
    LbError,
    MissingCredential,
    PasswordChangeRequired,
    PermissionDenied,
    SetupRequired,
)
from llmlb.http.access.caller import Caller, permissions_of
from llmlb.http.access.credentials import Credentials
from llmlb.http.access.needs import Need
from llmlb.http.access.origin import refuse_forged
from llmlb.http.access.proxies import client_address
from llmlb.http.access.sessions import Session, Sessions, user_in
from llmlb.http.downstream import Asked, Whence
from llmlb.http.policy import refuse_strangers
from llmlb.http.response_policy import ResponsePolicy
from llmlb.settings import Settings
from llmlb.world import World


class Knock(Struct, frozen=True):
    """What is looked at of a request: its head, and where it comes from."""

    method: str
    path: str
    headers: Mapping[str, str]
    whence: Whence
    request_id: str

    @classmethod
    def of(cls, asked: Asked) -> Knock:
        path = asked.asked_path or asked.path
        return cls(asked.method, path, asked.headers, asked.whence, asked.request_id)


OnRefused = Callable[[Knock, LbError, Caller], None]
"""Told of each request that was not let in, with as much as is known of who asked."""


class Gate:
    """Knows nothing of HTTP's ways but headers. Costs a few microseconds and asks nobody."""

    def __init__(
        self,
        settings: Settings,
        accounts: Callable[[], Accounts],
        sessions: Sessions,
        world: World,
        *,
        on_used: Callable[[KeyId], None],
        on_refused: OnRefused,
    ) -> None:
        self.settings, self.sessions = settings, sessions
        self.policy = ResponsePolicy.of(settings)
        self._accounts, self._world = accounts, world
        self._on_used, self._on_refused = on_used, on_refused

    @property
    def setting_up(self) -> bool:
        """There is no administrator yet."""
        return self.settings.auth == "on" and not self._accounts().has_admin

    @property
    def open_to_local(self) -> bool:
        """This machine needs no credential, and others get nothing."""
        return self.settings.auth == "off" or self.setting_up

    def address_of(self, knock: Knock) -> str | None:
        """Where the client is."""
        return client_address(knock.whence, knock.headers, self.settings.trusted_proxies)

    def admit(self, need: Need, knock: Knock) -> Caller:
        """Whoever *knock* comes from. Raises the LbError that says why it is not let in."""
        address = self.address_of(knock)
        caller: Caller | None = None
        try:
            if need.always:
                return Caller(address)
            if self.open_to_local:
                return self._as_local(need, knock, address)
            if need.public or (need.public_if_set and self.settings.metrics_public):
                return Caller(address)
            caller = self._known(need, knock, address)
            self._refuse_without_right(need, caller)
        except LbError as refusal:
            self._on_refused(knock, refusal, caller or Caller(address))
            raise
        return caller

    def still_admits(self, need: Need, caller: Caller) -> bool:
        """Whether *caller*, who was let in, would be let in now: for what goes on for long.

        A session may have ended since, a key may be disabled, their user may be gone, or be a
        viewer now.
        """
        session, accounts = caller.session, self._accounts()
        try:
            if caller.key is not None:
                key, owner = self._valid(accounts, accounts.keys.get(caller.key.id))
                self._refuse_without_right(need, replace(caller, key=key, user=owner))
                return True
            if session is None:
                return self.open_to_local or not caller.local
            if session.expires_at <= self._world.now():
                return False
            self._refuse_without_right(need, replace(caller, user=user_in(accounts, session)))
        except LbError:
            return False
        return True

    def _as_local(self, need: Need, knock: Knock, address: str | None) -> Caller:
        whence = knock.whence
        invited = self.policy.invites(knock.path, knock.headers.get("origin"))
        refuse_strangers(whence.local, whence.peer, knock.headers, invited=invited)
        if need.person and not need.public:
            raise SetupRequired(
                "There are no users yet: open the link that was printed at the start."
                if self.setting_up
                else "Users and keys mean nothing with LLMLB_AUTH=off: start without it."
            )
        return Caller(address, local=True)

    def _known(self, need: Need, knock: Knock, address: str | None) -> Caller:
        """Whoever has proved to be somebody. Raises AuthenticationError, CsrfFailed."""
        offered = Credentials.of(knock.headers)
        accounts = self._accounts()
        if offered.token is not None:
            if need.role is None:
                raise AuthenticationError("This route takes API keys, no session's token.")
            session = self.sessions.read(offered.token)
            return Caller(address, user_in(accounts, session), session=session)
        if offered.key is not None:
            key, owner = self._key(accounts, offered.key)
            self._on_used(key.id)
            return Caller(address, owner, key)
        if offered.cookie is not None and need.role is not None:
            session = self.sessions.read(offered.cookie)
            user = user_in(accounts, session)
            refuse_forged(knock.method, knock.headers, session.csrf_token, self.settings.public_url)
            return Caller(address, user, session=session)
        raise MissingCredential(_HOW_TO[need.key is not None, need.role is not None])

    def _key(self, accounts: Accounts, presented: str) -> tuple[ApiKey, User]:
        return self._valid(accounts, find_key(accounts, presented))

    def _valid(self, accounts: Accounts, key: ApiKey | None) -> tuple[ApiKey, User]:
        """*key*, as it is now, and whose it is. Raises AuthenticationError, ExpiredApiKey."""
        owner = None if key is None else accounts.users.get(key.owner)
        if key is None or owner is None or not key.enabled:
            raise AuthenticationError("The API key is not valid.")
        if key.expired(self._world.now()):
            raise ExpiredApiKey("The API key has expired.")
        return key, owner

    def _refuse_without_right(self, need: Need, caller: Caller) -> None:
        """Raise PermissionDenied or PasswordChangeRequired."""
        key, user = caller.key, caller.user
        if key is not None and user is not None:
            if need.key is None:
                raise PermissionDenied("This route is for people who have logged in, not for keys.")
            if need.key not in permissions_of(key, user):
                raise PermissionDenied(f"The API key lacks the permission '{need.key.value}'.")
        elif user is not None:
            if need.role is Role.ADMIN and user.role is not Role.ADMIN:
                raise PermissionDenied("This needs an administrator.")
            if user.must_change_password and not need.password_due:
                raise PasswordChangeRequired(
                    "Change the password first (PUT /api/auth/change-password), and log in anew."
                )


_HOW_TO = {
    (True, False): "The request has no API key: send it as 'Authorization: Bearer sk_…' or as "
    "'X-API-Key'.",
    (False, True): "Log in first (POST /api/auth/login).",
    (True, True): "Log in first, or send an API key.",
}


def session_of(caller: Caller) -> tuple[User, Session]:
    """The user and the session of *caller*. Raises InvalidSession if it has none."""
    if caller.user is None or caller.session is None:
        raise InvalidSession("Log in first (POST /api/auth/login).")
    return caller.user, caller.session
