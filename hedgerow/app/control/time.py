"""Time on behalf of the people in charge: budgets, bonus minutes, and sessions at seats and shared devices."""

from __future__ import annotations

import asyncio
import secrets
import time

from hedgerow.app.control.publisher import SnapshotPublisher
from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.api.time import BudgetRow
from hedgerow.dashboards.control import InvalidInput
from hedgerow.policies.expiry import UpcomingEnd, upcoming_ends
from hedgerow.policies.explain import find_device
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Device, Policy, Session
from hedgerow.policies.targets import parse_target
from hedgerow.policies.time_model import Bonus

SEAT_PROFILES = {"child": "seat-child", "adult": "seat-adult"}


class TimeService:
    """Implements `dashboards.api.time.TimeControl` over the snapshot in force."""

    def __init__(self, publisher: SnapshotPublisher) -> None:
        self._publisher = publisher

    def budgets(self) -> tuple[BudgetRow, ...]:
        return tuple(
            BudgetRow(
                each.account.partition(":")[2], each.subject.partition(":")[2], each.budget_status.used, each.budget_status.limit,
                each.budget_status.left, each.budget_status.until,
            )
            for each in self._publisher.budgets.balances(self._policy, time.time())
        )  # fmt: skip

    def endings(self, device: str) -> tuple[UpcomingEnd, ...]:
        view, now = self._publisher.view, time.time()
        found = find_device(view.rulesets, device) if view is not None else None
        if view is None or found is None:
            return ()
        return upcoming_ends(view.rulesets, found, self._publisher.budgets.balances(self._policy, now), now)

    def sessions(self) -> tuple[Session, ...]:
        view = self._publisher.view
        now = time.time()
        return tuple(each for each in view.rulesets.sessions if each.ends is None or each.ends > now) if view is not None else ()

    async def add_minutes(self, name: str, subject: str, minutes: int, actor: str) -> Bonus:
        bonus = Bonus(secrets.token_hex(6), self._account(name), self._subject(subject), minutes, actor, time.time())
        self.check_bonus(name, subject)
        await asyncio.to_thread(self._publisher.usage.give, bonus)
        await self._publisher.put_in_force()
        return bonus

    def check_bonus(self, name: str, subject: str) -> None:
        """Raise `InvalidInput` if there is no budget to which minutes could be added."""
        account = self._account(name)
        known = [each.subject for each in self._publisher.budgets.balances(self._policy, time.time()) if each.account == account]
        if not known:
            raise InvalidInput("%(name)s has no time budget to add minutes to.", name=name)
        if self._subject(subject) not in known:
            of = ", ".join(each.partition(":")[2] or "all use" for each in known)
            raise InvalidInput(
                "%(name)s has a time budget for %(of)s, but none for %(subject)s.", name=name, of=of, subject=subject or "all use"
            )

    async def start_session(
        self, device: str, actor: str, *, person: str | None, band: str | None, minutes: float | None, name: str
    ) -> Session:
        found = self._device(device)
        if found.is_seat == (person is not None) or (band is None) == (person is None):
            if found.is_seat:
                raise InvalidInput("%(device)s is a seat: choose whether a child or an adult is sitting there.", device=device)
            raise InvalidInput("%(device)s is not a seat: choose which of its people is signing in.", device=device)
        if person is not None and person not in found.sharers:
            raise InvalidInput("%(person)s does not share %(device)s.", device=device, person=person)
        now = time.time()
        profile = SEAT_PROFILES[band] if band is not None else None
        session = Session(secrets.token_hex(6), found.id, actor, now, now + minutes * 60 if minutes else None, person, profile, name)
        if found.is_seat:
            await asyncio.to_thread(self._publisher.ledger.clear, found.id, actor)
        await asyncio.to_thread(self._publisher.usage.start_session, session)
        await self._publisher.put_in_force()
        return session

    async def end_session(self, device: str, minutes: float | None) -> None:
        found = self._device(device)
        end = time.time() + minutes * 60 if minutes is not None else None
        await asyncio.to_thread(self._publisher.usage.end_session, found.id, end)
        if found.is_seat and end is None:
            await asyncio.to_thread(self._publisher.ledger.clear, found.id, "the end of the session")
        await self._publisher.put_in_force()

    async def accept(self, session_id: str) -> None:
        if await asyncio.to_thread(self._publisher.usage.accept, session_id):
            await self._publisher.put_in_force()

    def session_start(self, device: str) -> float:
        found = self._policy.devices.get(device)
        if found is None or not found.is_seat:
            return 0.0
        here = [each.starts for each in self.sessions() if each.device == found.id and each.starts <= time.time()]
        return max(here) if here else self._publisher.usage.last_session_end(found.id) or 0.0

    @property
    def _policy(self) -> Policy:
        return self._publisher.policy

    def _account(self, name: str) -> str:
        if name in self._policy.people:
            return f"person:{name}"
        return f"device:{self._device(name).id}"

    def _device(self, name: str) -> Device:
        device = self._policy.devices.get(name)
        if device is None:
            raise InvalidInput("The policy has no person or device called '%(name)s'.", name=name)
        return device

    def _subject(self, subject: str) -> str:
        if not subject:
            return ""
        try:
            target = parse_target(subject, Services.load().by_id, self._policy.categories, Origin("bonus", text=subject))
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        return f"{target.kind.value}:{target.name}"
