"""What is said of the routes about users, keys, invitations, and logging in."""

from __future__ import annotations

from typing import Any

from llmlb.account_form import (
    InvitationForm,
    KeyEdit,
    KeyForm,
    LoginForm,
    PasswordForm,
    RegistrationForm,
    SetupForm,
    UserEdit,
    UserForm,
)
from llmlb.errors import (
    Conflict,
    CsrfFailed,
    InvalidJson,
    InvalidSession,
    LbError,
    MissingField,
    NotFound,
    RateLimitExceeded,
    SetupRequired,
    ShuttingDown,
    StoreUnavailable,
    WrongPassword,
)
from llmlb.http.openapi.accounts_shown import (
    InvitationListShown,
    InvitationMadeShown,
    KeyListShown,
    KeyMadeShown,
    KeyShown,
    LoginShown,
    MeShown,
    RegisteredShown,
    UserListShown,
    UserMadeShown,
    UserShown,
)
from llmlb.http.openapi.headers import OF_ALL
from llmlb.http.openapi.management import PAGED
from llmlb.http.openapi.route import Answer, Content, Parameter, Route, json_content

_ID = "3f2a8c54-7d0b-4c7e-9a51-0c6d2e9b1f00"

_PASSWORD = "correct horse battery"  # noqa: S105 - an example in a document # nosec B105

_FORM: tuple[type[LbError], ...] = (InvalidJson, MissingField)
_CHANGE: tuple[type[LbError], ...] = (StoreUnavailable,)


def _route(
    method: str,
    path: str,
    name: str,
    summary: str,
    *answers: Answer,
    errors: tuple[type[LbError], ...] = (),
    **more: Any,  # noqa: ANN401 - the other fields of Route
) -> Route:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return Route(
        methods=(method,),
        path=path,
        name=name,
        tag="Accounts",
        summary=summary,
        parameters=(
            *more.pop("parameters", ()),
            *(
                Parameter(name, "Its `id`.", {"type": "string", "minLength": 1}, "path", _ID)
                for name in names
            ),
        ),
        answers=answers,
        errors=(*errors, ShuttingDown, *((NotFound,) if names else ())),
        headers=OF_ALL,
        **more,
    )


def _says(shape: Any, says: str, status: int = 200) -> Answer:  # noqa: ANN401 - see Shape
    return Answer(status, says, (json_content(shape),))


_HTML = Content("text/html", {"type": "string"})

