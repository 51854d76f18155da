"""Codes over the phone, as control makes them and takes them in.

A guess has no chance: a code fits at one device or at one person's, holds for minutes, and each device may try a few times only.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time

from hedgerow.app.control.publisher import Publisher
from hedgerow.app.control.time_control import RunningTime
from hedgerow.app.control.web_control import WebControl
from hedgerow.dashboards.api.codes import CodeOrder, MadeCode, WrongCode
from hedgerow.dashboards.api.control import HowLong, Unfit
from hedgerow.journal.codes import Code, CodeStore
from hedgerow.journal.ledger import NoSuchEntry
from hedgerow.journal.record import Event, Recorder
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import CodeTyped, Device, DeviceId, Grant
from hedgerow.proxy.asking import AskLimit

DIGITS = 6
TRIES, TRIES_IN_S = 5, 900.0
_HOW_LONG = {"hour": "an hour", "today": "today", "good": "good"}


class CodeDesk:
    """Implements `dashboards.api.codes.CodeControl` over what is in force."""

    def __init__(self, publisher: Publisher, web: WebControl, times: RunningTime, recorder: Recorder, store: CodeStore) -> None:
        self._publisher, self._web, self._times, self._recorder, self._store = publisher, web, times, recorder, store
        self._tries = AskLimit(TRIES, TRIES_IN_S)

    async def make(self, order: CodeOrder, giver: str) -> MadeCode:
        now = time.time()
        ends = now + order.valid_minutes * 60
        device, person, subject, how_long = order.device, order.person, order.subject, order.how_long
        if order.request is not None:
            request = await asyncio.to_thread(self._publisher.ledger.request, order.request)
            if request.state != "open":
                raise NoSuchEntry(f"there is no open request {order.request}")
            device, person, subject, minutes = request.device, None, request.host, 0
        else:
            minutes = order.minutes or 0
            self._check(device, person, subject, minutes)
        code = Code(
            secrets.token_hex(6), giver, now, ends, device, person, subject, "" if minutes else how_long.value, minutes, order.request
        )
        digits = await self._fresh_digits()
        await asyncio.to_thread(self._store.add, code, digits)
        return MadeCode(digits, code)

    def prune(self) -> None:
        self._store.prune()

    async def open(self) -> tuple[Code, ...]:
        return await asyncio.to_thread(self._store.open)

    async def withdraw(self, code_id: str) -> None:
        await asyncio.to_thread(self._store.use, code_id)

    async def redeem(self, device_id: str, typed: str) -> Code:
        """Takes a code that was typed at a device. Raises `WrongCode`, with a sentence for who typed it."""
        view = self._publisher.view
        device = find_device(view.rulesets, device_id) if view is not None else None
        if device is None:
            raise WrongCode("This device is not part of this network.")
        now = time.time()
        if not self._tries.allows(device.id, now):
            raise WrongCode("Too many codes were tried here. Wait 15 minutes.")
        digits = re.sub(r"[\s.-]", "", typed)
        fitting = [code for code in await asyncio.to_thread(self._store.match, digits) if self._fits(code, device, now)]
        try:
            if not fitting:
                raise NoSuchEntry
            await asyncio.to_thread(self._store.use, fitting[0].id)
            await self._give(fitting[0], now)
        except (NoSuchEntry, Unfit):
            self._tell(now, device, "a wrong code was typed")
            raise WrongCode("This code is not valid here: it may be for another device, already used or expired.") from None
        self._tell(now, device, f"a code by {fitting[0].giver} was used: {told(fitting[0])}")
        return fitting[0]

    async def take(self, typed: CodeTyped) -> None:
        """As `redeem`, for a code that was typed on a block page, which watches what comes of it."""
        try:
            await self.redeem(typed.device, typed.digits)
        except WrongCode:
            return

    def _check(self, device: str | None, person: str | None, subject: str, minutes: int) -> None:
        if (device is None) == (person is None):
            raise Unfit("Choose the person or device that the code is for.")
        self._web.check_whose(device, person)
        if minutes:
            self._times.check_bonus(person or device or "", subject)
        elif subject:
            self._web.check_subject(subject)
        else:
            raise Unfit("Choose what the code opens, or how many minutes it adds.")

    def _fits(self, code: Code, device: Device, now: float) -> bool:
        if code.device is not None:
            return code.device == device.id
        view = self._publisher.view
        parties = view.rulesets.parties_of(device, now) if view is not None else ()
        return len(parties) == 1 and parties[0].name == code.person

    async def _give(self, code: Code, now: float) -> None:
        if code.minutes:
            await self._times.give_time(code.person or code.device or "", code.subject, code.minutes, code.giver)
            return
        ends = self._web.within_session(code.device, self._web.end_of(now, HowLong(code.how_long)))
        device = DeviceId(code.device) if code.device else None
        subject = self._web.check_subject(code.subject)
        grant = Grant(secrets.token_hex(6), subject, code.giver, now, ends, device, code.person, "by a code")
        if code.request_id is not None:
            await asyncio.to_thread(self._publisher.ledger.approve, code.request_id, grant)
        else:
            await asyncio.to_thread(self._publisher.ledger.give, grant)
        await self._publisher.publish()

    async def _fresh_digits(self) -> str:
        while True:
            digits = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
            if not await asyncio.to_thread(self._store.match, digits):
                return digits

    def _tell(self, now: float, device: Device, detail: str) -> None:
        self._recorder.add([Event(now, "code", device.person or device.id, detail)])


def told(code: Code) -> str:
    """What a code gives, in words.

    >>> told(Code("c", "ana", 0.0, 900.0, person="mia", minutes=15)), told(Code("c", "ana", 0.0, 900.0, subject="roblox", how_long="hour"))
    ('15 minutes more', 'roblox is open for an hour')
    """
    if code.minutes:
        return f"{code.minutes} minutes more{f' of {code.subject}' if code.subject else ''}"
    return f"{code.subject} is open for {_HOW_LONG[code.how_long]}"
