"""The rules of every change of the accounts, as pure steps from one view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from llmlb.accounts.types import (
    ApiKey,
    Invitation,
    InvitationStatus,
    KeyId,
    RevokedSession,
    Role,
    User,
    UserId,
)
from llmlb.accounts.view import Accounts, Row, Step
from llmlb.errors import Conflict, InvalidRequest, NotFound

MOST_USERS = 10_000
MOST_KEYS_EACH = 1_000
MOST_INVITATIONS = 1_000
MOST_REVOKED_EACH = 200
"""Of one user. Beyond it all of the user's sessions end, which says the same in one number."""


def add_first_admin(accounts: Accounts, user: User) -> Step[User]:
    """The administrator who ends the setup. Raises Conflict once there is one."""
    if accounts.has_admin:
        raise Conflict("There is an administrator already: log in.")
    return add_user(accounts, user)


def add_user(accounts: Accounts, user: User) -> Step[User]:
    """Raises Conflict for a name that is taken, InvalidRequest if there are too many users."""
    _refuse_taken(accounts, user)
    if len(accounts.users) >= MOST_USERS:
        raise InvalidRequest(f"There are {MOST_USERS} users already.")
    return Step(user, put=(user,))


def edit_user(
    accounts: Accounts,
    user_id: UserId,
    *,
    username: str | None = None,
    password_hash: str | None = None,
    role: Role | None = None,
) -> Step[User]:
    """A password that somebody else sets has to be changed, and ends all sessions.

    Raises NotFound, Conflict, and InvalidRequest if no administrator would be left.
    """
    before = user_of(accounts, user_id)
    after = replace(before, username=username or before.username, role=role or before.role)
    if password_hash is not None:
        after = replace(
            after,
            password_hash=password_hash,
            must_change_password=True,
            generation=before.generation + 1,
        )
    _refuse_taken(accounts, after)
    if after.role is not Role.ADMIN:
        _refuse_without_admin(accounts, before)
    return Step(after, put=(after,))


def remove_user(accounts: Accounts, user_id: UserId) -> Step[User]:
    """With all that is the user's. Raises NotFound, InvalidRequest like `edit_user`."""
    user = user_of(accounts, user_id)
    _refuse_without_admin(accounts, user)
    sessions = [s for s in accounts.revoked.values() if s.owner == user_id]
    return Step(user, drop=(*accounts.keys_of(user_id), *sessions, user))


def set_own_password(accounts: Accounts, user_id: UserId, password_hash: str) -> Step[User]:
    """Ends all sessions of the user. Raises NotFound."""
    before = user_of(accounts, user_id)
    after = replace(
        before,
        password_hash=password_hash,
        must_change_password=False,
        generation=before.generation + 1,
    )
    return Step(after, put=(after,))


def log_in(
    accounts: Accounts, user: User, *, now: datetime, better_hash: str | None
) -> Step[User | None]:
    """*user* has proved the password; None if user or password have changed meanwhile.

    *better_hash* takes the place of a hash that is not made that way any more.
    """
    current = accounts.users.get(user.id)
    if current is None or current.password_hash != user.password_hash:
        return Step(None)
    after = replace(current, last_login_at=now, password_hash=better_hash or current.password_hash)
    return Step(after, put=(after,))


def end_session(accounts: Accounts, session: RevokedSession, now: datetime) -> Step[None]:
    """Nobody uses *session* any more. What has run out by itself is forgotten."""
    over = tuple(s for s in accounts.revoked.values() if s.expires_at <= now)
    user = accounts.users.get(session.owner)
    if user is None:
        return Step(None, drop=over)
    own = [s for s in accounts.revoked.values() if s.owner == user.id and s.expires_at > now]
    if len(own) >= MOST_REVOKED_EACH:
        fresh = replace(user, generation=user.generation + 1)
        return Step(None, put=(fresh,), drop=(*over, *own))
    return Step(None, put=(session,), drop=over)


