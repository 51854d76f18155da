"""Codes to read out over the phone: how control makes and redeems them.

Codes are short, so guessing is limited: a code is valid for one device or person and for minutes, and each device has
few attempts.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

from hedgerow.app.control.access import same_requests
from hedgerow.app.control.access_rule import AccessRule, ChangeKind
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.control.time import TimeService
from hedgerow.app.control.web import WebControl
from hedgerow.dashboards.actions.orders import BonusOrder, CodeOrder
from hedgerow.dashboards.control import InvalidInput, MadeCode, WrongCode
from hedgerow.journal.access_store import AccessCode, CodeStore, NoSuchEntry
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.policies.access_subject import AccessSubject, service_or_address
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import CodeEntered, Device, DeviceId, GrantDuration
from hedgerow.proxy.limits import ATTEMPT_WINDOW_S, MAX_ATTEMPTS, AttemptLimiter

CODE_DIGITS = 6
_DURATION_TEXT = {"hour": "an hour", "today": "today", "good": "good"}


class CodeService:
    """The implementation of `dashboards.actions.operations.CodeControl` over the snapshot in force."""

    def __init__(
        self,
        publisher: SnapshotPublisher,
        web: WebControl,
        times: TimeService,
        recorder: Recorder,
        store: CodeStore,
        rule: Callable[[], AccessRule],
    ) -> None:
        self._publisher, self._web, self._times, self._recorder, self._store = publisher, web, times, recorder, store
        self._rule = rule
        self._attempts = AttemptLimiter(MAX_ATTEMPTS, ATTEMPT_WINDOW_S)

    async def make(self, order: CodeOrder, actor: str) -> MadeCode:
        now = time.time()
        minutes = 0 if order.request is not None else order.minutes or 0
        if order.request is not None:
            request = await asyncio.to_thread(self._publisher.ledger.request, order.request)
            if request.state != "open":
                raise NoSuchEntry(f"there is no open request {order.request}")
            opening = request.access_subject(self._publisher.policy, only_address=order.only_address)
        else:
            what = order.subject if order.only_address else service_or_address(order.subject)
            self._check(order.device, order.person, what, minutes)
            device = DeviceId(order.device) if order.device is not None else None
            opening = AccessSubject(what, order.person, device, order.subject)
        wanted = self._web.access_change(
            ChangeKind.ALLOW,
            actor,
            opening.device,
            opening.what,
            minutes,
            person=opening.person,
            address=opening.address,
        )
        # refused now rather than when it is typed, which only then is written down
        await self._rule().check(wanted)
        if not minutes:
            await self._web.check_dangers(opening, wanted, sure=order.sure)
        code = AccessCode(
            secrets.token_hex(6),
            actor,
            now,
            now + order.valid_minutes * 60,
            opening.device,
            opening.person,
            opening.what,
            "" if minutes else order.how_long.value,
            minutes,
            order.request,
        )
        digits = await self._unused_digits()
        await asyncio.to_thread(self._store.add, code, digits)
        return MadeCode(digits, code)

    def prune(self) -> None:
        self._store.prune()

    async def open(self) -> tuple[AccessCode, ...]:
        return await asyncio.to_thread(self._store.open)

    async def withdraw(self, code_id: str) -> None:
        await asyncio.to_thread(self._store.use, code_id)

    async def redeem(self, device_id: str, typed: str) -> AccessCode:
        """Redeem a code that was typed at a device. Raises `WrongCode` with a sentence for the user."""
        view = self._publisher.view
        device = find_device(view.rulesets, device_id) if view is not None else None
        if view is None or device is None:
            raise WrongCode("This device is not part of this network.")
        now = time.time()
        limited = view.rulesets.ruleset(device, now).limited_as(device.id)
        if not self._attempts.allows(limited, now, is_named=device.known):
            raise WrongCode("Too many codes were tried here. Wait 15 minutes.")
        digits = re.sub(r"[\s.-]", "", typed)
        valid = [code for code in await asyncio.to_thread(self._store.match, digits) if self._is_for(code, device, now)]
        try:
            if not valid:
                raise NoSuchEntry
            await asyncio.to_thread(self._store.use, valid[0].id)
            await self._apply(valid[0], now)
        except (NoSuchEntry, InvalidInput):
            self._record_event(now, device, "a wrong code was typed")
            raise WrongCode(
                "This code is not valid here: it may be for another device, already used or expired."
            ) from None
        self._record_event(now, device, f"a code by {valid[0].actor} was used: {describe_code(valid[0])}")
        return valid[0]

    async def take(self, typed: CodeEntered) -> None:
        """Like `redeem`, for a code that was typed on a block page, which polls for its effect."""
        with contextlib.suppress(WrongCode):
            await self.redeem(typed.device, typed.digits)

    def _check(self, device: str | None, person: str | None, subject: str, minutes: int) -> None:
        if (device is None) == (person is None):
            raise InvalidInput("Choose the person or device that the code is for.")
        self._web.check_target(device, person)
        if minutes:
            self._times.check_bonus(person or device or "", subject)
        elif subject:
            self._web.check_subject(subject)
        else:
            raise InvalidInput("Choose what the code opens, or how many minutes it adds.")

    def _is_for(self, code: AccessCode, device: Device, now: float) -> bool:
        if code.device is not None:
            return code.device == device.id
        view = self._publisher.view
        users = view.rulesets.effective_users_of(device, now) if view is not None else ()
        return len(users) == 1 and users[0].name == code.person

    async def _apply(self, code: AccessCode, now: float) -> None:
        if code.minutes:
            order = BonusOrder(name=code.person or code.device or "", subject=code.subject, minutes=code.minutes)
            await self._times.add_minutes(order, actor=code.actor)
            return
        ends = GrantDuration(code.how_long).end(now, ZoneInfo(self._publisher.policy.network.timezone))
        opening = AccessSubject(code.subject, code.person, DeviceId(code.device) if code.device else None)
        answers = [code.request_id] if code.request_id is not None else []
        if answers:
            request = await asyncio.to_thread(self._publisher.ledger.request, answers[0])
            answers += await same_requests(self._publisher, request) if code.subject == request.subject else []
        await self._web.give(opening, code.actor, ends=ends, note="by a code", sure=True, answers=answers)

    async def _unused_digits(self) -> str:
        while True:
            digits = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
            if not await asyncio.to_thread(self._store.match, digits):
                return digits

    def _record_event(self, now: float, device: Device, detail: str) -> None:
        self._recorder.add([SystemEvent(now, "code", device.person or device.id, detail)])


def describe_code(code: AccessCode) -> str:
    """Describe the access or the minutes that a code gives.

    >>> (describe_code(AccessCode("c", "ana", 0.0, 900.0, person="mia", minutes=15)),
    ... describe_code(AccessCode("c", "ana", 0.0, 900.0, subject="roblox", how_long="hour")))
    ('15 minutes more', 'roblox is open for an hour')
    """
    if code.minutes:
        return f"{code.minutes} minutes more{f' of {code.subject}' if code.subject else ''}"
    return f"{code.subject} is open for {_DURATION_TEXT[code.how_long]}"
