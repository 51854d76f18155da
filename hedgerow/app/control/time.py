"""Time on behalf of the people in charge: budgets, bonus minutes, and the sessions that are known."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from hedgerow.app.control.access_rule import AccessChange, AccessRule, ChangeKind
from hedgerow.app.control.sessions import device_called
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.dashboards.actions.orders import BonusOrder
from hedgerow.dashboards.control import BudgetRow, InvalidInput
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.effective_users import EffectiveUsers
from hedgerow.policies.expiry import UpcomingEnd, upcoming_ends
from hedgerow.policies.explain import find_device
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Policy, Session
from hedgerow.policies.targets import budget_subject
from hedgerow.policies.time_model import Bonus


class TimeService:
    """The implementation of `dashboards.actions.operations.TimeControl` over the snapshot in force."""

    def __init__(self, publisher: SnapshotPublisher, *, rule: Callable[[], AccessRule]) -> None:
        self._publisher, self._rule = publisher, rule

    @property
    def _policy(self) -> Policy:
        return self._publisher.policy

    def budgets(self) -> tuple[BudgetRow, ...]:
        return tuple(
            BudgetRow(
                each.account.partition(":")[2],
                each.subject.partition(":")[2],
                each.budget_status.used,
                each.budget_status.limit,
                each.budget_status.left,
                each.budget_status.until,
            )
            for each in self._publisher.budgets.balances(self._policy, time.time())
        )

    def endings(self, device: str) -> tuple[UpcomingEnd, ...]:
        view, now = self._publisher.view, time.time()
        found = find_device(view.rulesets, device) if view is not None else None
        if view is None or found is None:
            return ()
        return upcoming_ends(view.rulesets, found, self._publisher.budgets.balances(self._policy, now), now)

    def sessions(self) -> tuple[Session, ...]:
        view, now = self._publisher.view, time.time()
        known = view.rulesets.sessions if view is not None else ()
        return tuple(each for each in known if each.ends is None or each.ends > now)

    async def accept(self, session_id: str) -> None:
        if await asyncio.to_thread(self._publisher.usage.accept, session_id):
            await self._publisher.put_in_force()

    def session_start(self, device: str) -> float:
        found = self._publisher.policy.devices.get(device)
        if found is None or not found.is_seat:
            return 0.0
        here = [each.starts for each in self.sessions() if each.device == found.id and each.starts <= time.time()]
        return max(here) if here else self._publisher.usage.last_session_end(found.id) or 0.0

    async def add_minutes(self, order: BonusOrder, *, actor: str) -> Bonus:
        name, subject, minutes = order.name, order.subject, order.minutes
        bonus = Bonus(secrets.token_hex(6), self._account(name), self._subject(subject), minutes, actor, time.time())
        self.check_bonus(name, subject)
        view = self._publisher.view
        if view is None:
            raise InvalidInput("Hedgerow is still starting.")
        device = (
            EffectiveUsers(self._policy).seat_of(name)
            if name in self._policy.people
            else find_device(view.rulesets, name)
        )
        wanted = None
        if device is not None:
            wanted = AccessChange(
                kind=ChangeKind.ALLOW,
                actor=actor,
                device=device,
                subject=subject,
                minutes=minutes,
            )
        await self._rule().change(wanted, lambda *entries: self._publisher.usage.give(bonus, *entries))
        await self._publisher.put_in_force()
        return bonus

    def check_bonus(self, name: str, subject: str) -> None:
        """Raise `InvalidInput` if there is no budget to which minutes could be added."""
        account = self._account(name)
        known = [
            each.subject
            for each in self._publisher.budgets.balances(self._policy, time.time())
            if each.account == account
        ]
        if not known:
            raise InvalidInput("%(name)s has no time budget to add minutes to.", name=name)
        if self._subject(subject) not in known:
            of = ", ".join(each.partition(":")[2] or "all use" for each in known)
            raise InvalidInput(
                "%(name)s has a time budget for %(of)s, but none for %(subject)s.",
                name=name,
                of=of,
                subject=subject or "all use",
            )

    def _account(self, name: str) -> str:
        if name in self._policy.people:
            return f"person:{name}"
        return f"device:{device_called(name, self._policy).id}"

    def _subject(self, subject: str) -> str:
        try:
            return budget_subject(service_or_address(subject), Services.load().by_id, self._policy.categories)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
