"""Time as the people in charge give and take it: how budgets stand, minutes on top, seats and who signs in."""

from __future__ import annotations

import asyncio
import secrets
import time

from hedgerow.app.control.publisher import Publisher
from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.api.time_routes import BudgetRow
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import Bonus, Device, Policy, Sitting
from hedgerow.policies.services import Services
from hedgerow.policies.targets import parse_target
from hedgerow.policies.times.endings import Ending, endings_of

SEAT_PROFILES = {"child": "seat-child", "adult": "seat-adult"}


class RunningTime:
    """Implements `dashboards.api.time_routes.TimeControl` over what is in force."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def budgets(self) -> tuple[BudgetRow, ...]:
        return tuple(
            BudgetRow(
                each.account.partition(":")[2], each.subject.partition(":")[2], each.standing.used, each.standing.limit,
                each.standing.left, each.standing.until,
            )
            for each in self._publisher.budgets.balances(self._policy, time.time())
        )  # fmt: skip

    def endings(self, device: str) -> tuple[Ending, ...]:
        view, now = self._publisher.view, time.time()
        found = find_device(view.rulesets, device) if view is not None else None
        if view is None or found is None:
            return ()
        return endings_of(view.rulesets, found, self._publisher.budgets.balances(self._policy, now), now)

    def sittings(self) -> tuple[Sitting, ...]:
        view = self._publisher.view
        now = time.time()
        return tuple(each for each in view.rulesets.sittings if each.ends is None or each.ends > now) if view is not None else ()

    async def give_time(self, name: str, subject: str, minutes: int, giver: str) -> Bonus:
        bonus = Bonus(secrets.token_hex(6), self._account(name), self._subject(subject), minutes, giver, time.time())
        self.check_bonus(name, subject)
        await asyncio.to_thread(self._publisher.usage.give, bonus)
        await self._publisher.publish()
        return bonus

    def check_bonus(self, name: str, subject: str) -> None:
        """Raises `Unfit` where there is no budget that minutes could be added to."""
        account = self._account(name)
        known = [each.subject for each in self._publisher.budgets.balances(self._policy, time.time()) if each.account == account]
        if not known:
            raise Unfit("%(name)s has no time budget to add minutes to.", name=name)
        if self._subject(subject) not in known:
            of = ", ".join(each.partition(":")[2] or "all use" for each in known)
            raise Unfit("%(name)s has a time budget for %(of)s, but none for %(subject)s.", name=name, of=of, subject=subject or "all use")

    async def sit(self, device: str, giver: str, *, person: str | None, band: str | None, minutes: float | None, name: str) -> Sitting:
        found = self._device(device)
        if found.is_seat == (person is not None) or (band is None) == (person is None):
            if found.is_seat:
                raise Unfit("%(device)s is a seat: choose whether a child or an adult is sitting there.", device=device)
            raise Unfit("%(device)s is not a seat: choose which of its people is signing in.", device=device)
        if person is not None and person not in found.sharers:
            raise Unfit("%(person)s does not share %(device)s.", device=device, person=person)
        now = time.time()
        profile = SEAT_PROFILES[band] if band is not None else None
        sitting = Sitting(secrets.token_hex(6), found.id, giver, now, now + minutes * 60 if minutes else None, person, profile, name)
        if found.is_seat:
            await asyncio.to_thread(self._publisher.ledger.clear, found.id, giver)
        await asyncio.to_thread(self._publisher.usage.sit, sitting)
        await self._publisher.publish()
        return sitting

    async def stand_up(self, device: str, minutes: float | None) -> None:
        found = self._device(device)
        end = time.time() + minutes * 60 if minutes is not None else None
        await asyncio.to_thread(self._publisher.usage.end_sitting, found.id, end)
        if found.is_seat and end is None:
            await asyncio.to_thread(self._publisher.ledger.clear, found.id, "the end of the session")
        await self._publisher.publish()

    async def accept(self, sitting_id: str) -> None:
        if await asyncio.to_thread(self._publisher.usage.accept, sitting_id):
            await self._publisher.publish()

    def seat_since(self, device: str) -> float:
        found = self._policy.devices.get(device)
        if found is None or not found.is_seat:
            return 0.0
        here = [each.starts for each in self.sittings() if each.device == found.id and each.starts <= time.time()]
        return max(here) if here else self._publisher.usage.last_end(found.id) or 0.0

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
            raise Unfit("The policy has no person or device called '%(name)s'.", name=name)
        return device

    def _subject(self, subject: str) -> str:
        if not subject:
            return ""
        try:
            target = parse_target(subject, Services.load().by_id, self._policy.categories, Origin("bonus", text=subject))
        except ValueError as error:
            raise Unfit(str(error)) from None
        return f"{target.kind.value}:{target.name}"
