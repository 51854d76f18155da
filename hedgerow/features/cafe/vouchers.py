"""Printed vouchers for seats: how control makes and redeems them."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import replace

from hedgerow.dashboards.actions.orders import ExtendOrder
from hedgerow.dashboards.control import WrongCode
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry
from hedgerow.features.cafe.orders import MadeVouchers, VoucherOrder
from hedgerow.features.cafe.refusals import AlreadyDone
from hedgerow.features.cafe.rules import VOUCHER_ACTOR, key_of, kind_of
from hedgerow.features.cafe.sessions import GuestOrder, SessionService, seat_sessions_of
from hedgerow.features.cafe.voucher_store import Voucher, VoucherCount, VoucherStore
from hedgerow.features.contract import ControlService, Core
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.model import Device, DeviceId, Session
from hedgerow.proxy.limits import ATTEMPT_WINDOW_S, MAX_ATTEMPTS, AttemptLimiter
from hedgerow.task_state import Area

VOUCHER_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without characters that look alike on paper."""

VOUCHER_LENGTH = 8
CREDIT_DAYS = 90
"""Days for which the voucher for unused minutes is valid."""
_SHEETS_KEPT, _SHEET_KEPT_S = 20, 600.0
"""Sheets in memory, and how long each is kept, for somebody who taps twice: their codes are stored nowhere."""


class VoucherService:
    """Vouchers of the running Hedgerow. `request` is as for `TimeControl`."""

    def __init__(self, core: Core, sessions: SessionService) -> None:
        self._snapshots, self._recorder, self._store = core.snapshots, core.recorder, VoucherStore(core.store)
        self._times, self._sessions, self._counter = core.times, sessions, sessions.counter
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
            raise AlreadyDone(
                "These vouchers were made already, and their codes are shown only once: withdraw lost ones."
            )
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
        device, now = self._snapshots.policy.devices.get(device_id), time.time()
        if device is None or not device.is_seat:
            raise WrongCode("Vouchers are for café seats, and this device is not one.")
        # Attempts of one guest do not count against the next.
        since = await asyncio.to_thread(self._times.session_start, device.id)
        if not self._attempts.allows(DeviceId(f"{device.id} {since}"), now):
            raise WrongCode("Too many codes were tried here. Wait 15 minutes.")
        code = re.sub(r"[\W_]", "", typed).upper()
        voucher = await asyncio.to_thread(self._store.find, code)
        if voucher is None:
            raise _invalid_voucher()
        minutes: float | None = voucher.minutes
        if all(each.device != device.id for each in self._times.sessions()):
            # Not used up at a seat that is closed now.
            minutes = self._counter.open_minutes(device, voucher.band, minutes, now)
        await self._counter.in_turn(lambda: self._redeem(device, code, voucher, minutes))
        await self._snapshots.put_in_force()
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
            self._sessions.start_in_turn(seat, VOUCHER_ACTOR, GuestOrder(voucher.band, minutes), voucher)
        else:
            self._sessions.extend_in_turn(seat, ExtendOrder(minutes=voucher.minutes), VOUCHER_ACTOR, None, voucher)


def _invalid_voucher() -> WrongCode:
    return WrongCode("This voucher is not valid: it may be mistyped, already used or expired.")


_BAND_TEXT = {"child": "a child", "adult": "an adult"}


def _check_same_guest(voucher: Voucher, here: Session) -> None:
    """Raise WrongCode unless the voucher fits the running session: it never changes a session's age band."""
    if here.ends is None:
        raise WrongCode("The session at this seat has no end time, so it does not need a voucher.")
    if kind_of(here) != voucher.band:
        raise WrongCode("This voucher is for another kind of session: end this one at the counter first.")


def vouchers_of(core: Core) -> VoucherService:
    """Make the part of control for vouchers."""
    return VoucherService(core, core.part(seat_sessions_of))


def voucher_service(core: Core) -> ControlService:
    """Return the service that deletes vouchers which are out of date."""
    vouchers = core.part(vouchers_of)
    return ControlService(
        name="vouchers",
        area=Area.UPKEEP,
        run=asyncio.Event().wait,
        prune=lambda _now: asyncio.to_thread(vouchers.prune),
    )
