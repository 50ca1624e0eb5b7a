"""What may be said of users, keys and invitations, and in which words the rest is refused."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Annotated, ClassVar

from llmlb.accounts import Permission, Role
from llmlb.forms import Checked, Form

NAME_CHARS = 64
KEY_NAME_CHARS = 100
SHORTEST_PASSWORD = 8
"""Characters, as NIST SP 800-63B says; no other rule makes passwords better."""
LONGEST_PASSWORD_BYTES = 1024
SECRET_CHARS = 256
"""Of a code or a token that is presented."""

MOST_MODELS = 1_000
MODEL_CHARS = 512
MOST_A_MINUTE = 1_000_000_000
MOST_AT_ONCE = 100_000
LONGEST_INVITATION_H = 24 * 365


def username_problem(name: str) -> str | None:
    """What is said of a name that no user can have; None if one can."""
    if not name or name != name.strip():
        return "may not be blank, nor begin or end with a blank"
    if len(name) > NAME_CHARS:
        return f"may not be longer than {NAME_CHARS} characters"
    if any(unicodedata.category(c)[0] in "CZ" and c != " " for c in name):
        return "may not hold control characters or line breaks"
    return None


def password_problem(password: str) -> str | None:
    """What is said of a password that is not accepted; None if it is."""
    if len(password) < SHORTEST_PASSWORD:
        return f"must be at least {SHORTEST_PASSWORD} characters long"
    if len(password.encode(errors="surrogatepass")) > LONGEST_PASSWORD_BYTES:
        return f"may not be longer than {LONGEST_PASSWORD_BYTES} bytes"
    return None


def _username(text: str) -> str:
    name = unicodedata.normalize("NFC", text)
    if problem := username_problem(name):
        raise ValueError(problem)
    return name


def _password(text: str) -> str:
    if problem := password_problem(text):
        raise ValueError(problem)
    return text


def _called(text: str) -> str:
    """A name as users have it, however it was typed: an accent may be a character of its own."""
    return unicodedata.normalize("NFC", _presented(text))


def _presented(text: str) -> str:
    """A name, a password or a code that is compared with what is known: only its size is judged."""
    if len(text) > LONGEST_PASSWORD_BYTES:
        raise ValueError(f"may not be longer than {LONGEST_PASSWORD_BYTES} characters")
    return text


def _key_name(text: str) -> str:
    name = text.strip()
    if not name:
        raise ValueError("may not be blank")
    if len(name) > KEY_NAME_CHARS:
        raise ValueError(f"may not be longer than {KEY_NAME_CHARS} characters")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        raise ValueError("may not hold control characters or line breaks")
    return name


def _instant(text: str) -> str:
    """RFC 3339, with an offset: what time is meant without one, nobody could tell."""
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise ValueError  # noqa: TRY301 - the same words for all
        instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an instant like 2027-01-31T12:00:00Z") from None
    return text


def _role(text: str) -> str:
    if text not in {role.value for role in Role}:
        raise ValueError("must be 'admin' or 'viewer'")
    return text


def _permissions(names: list[str]) -> list[str]:
    known = [permission.value for permission in Permission]
    if not names:
        raise ValueError("must name at least one permission")
    if not set(names) <= set(known):
        raise ValueError(f"may hold only {', '.join(known)}")
    return names


def _models(names: list[str]) -> list[str]:
    if len(names) > MOST_MODELS:
        raise ValueError(f"may not hold more than {MOST_MODELS} names")
    if not all(0 < len(name) <= MODEL_CHARS for name in names):
        raise ValueError(f"must hold names of 1 to {MODEL_CHARS} characters")
    return names


def _up_to(most: int) -> Checked:
    def check(number: int) -> int:
        if not 1 <= number <= most:
            raise ValueError(f"must be from 1 to {most}")
        return number

    return Checked(check, minimum=1, maximum=most)


Username = Annotated[str, Checked(_username, minLength=1, maxLength=NAME_CHARS)]
NewPassword = Annotated[str, Checked(_password, minLength=SHORTEST_PASSWORD)]
Presented = Annotated[str, Checked(_presented, maxLength=LONGEST_PASSWORD_BYTES)]
Called = Annotated[str, Checked(_called, maxLength=LONGEST_PASSWORD_BYTES)]
KeyName = Annotated[str, Checked(_key_name, minLength=1, maxLength=KEY_NAME_CHARS)]
Instant = Annotated[str, Checked(_instant, format="date-time")]
RoleName = Annotated[str, Checked(_role, enum=[role.value for role in Role])]
Permissions = Annotated[list[str], Checked(_permissions, minItems=1)]
ModelNames = Annotated[list[str], Checked(_models, maxItems=MOST_MODELS)]
PerMinute = Annotated[int, _up_to(MOST_A_MINUTE)]
AtOnce = Annotated[int, _up_to(MOST_AT_ONCE)]
Hours = Annotated[int, _up_to(LONGEST_INVITATION_H)]


class LoginForm(Form):
    """Who wants to log in."""

    username: Called
    password: Presented


class SetupForm(Form):
    """The first administrator, by the link that was printed at the start."""

    token: Presented
    username: Username
    password: NewPassword


class RegistrationForm(Form):
    """Whoever has been invited."""

    invitation_code: Presented
    username: Username
    password: NewPassword


class PasswordForm(Form):
    """One's own new password."""

    new_password: NewPassword


class UserForm(Form):
    """A user that an administrator makes; the password is made up, and has to be changed."""

    username: Username
    role: RoleName


class UserEdit(Form):
    """What is to change; what is not named stays."""

    username: Username | None = None
    password: NewPassword | None = None
    role: RoleName | None = None


class InvitationForm(Form):
    """How long an invitation may be used."""

    expires_in_hours: Hours = 72


class KeyForm(Form):
    """A new API key."""

    name: KeyName
    expires_at: Instant | None = None
    permissions: Permissions | None = None
    """An administrator has to name them; a viewer's are always the same."""
    allowed_models: ModelNames | None = None
    """The only models that it may ask for; null: all."""
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    max_concurrency: AtOnce | None = None


class KeyEdit(Form):
    """What is to change; what is not named stays, and null takes a limit away."""

    name: KeyName | None = None
    expires_at: Instant | None = None
    permissions: Permissions | None = None
    allowed_models: ModelNames | None = None
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    max_concurrency: AtOnce | None = None
    enabled: bool | None = None
    """A key that is disabled opens nothing, and can be enabled again."""

    of_admins: ClassVar[frozenset[str]] = frozenset(
        {
            "permissions",
            "allowed_models",
            "requests_per_minute",
            "tokens_per_minute",
            "max_concurrency",
            "enabled",
        }
    )
    """What only an administrator may change."""