ACCOUNTS: tuple[Route, ...] = (
    _route(
        "POST",
        "/api/auth/login",
        "log_in",
        "Log in",
        _says(LoginShown, "A token for scripts, and the same as a cookie for browsers."),
        says="After 10 failures from an address within a quarter of an hour it has to wait. An "
        "account is never locked.",
        body=json_content(LoginForm, {"username": "admin", "password": _PASSWORD}),
        errors=(*_FORM, WrongPassword, InvalidSession, CsrfFailed, RateLimitExceeded),
    ),
    _route(
        "POST",
        "/api/auth/register",
        "register",
        "Make an account of one's own, by invitation",
        _says(RegisteredShown, "The account, of a viewer.", 201),
        body=json_content(
            RegistrationForm,
            {"invitation_code": "inv_…", "username": "ann", "password": _PASSWORD},
        ),
        errors=(*_FORM, Conflict, CsrfFailed, RateLimitExceeded, *_CHANGE),
    ),
    _route(
        "GET",
        "/api/auth/me",
        "show_me",
        "Who has logged in",
        _says(MeShown, "Without an `id` it is the machine that llmlb runs on."),
    ),
    _route(
        "POST",
        "/api/auth/logout",
        "log_out",
        "End the session",
        Answer(204, "Its token opens nothing any more."),
        errors=_CHANGE,
    ),
    _route(
        "PUT",
        "/api/auth/change-password",
        "change_password",
        "Change one's own password",
        Answer(200, "It is changed, and all sessions have ended: log in again."),
        body=json_content(PasswordForm, {"new_password": _PASSWORD}),
        errors=(*_FORM, RateLimitExceeded, *_CHANGE),
    ),
    _route(
        "GET",
        "/api/users",
        "list_users",
        "All users, the newest first",
        _says(UserListShown, "One page of them."),
        parameters=PAGED,
    ),
    _route(
        "POST",
        "/api/users",
        "create_user",
        "Make a user",
        _says(UserMadeShown, "With a password that has to be changed, shown only now.", 201),
        body=json_content(UserForm, {"username": "ann", "role": "viewer"}),
        errors=(*_FORM, Conflict, RateLimitExceeded, *_CHANGE),
    ),
    _route(
        "PUT",
        "/api/users/{user_id}",
        "edit_user",
        "Edit a user",
        _says(UserShown, "The user as it is now."),
        says="A new password has to be changed, and ends all of the user's sessions.",
        body=json_content(UserEdit, {"role": "admin"}),
        errors=(InvalidJson, Conflict, RateLimitExceeded, *_CHANGE),
    ),
    _route(
        "DELETE",
        "/api/users/{user_id}",
        "delete_user",
        "Remove a user",
        Answer(204, "With all keys and sessions. The last administrator stays."),
        errors=_CHANGE,
    ),
    _route(
        "GET",
        "/api/invitations",
        "list_invitations",
        "All invitations, the newest first",
        _says(InvitationListShown, "One page of them."),
        parameters=PAGED,
    ),
    _route(
        "POST",
        "/api/invitations",
        "create_invitation",
        "Invite somebody",
        _says(InvitationMadeShown, "The code can be used once. It is shown only now.", 201),
        body=json_content(InvitationForm, {"expires_in_hours": 72}),
        errors=(InvalidJson, *_CHANGE),
    ),
    _route(
        "DELETE",
        "/api/invitations/{invitation_id}",
        "revoke_invitation",
        "Revoke an invitation",
        Answer(204, "Nobody can use it any more."),
        errors=_CHANGE,
    ),
    _route(
        "GET",
        "/api/me/api-keys",
        "list_my_keys",
        "One's own API keys, the newest first",
        _says(KeyListShown, "One page of them."),
        parameters=PAGED,
    ),
    _route(
        "POST",
        "/api/me/api-keys",
        "create_my_key",
        "Make an API key",
        _says(KeyMadeShown, "The key itself is shown only now.", 201),
        body=json_content(
            KeyForm,
            {"name": "my laptop", "permissions": ["openai.inference", "openai.models.read"]},
        ),
        errors=(*_FORM, *_CHANGE),
    ),
    *(
        route
        for path, suffix, whose in (
            ("/api/me/api-keys/{key_id}", "my_key", "one of one's own API keys"),
            ("/api/api-keys/{key_id}", "key", "anybody's API key"),
        )
        for route in (
            _route(
                "PUT",
                path,
                f"edit_{suffix}",
                f"Edit {whose}",
                _says(KeyShown, "The key as it is now."),
                says="Only what is named changes. Permissions, models, limits and whether it is "
                "enabled are an administrator's to change.",
                body=json_content(KeyEdit, {"name": "old laptop"}),
                errors=(InvalidJson, *_CHANGE),
            ),
            _route(
                "DELETE",
                path,
                f"delete_{suffix}",
                f"Remove {whose}",
                Answer(204, "It opens nothing any more."),
                errors=_CHANGE,
            ),
        )
    ),
    _route(
        "GET",
        "/api/api-keys",
        "list_keys",
        "Everybody's API keys, the newest first",
        _says(KeyListShown, "One page of them."),
        parameters=PAGED,
    ),
    _route(
        "GET",
        "/setup",
        "show_setup",
        "The page on which the first administrator is made",
        Answer(200, "A form, for whoever has the link that was printed at the start.", (_HTML,)),
        Answer(403, "The same page, with the reason why there is no form.", (_HTML,)),
        parameters=(Parameter("token", "As it stands in the link.", {"type": "string"}),),
        errors=(NotFound,),
    ),
    _route(
        "POST",
        "/setup",
        "set_up",
        "Make the first administrator",
        _says(RegisteredShown, "The administrator; for a browser's form it is a page.", 201),
        body=json_content(
            SetupForm,
            {"token": "…", "username": "admin", "password": _PASSWORD},  # no token # nosec B105
        ),
        errors=(*_FORM, NotFound, Conflict, CsrfFailed, RateLimitExceeded, *_CHANGE, SetupRequired),
    ),
    _route(
        "GET",
        "/setup.css",
        "setup_style",
        "How that page looks",
        Answer(200, "A style sheet.", (Content("text/css", {"type": "string"}),)),
    ),
)
