"""The staff of a café's counter. They share the computer there, signed in with one account, and each enters a PIN to take over.

While there is staff, everything at the counter is done in the name of the person on duty. A PIN is no password: it works in a session
that is signed in already, on this network, and few tries are allowed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.accounts import Accounts, Principal, check_account_name
from hedgerow.dashboards.control import InvalidInput
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.counter import CounterAction, CounterEntry, CounterStore, StaffRow
from hedgerow.policies.model import DeviceId, Policy
from hedgerow.proxy.limits import AttemptLimiter

MAX_TRIES, TRIES_WINDOW_S = 5, 3600.0
"""Wrong PINs of a person before no more are accepted for a while."""

DUTY_S = 12 * 3600.0
"""Time after which the PIN has to be entered again."""

DEFAULT_ROLE = "staff"
_MAX_STAFF = 200


@dataclass(frozen=True, slots=True)
class _Duty:
    name: str
    until: float


class Staff:
    """The people who work at the counter, and the one on duty in each session of the pages."""

    def __init__(
        self, accounts: Accounts, store: CounterStore, policy: Callable[[], Policy], clock: Callable[[], float] = time.time
    ) -> None:
        self._accounts, self._store, self._policy, self._clock = accounts, store, policy, clock
        self._duties: dict[str, _Duty] = {}
        self._tries = AttemptLimiter(MAX_TRIES, TRIES_WINDOW_S)

    async def members(self) -> tuple[StaffRow, ...]:
        """Return everybody, by name."""
        return await run_in_threadpool(self._store.staff)

    async def put(self, name: str, role: str, pin: str) -> None:
        """Add somebody, or change their role and PIN, which ends their duties. Raises `InvalidInput`."""
        check_account_name(name)
        _check_pin(pin)
        roles = self._policy().cafe.roles
        if roles and role not in roles:
            raise InvalidInput("The policy has no role '%(role)s': choose one of %(roles)s.", role=role, roles=", ".join(roles))
        if any(account.name.casefold() == name.casefold() for account in self._accounts.accounts()):
            raise InvalidInput("There is an account called '%(name)s' already.", name=name)
        known = await self.members()
        if len(known) >= _MAX_STAFF and all(row.name != name for row in known):
            raise InvalidInput("More than %(limit)s people cannot work at the counter.", limit=_MAX_STAFF)
        row = StaffRow(name, role, self._clock(), await self._accounts.passwords.hash(pin))
        await run_in_threadpool(self._store.put_staff, row)
        self._tries.forget(DeviceId(name))
        self._end_duties(name)

    async def remove(self, name: str) -> None:
        """Remove somebody. Raises `NoSuchEntry`."""
        if not await run_in_threadpool(self._store.remove_staff, name):
            raise NoSuchEntry(f"nobody called {name} works at the counter")
        self._end_duties(name)

    async def begin(self, principal: Principal, name: str, pin: str) -> None:
        """Put somebody on duty in a session of the pages. Raises `InvalidInput` for a wrong PIN and for too many of them."""
        if not principal.session:
            raise InvalidInput("Sign in first.")
        if not self._tries.allows(DeviceId(name), self._clock()):
            raise InvalidInput("Too many wrong PINs for %(name)s. Wait an hour, or have an admin set a new one.", name=name)
        row = next((each for each in await self.members() if each.name == name), None)
        if row is None or not await self._accounts.passwords.matches(row.pin, pin):
            entry = CounterEntry(self._clock(), principal.name, CounterAction.WRONG_PIN, note=name[:80])
            await run_in_threadpool(self._store.add, entry)
            raise InvalidInput("That is not the PIN of %(name)s.", name=name)
        self._tries.forget(DeviceId(name))
        if self.on_duty(principal) != name:
            await run_in_threadpool(self._store.add, CounterEntry(self._clock(), name, CounterAction.DUTY))
        open_ones = {row.id for row in self._accounts.sessions()}
        self._duties = {key: duty for key, duty in self._duties.items() if key in open_ones}
        self._duties[principal.session] = _Duty(name, self._clock() + DUTY_S)

    def leave(self, principal: Principal) -> None:
        """End the duty in a session of the pages."""
        self._duties.pop(principal.session, None)

    def on_duty(self, principal: Principal) -> str:
        """Return the name of the person on duty in a session of the pages, empty for nobody."""
        duty = self._duties.get(principal.session)
        return duty.name if duty is not None and duty.until > self._clock() else ""

    async def actor(self, principal: Principal) -> str:
        """Return the name in which a principal acts at the counter. Raises `InvalidInput` if there is staff and nobody is on duty.

        Scripts and the command line act in their own name.
        """
        if name := self.on_duty(principal):
            return name
        if principal.session and await self.members():
            raise InvalidInput("Nobody is on duty at this counter: enter your PIN first.")
        return principal.name

    def _end_duties(self, name: str) -> None:
        self._duties = {key: duty for key, duty in self._duties.items() if duty.name != name}


def _check_pin(pin: str) -> None:
    """Raise `InvalidInput` for a PIN that others would try first."""
    is_pin = re.fullmatch(r"[0-9]{4,12}", pin) is not None
    if not is_pin or {(int(second) - int(first)) % 10 for first, second in pairwise(pin)} in ({0}, {1}, {9}):
        raise InvalidInput("A PIN has 4 to 12 digits, not all the same or in a row.")
