"""Codes to read out over the phone, and printed vouchers for café seats: how control makes and redeems them.

Codes are short, so guessing is limited: a code is valid for one device or person and for minutes, and each device has
few attempts.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import replace
from zoneinfo import ZoneInfo

from hedgerow.app.control.access import same_requests
from hedgerow.app.control.counter import VOUCHER_ACTOR, CounterService, key_of, kind_of
from hedgerow.app.control.sessions import GuestOrder
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.control.time import TimeService
from hedgerow.app.control.web import WebControl
from hedgerow.dashboards.actions.orders import BonusOrder, CodeOrder, VoucherOrder
from hedgerow.dashboards.control import InvalidInput, MadeCode, MadeVouchers, WrongCode
from hedgerow.dashboards.refusals import AlreadyDone
from hedgerow.journal.access_store import AccessCode, CodeStore, NoSuchEntry, Voucher, VoucherCount, VoucherStore
from hedgerow.journal.counter import CounterAction, CounterEntry
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import CodeEntered, Device, DeviceId, Grant, GrantDuration, Session
from hedgerow.proxy.limits import AttemptLimiter

CODE_DIGITS = 6
MAX_ATTEMPTS, ATTEMPT_WINDOW_S = 5, 900.0
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
        counter: CounterService,
    ) -> None:
        self._publisher, self._web, self._times, self._recorder, self._store = publisher, web, times, recorder, store
        self._counter = counter
        self._attempts = AttemptLimiter(MAX_ATTEMPTS, ATTEMPT_WINDOW_S)

    async def make(self, order: CodeOrder, actor: str) -> MadeCode:
        now = time.time()
        ends = now + order.valid_minutes * 60
        device, person, subject, how_long = order.device, order.person, order.subject, order.how_long
        if order.request is not None:
            request = await asyncio.to_thread(self._publisher.ledger.request, order.request)
            if request.state != "open":
                raise NoSuchEntry(f"there is no open request {order.request}")
            asked = request.access_subject(self._publisher.policy)
            device, person, subject, address, minutes = asked.device, asked.person, asked.what, request.host, 0
        else:
            minutes, address = order.minutes or 0, subject
            subject = subject if order.only_address else service_or_address(subject)
            self._check(device, person, subject, minutes)
        wanted = self._web.seat_change(
            CounterAction.ALLOW, actor, device, subject, minutes, person=person, address=address
        )
        # refused now rather than when it is typed, which only then is an entry of the counter
        await self._counter.check(wanted)
        code = AccessCode(
            secrets.token_hex(6),
            actor,
            now,
            ends,
            device,
            person,
            subject,
            "" if minutes else how_long.value,
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
        if device is None:
            raise WrongCode("This device is not part of this network.")
        now = time.time()
        if not self._attempts.allows(device.id, now, is_named=device.known):
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
        try:
            await self.redeem(typed.device, typed.digits)
        except WrongCode:
            return

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
        ends = self._web.within_session(
            code.device, GrantDuration(code.how_long).end(now, ZoneInfo(self._publisher.policy.network.timezone))
        )
        device = DeviceId(code.device) if code.device else None
        subject = self._web.check_subject(code.subject)
        grant = Grant(secrets.token_hex(6), subject, code.actor, now, ends, device, code.person, "by a code")
        wanted = self._web.seat_change(CounterAction.ALLOW, code.actor, code.device, subject, person=code.person)
        ledger, request_id = self._publisher.ledger, code.request_id
        if request_id is not None:
            also = await same_requests(self._publisher, await asyncio.to_thread(ledger.request, request_id))
            await self._counter.change(wanted, lambda *entries: ledger.approve(request_id, grant, *entries, also=also))
        else:
            await self._counter.change(wanted, lambda *entries: ledger.give(grant, *entries))
        await self._publisher.put_in_force()

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


VOUCHER_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without characters that look alike on paper."""

VOUCHER_LENGTH = 8
CREDIT_DAYS = 90
"""Days for which the voucher for unused minutes is valid."""
_SHEETS_KEPT, _SHEET_KEPT_S = 20, 600.0
"""Sheets in memory, and how long each is kept, for somebody who taps twice: their codes are stored nowhere."""


