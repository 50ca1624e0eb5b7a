"""How the doors come to be: the secrets of sessions, the first administrator, the gate."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog
import trio

from llmlb.account_form import password_problem, username_problem
from llmlb.accounts import Role, User, UserId
from llmlb.accounts.changes import add_first_admin
from llmlb.errors import Conflict, LbError, StartupError, StoreUnavailable
from llmlb.house import House
from llmlb.http.access.caller import Caller
from llmlb.http.access.gate import Gate, Knock
from llmlb.http.access.passwords import Passwords
from llmlb.http.access.sessions import Sessions
from llmlb.http.access.setup import SetupLink
from llmlb.http.access.throttle import Throttle
from llmlb.http.auditing import refusal_event
from llmlb.settings import Settings
from llmlb.store.database import ThreadRunner
from llmlb.store.location import IN_MEMORY, locate
from llmlb.store.opening import Store
from llmlb.store.session_keys import SessionKey, out_of_date, session_keys
from llmlb.world import World

log = structlog.get_logger()

WARNING_WITHOUT_AUTH = (
    "LLMLB_AUTH=off: whoever uses this machine may do everything here, without any credential; "
    "other machines are refused"
)


class Doors:
    """All that letting people in takes."""

    def __init__(
        self,
        gate: Gate,
        passwords: Passwords,
        throttle: Throttle,
        setup: SetupLink,
        *,
        renew: Callable[[], Awaitable[Sequence[SessionKey]]] | None,
        now: Callable[[], datetime],
    ) -> None:
        """*renew* reads the secrets of sessions, and makes a new one if it is time."""
        self.gate, self.passwords = gate, passwords
        self.throttle, self.setup = throttle, setup
        self._renew, self._now = renew, now
        self._one_at_a_time = trio.Lock()

    async def refresh_keys(self) -> None:
        """Sign with a new secret from now on, if it is time for it.

        To be called when somebody logs in: without new sessions there is no need of new secrets.
        """
        sessions = self.gate.sessions
        async with self._one_at_a_time:
            if self._renew is None or not out_of_date(sessions.keys, self._now()):
                return
            try:
                sessions.keys = tuple(await self._renew())
            except StartupError as error:  # a disk that is full locks nobody out
                log.warning("the secret of sessions could not be renewed", reason=str(error))


async def make_first_admin(
    settings: Settings, store: Store, passwords: Passwords, world: World
) -> None:
    """Make the administrator that the settings name, if there is none. Raises StartupError."""
    if settings.admin_password is None or settings.auth == "off":
        return
    name, password = settings.admin_username, settings.admin_password.get_secret_value()
    if problem := username_problem(name):
        raise StartupError(f"LLMLB_ADMIN_USERNAME {problem}.")
    if problem := password_problem(password):
        raise StartupError(f"LLMLB_ADMIN_PASSWORD {problem}.")
    try:
        accounts = await store.accounts.all()
        if accounts.has_admin:
            return
        password_hash = await passwords.hashed(password)
        user = User(UserId(world.new_id()), name, password_hash, Role.ADMIN, world.now())
        step = add_first_admin(accounts, user)
        await store.accounts.change(step.put, step.drop)
    except Conflict:
        raise StartupError(
            f"LLMLB_ADMIN_USERNAME={name}: there is a user of this name, who is no administrator: "
            "choose another name."
        ) from None
    except StoreUnavailable as error:
        raise StartupError(f"The first administrator could not be made: {error}") from None
    log.info("the first administrator was made, as the settings say", username=name)


async def open_doors(
    settings: Settings,
    house: House,
    passwords: Passwords,
    run_in_thread: ThreadRunner,
    url: str,
) -> Doors:
    """Build the gate of *house*; *url* is where people reach it. Raises StartupError."""
    in_memory = locate(settings.database) is IN_MEMORY
    directory = None if in_memory else settings.data_path

    async def renew() -> Sequence[SessionKey]:
        now = house.world.now()
        return await run_in_thread(lambda: session_keys(directory, now))

    def refused(knock: Knock, refusal: LbError, caller: Caller) -> None:
        house.tell_audit(refusal_event(knock, refusal, caller, house.world.now()))

    gate = Gate(
        settings,
        lambda: house.keyring.accounts,
        Sessions(await renew(), house.world.now),
        house.world,
        on_used=house.key_used,
        on_refused=refused,
    )
    setup = SetupLink(lambda token: _show_link(f"{url}/setup?token={token}"), house.world.clock)
    if settings.auth == "off":
        log.warning(WARNING_WITHOUT_AUTH)
    elif gate.setting_up:
        setup.print_anew()
    throttle = Throttle(house.world.clock)
    return Doors(
        gate,
        passwords,
        throttle,
        setup,
        renew=None if in_memory else renew,
        now=house.world.now,
    )


def _show_link(link: str) -> None:
    """For people alone: what is logged goes to places where a token has no business."""
    sys.stderr.write(
        "\nllmlb has no users yet, and serves this machine alone.\n"
        f"Open this link within the hour to make the first administrator:\n\n    {link}\n\n"
    )
    sys.stderr.flush()
