"""The staff of a café's counter. They share the computer there, signed in with one account, and each enters a PIN to
take over.

While there is staff, everything at the counter is done in the name of the person on duty. A PIN is not a password: it
works in a session that is signed in already, on this network, and wrong ones delay the next try there, up to 15
minutes. Whoever is on duty stays on duty meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.accounts import Accounts, Principal, check_account_name
from hedgerow.dashboards.control import Control, InvalidInput
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, StaffRow
from hedgerow.features.cafe.pins import PinTries
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.contract import Core
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.policies.model import Policy
from hedgerow.policies.text.notes import plain_note

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
        self,
        accounts: Accounts,
        store: CounterStore,
        policy: Callable[[], Policy],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts, self._store, self._policy, self._clock = accounts, store, policy, clock
        self._duties: dict[str, _Duty] = {}
        self._tries = PinTries(clock)

    async def members(self) -> tuple[StaffRow, ...]:
        """Return everybody, by name."""
        return await run_in_threadpool(self._store.staff)

    async def put(self, name: str, role: str, pin: str) -> None:
        """Add somebody, or change their role and PIN, which ends their duties. Raises `InvalidInput`."""
        check_account_name(name)
        _check_pin(pin)
        roles = cafe_of(self._policy()).roles
        if roles and role not in roles:
            raise InvalidInput(
                "The policy has no role '%(role)s': choose one of %(roles)s.", role=role, roles=", ".join(roles)
            )
        if any(account.name.casefold() == name.casefold() for account in self._accounts.accounts()):
            raise InvalidInput("There is an account called '%(name)s' already.", name=name)
        known = await self.members()
        if len(known) >= _MAX_STAFF and all(row.name != name for row in known):
            raise InvalidInput("More than %(limit)s people cannot work at the counter.", limit=_MAX_STAFF)
        row = StaffRow(name, role, self._clock(), await self._accounts.passwords.hash(pin))
        await run_in_threadpool(self._store.put_staff, row)
        self._tries.forget(name)
        self._end_duties(name)

    async def remove(self, name: str) -> None:
        """Remove somebody. Raises `NoSuchEntry`."""
        if not await run_in_threadpool(self._store.remove_staff, name):
            raise NoSuchEntry(f"nobody called {name} works at the counter")
        self._tries.forget(name)
        self._end_duties(name)

    async def begin(self, principal: Principal, name: str, pin: str, place: str = "") -> None:
        """Put somebody on duty in a session of the pages, at a device that is the `place`.

        Raises `InvalidInput` for a wrong PIN and for too many of them.
        """
        if not principal.session:
            raise InvalidInput("Sign in first.")
        await self._check(principal, name, pin, place)
        if self.on_duty(principal) != name:
            await run_in_threadpool(self._store.add, CounterEntry(self._clock(), name, CounterAction.DUTY))
        open_ones = {row.id for row in self._accounts.sessions()}
        self._duties = {key: duty for key, duty in self._duties.items() if key in open_ones}
        self._duties[principal.session] = _Duty(name, self._clock() + DUTY_S)

    async def sign(self, principal: Principal, pin: str, place: str) -> None:
        """Check the PIN of whoever is on duty in a session of the pages. Scripts, and cafés without staff, need none.

        Raises `InvalidInput` as `begin` does.
        """
        if name := self.on_duty(principal):
            await self._check(principal, name, pin, place)

    async def _check(self, principal: Principal, name: str, pin: str, place: str) -> None:
        row = next((each for each in await self.members() if each.name == name), None)
        # Names that nobody has count as one, so nobody can be crowded out.
        owner, place = (row.name if row is not None else ""), f"{principal.name} on {place}"
        self._tries.begin(owner, place, name)
        if row is None or not await self._accounts.passwords.matches(row.pin, pin):
            entry = CounterEntry(
                self._clock(), self.actor(principal), CounterAction.WRONG_PIN, note=plain_note(name)[:80]
            )
            await run_in_threadpool(self._store.add, entry)
            raise InvalidInput("That is not the PIN of %(name)s.", name=name)
        self._tries.was_right(owner, place)

    def leave(self, principal: Principal) -> None:
        """End the duty in a session of the pages."""
        self._duties.pop(principal.session, None)

    def on_duty(self, principal: Principal) -> str:
        """Return the name of the person on duty in a session of the pages, empty for nobody."""
        duty = self._duties.get(principal.session)
        return duty.name if duty is not None and duty.until > self._clock() else ""

    def actor(self, principal: Principal) -> str:
        """Return the name in which a principal acts: that of the person on duty, else of the account or script.

        Where there is staff, the counter refuses accounts.
        """
        return self.on_duty(principal) or principal.name

    def _end_duties(self, name: str) -> None:
        self._duties = {key: duty for key, duty in self._duties.items() if duty.name != name}


def place_of(control: Control, address: str) -> str:
    """Return the device at an address, for the tries of PINs. All that the policy does not name are one place."""
    view = control.device_at(address)
    return view.device if view is not None and view.device in control.policy().devices else ""


def _check_pin(pin: str) -> None:
    """Raise `InvalidInput` for a PIN that others would try first."""
    is_pin = re.fullmatch(r"[0-9]{4,12}", pin) is not None
    if not is_pin or {(int(second) - int(first)) % 10 for first, second in pairwise(pin)} in ({0}, {1}, {9}):
        raise InvalidInput("A PIN has 4 to 12 digits, not all the same or in a row.")


def staff_of(core: Core) -> Staff:
    """Make the part of control for the people who work at the counter."""
    return Staff(core.accounts, CounterStore(core.store), lambda: core.policy, core.clock)
