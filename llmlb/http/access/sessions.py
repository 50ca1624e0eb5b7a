"""Sessions: signed tokens that say who has logged in, until when, and nothing else is kept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from llmlb.accounts import Accounts, RevokedSession, User, UserId
from llmlb.errors import InvalidSession
from llmlb.store.session_keys import SessionKey

LIFETIME = timedelta(hours=24)
DEVICE_LIFETIME = timedelta(days=30)

_ALGORITHM, _ISSUER = "HS256", "llmlb"
_SESSION, _DEVICE = "llmlb:session", "llmlb:device"
_CLAIMS = ["sub", "jti", "exp", "iat", "aud", "iss"]


@dataclass(frozen=True, slots=True)
class Session:
    """What a token says, once its signature has been checked."""

    id: str
    user_id: UserId
    generation: int
    expires_at: datetime
    csrf_token: str = field(repr=False)
    """Follows from the id and the secret, so that nothing has to be remembered of it."""

    def revoked(self) -> RevokedSession:
        return RevokedSession(self.id, self.user_id, self.expires_at)


class Sessions:
    """Makes tokens and reads them. The newest of *keys* signs, all of them verify."""

    def __init__(self, keys: Sequence[SessionKey], now: Callable[[], datetime]) -> None:
        self.keys, self._now = tuple(keys), now

    def begin(self, user: User) -> tuple[str, Session]:
        """A token for *user*, with an id that nobody has had or could have chosen."""
        now = self._now().replace(microsecond=0)
        session = Session(
            secrets.token_urlsafe(16),
            user.id,
            user.generation,
            now + LIFETIME,
            "",
        )
        token = self._signed(
            _SESSION,
            user,
            now,
            LIFETIME,
            jti=session.id,
            gen=user.generation,
            role=user.role.value,
            must_change_password=user.must_change_password,
        )
        return token, self.read(token)

    def read(self, token: str) -> Session:
        """Raises InvalidSession for what we have not signed, and for what has run out."""
        claims, key = self._claims(token, _SESSION)
        return Session(
            claims["jti"],
            UserId(claims["sub"]),
            claims["gen"],
            datetime.fromtimestamp(claims["exp"], UTC),
            _csrf_token(key, claims["jti"]),
        )

    def device(self, user: User) -> str:
        """Says that *user* has logged in from here before; it opens nothing."""
        jti = secrets.token_urlsafe(16)
        return self._signed(_DEVICE, user, self._now(), DEVICE_LIFETIME, jti=jti)

    def is_device_of(self, token: str | None, user_id: UserId) -> str | None:
        """The id of the device, if *token* says that *user_id* has logged in there before."""
        if token is None:
            return None
        try:
            claims, _ = self._claims(token, _DEVICE)
        except InvalidSession:
            return None
        return str(claims["jti"]) if claims["sub"] == user_id else None

    def _signed(
        self,
        audience: str,
        user: User,
        now: datetime,
        lifetime: timedelta,
        **more: Any,  # noqa: ANN401 - claims
    ) -> str:
        key = self.keys[0]
        claims = {
            "iss": _ISSUER,
            "aud": audience,
            "sub": user.id,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
            **more,
        }
        return jwt.encode(claims, key.secret, algorithm=_ALGORITHM, headers={"kid": key.id})

    def _claims(self, token: str, audience: str) -> tuple[dict[str, Any], SessionKey]:
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key.secret,
                algorithms=[_ALGORITHM],
                audience=audience,
                issuer=_ISSUER,
                # what the clock says is judged below, by the clock that is ours
                options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            raise InvalidSession("The session's token is not valid: log in again.") from None
        if claims["exp"] <= self._now().timestamp():
            raise InvalidSession("The session has run out: log in again.")
        return claims, key

    def _key(self, key_id: object) -> SessionKey:
        for key in self.keys:
            if key.id == key_id:
                return key
        raise jwt.InvalidKeyError


def user_in(accounts: Accounts, session: Session) -> User:
    """Whoever *session* is of. Raises InvalidSession if it has been ended, or the user is gone."""
    user = accounts.users.get(session.user_id)
    if user is None or user.generation != session.generation or session.id in accounts.revoked:
        raise InvalidSession("The session has been ended: log in again.")
    return user


def _csrf_token(key: SessionKey, session_id: str) -> str:
    mac = hmac.new(key.secret, f"csrf:{session_id}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac)[:32].decode()