def add_key(accounts: Accounts, key: ApiKey) -> Step[ApiKey]:
    """Raises NotFound without its owner, InvalidRequest for a second one of its name."""
    user_of(accounts, key.owner)
    own = accounts.keys_of(key.owner)
    _refuse_same_name(own, key)
    if len(own) >= MOST_KEYS_EACH:
        raise InvalidRequest(f"You have {MOST_KEYS_EACH} keys already: delete some.")
    return Step(key, put=(key,))


def edit_key(accounts: Accounts, key: ApiKey) -> Step[ApiKey]:
    """*key* takes the place of the one with its id. Raises NotFound, InvalidRequest."""
    key_of(accounts, key.id)
    _refuse_same_name(accounts.keys_of(key.owner), key)
    return Step(key, put=(key,))


def remove_key(accounts: Accounts, key_id: KeyId, *, owner: UserId | None) -> Step[ApiKey]:
    """Raises NotFound for a key that is not there, or not *owner*'s, if there is one."""
    key = key_of(accounts, key_id, owner=owner)
    return Step(key, drop=(key,))


def add_invitation(accounts: Accounts, invitation: Invitation, now: datetime) -> Step[Invitation]:
    """Raises InvalidRequest if there are too many; those that nobody can use go first."""
    over: list[Row] = []
    if len(accounts.invitations) >= MOST_INVITATIONS:
        over = [i for i in accounts.invitations.values() if not _usable(i, now)]
        if not over:
            raise InvalidRequest(f"There are {MOST_INVITATIONS} open invitations: revoke some.")
    return Step(invitation, put=(invitation,), drop=tuple(over))


def revoke_invitation(accounts: Accounts, invitation_id: str) -> Step[Invitation]:
    """Raises NotFound unless it could still have been used, as far as its status says."""
    invitation = accounts.invitations.get(invitation_id)
    if invitation is None or invitation.status is not InvitationStatus.ACTIVE:
        raise NotFound("There is no open invitation with this id.")
    after = replace(invitation, status=InvitationStatus.REVOKED)
    return Step(after, put=(after,))


def accept_invitation(accounts: Accounts, digest: str, user: User, now: datetime) -> Step[User]:
    """*user* comes in by the invitation with this digest, which is used up by that.

    Raises InvalidRequest, with the same words for every code that does not work, and Conflict.
    """
    invitation = open_invitation(accounts, digest, now)
    added = add_user(accounts, user)
    used = replace(invitation, status=InvitationStatus.USED, used_by=user.id, used_at=now)
    return Step(user, put=(*added.put, used))


def open_invitation(accounts: Accounts, digest: str, now: datetime) -> Invitation:
    """The invitation that can still be used. Raises InvalidRequest."""
    for invitation in accounts.invitations.values():
        if invitation.digest == digest and _usable(invitation, now):
            return invitation
    raise InvalidRequest(
        "The invitation is not valid: it is unknown, used, revoked or expired. "
        "Ask an administrator for a new one.",
        param="invitation_code",
    )


def user_of(accounts: Accounts, user_id: UserId) -> User:
    """Raises NotFound."""
    try:
        return accounts.users[user_id]
    except KeyError:
        raise NotFound("There is no user with this id.") from None


def key_of(accounts: Accounts, key_id: KeyId, *, owner: UserId | None = None) -> ApiKey:
    """Raises NotFound, in the same words for a key that is not *owner*'s."""
    key = accounts.keys.get(key_id)
    if key is None or owner not in (None, key.owner):
        raise NotFound("There is no API key with this id.")
    return key


def _usable(invitation: Invitation, now: datetime) -> bool:
    return invitation.status is InvitationStatus.ACTIVE and invitation.expires_at > now


def _refuse_taken(accounts: Accounts, user: User) -> None:
    known = accounts.by_name.get(user.username)
    if known is not None and known.id != user.id:
        raise Conflict(f"The name '{user.username}' is taken.", param="username")


def _refuse_without_admin(accounts: Accounts, user: User) -> None:
    if accounts.admins == [user]:
        raise InvalidRequest(
            "This is the last administrator: make somebody else one first.", code="last_admin"
        )


def _refuse_same_name(own: Iterable[ApiKey], key: ApiKey) -> None:
    if any(other.name == key.name and other.id != key.id for other in own):
        raise InvalidRequest(f"You have a key named '{key.name}' already.", param="name")