class VoucherService:
    """The implementation of `dashboards.actions.operations.VoucherControl`."""

    def __init__(
        self,
        publisher: SnapshotPublisher,
        times: TimeService,
        recorder: Recorder,
        store: VoucherStore,
        counter: CounterService,
    ) -> None:
        self._publisher, self._time, self._recorder, self._store, self._counter = (
            publisher,
            times,
            recorder,
            store,
            counter,
        )
        self._attempts = AttemptLimiter(MAX_ATTEMPTS, ATTEMPT_WINDOW_S)
        self._made: dict[str, MadeVouchers] = {}

    async def make(self, order: VoucherOrder, actor: str, request: str = "") -> MadeVouchers:
        """Print vouchers, paid now or, if they are to be sold later, once they are used."""
        key = key_of(request, CounterAction.PRINT)

        def print_them() -> MadeVouchers:
            if self._counter.done_before(key) is not None:
                return self._sheet(key)
            entry = self._counter.printing(order.band, order.minutes, order.count, actor, order.paid)
            return self._make(replace(entry, key=key), order.valid_days, entry.due // entry.count, order.paid)

        return await self._counter.in_turn(print_them)

    async def credit(self, session_id: str, actor: str, request: str = "") -> MadeVouchers:
        key = key_of(request, CounterAction.CREDIT, session_id)

        def credit() -> MadeVouchers:
            if self._counter.done_before(key) is not None:
                return self._sheet(key)
            return self._make(
                replace(self._counter.crediting(session_id, actor), key=key), CREDIT_DAYS, 0, is_paid=True
            )

        return await self._counter.in_turn(credit)

    def _make(self, entry: CounterEntry, valid_days: int, price: int, is_paid: bool) -> MadeVouchers:
        voucher = Voucher(
            entry.kind, entry.minutes, entry.actor, entry.at, entry.at + valid_days * 86400, price, is_paid
        )
        codes: set[str] = set()
        while len(codes) < entry.count:
            codes.add("".join(secrets.choice(VOUCHER_ALPHABET) for _ in range(VOUCHER_LENGTH)))
        serials = self._store.add(voucher, sorted(codes), entry)
        half = VOUCHER_LENGTH // 2
        made = MadeVouchers(tuple(f"{code[:half]}-{code[half:]}" for code in sorted(codes)), voucher, serials)
        self._forget_sheets(entry.at)
        if entry.key is not None:
            self._made[entry.key] = made
        return made

    def _sheet(self, key: str | None) -> MadeVouchers:
        self._forget_sheets(time.time())
        made = self._made.get(key or "")
        if made is None:
            raise AlreadyDone("These vouchers were made already, and their codes are shown only once.")
        return made

    def _forget_sheets(self, now: float) -> None:
        recent = [(key, made) for key, made in self._made.items() if made.voucher.made_at > now - _SHEET_KEPT_S]
        self._made = dict(recent[-_SHEETS_KEPT + 1 :])

    async def open(self) -> tuple[VoucherCount, ...]:
        return await asyncio.to_thread(self._store.open)

    async def withdraw(self, actor: str, request: str = "") -> int:
        key = key_of(request, CounterAction.WITHDRAW)

        def withdraw() -> int:
            if (done := self._counter.done_before(key)) is not None:
                return done.count
            self._counter.check_actor(actor)
            return self._store.withdraw(CounterEntry(time.time(), actor, CounterAction.WITHDRAW, key=key))

        return await self._counter.in_turn(withdraw)

    def prune(self) -> None:
        self._store.prune()

    async def redeem(self, device_id: str, typed: str) -> None:
        device, now = self._publisher.policy.devices.get(device_id), time.time()
        if device is None or not device.is_seat:
            raise WrongCode("Vouchers are for café seats, and this device is not one.")
        # attempts of one guest do not count against the next
        since = await asyncio.to_thread(self._time.session_start, device.id)
        if not self._attempts.allows(DeviceId(f"{device.id} {since}"), now):
            raise WrongCode("Too many codes were tried here. Wait 15 minutes.")
        code = re.sub(r"[\W_]", "", typed).upper()
        voucher = await asyncio.to_thread(self._store.find, code)
        if voucher is None:
            raise _invalid_voucher()
        minutes: float | None = voucher.minutes
        if all(each.device != device.id for each in self._time.sessions()):
            # not used up at a seat that is closed now
            minutes = self._counter.open_minutes(device, voucher.band, minutes, now)
        await self._counter.in_turn(lambda: self._redeem(device, code, voucher, minutes))
        await self._publisher.put_in_force()
        self._recorder.add(
            [
                SystemEvent(
                    now,
                    "voucher",
                    device.id,
                    f"{voucher.minutes} minutes for {_BAND_TEXT.get(voucher.band, voucher.band)}",
                )
            ]
        )

    def _redeem(self, seat: Device, code: str, voucher: Voucher, minutes: float | None) -> None:
        """Use a voucher up, and begin a session with it or extend the guest's own."""
        here = self._counter.session_at(seat.id, time.time())
        if here is not None:
            _check_same_guest(voucher, here)
        if not self._store.use(code):
            raise _invalid_voucher()
        if here is None:
            self._time.start_in_turn(seat, VOUCHER_ACTOR, GuestOrder(voucher.band, minutes), voucher)
        else:
            self._time.extend_in_turn(seat, voucher.minutes, VOUCHER_ACTOR, None, voucher)


def _invalid_voucher() -> WrongCode:
    return WrongCode("This voucher is not valid: it may be mistyped, already used or expired.")


_BAND_TEXT = {"child": "a child", "adult": "an adult"}


def _check_same_guest(voucher: Voucher, here: Session) -> None:
    """Raise WrongCode unless the voucher fits the running session: it never changes a session's age band."""
    if here.ends is None:
        raise WrongCode("The session at this seat has no end time, so it does not need a voucher.")
    if kind_of(here) != voucher.band:
        raise WrongCode("This voucher is for another kind of session: end this one at the counter first.")
