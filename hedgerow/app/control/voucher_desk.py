"""Vouchers as control makes them and takes them in. A guess has no chance: codes are long, and a guest may try a few an hour only."""

from __future__ import annotations

import asyncio
import re
import secrets
import time

from hedgerow.app.control.publisher import Publisher
from hedgerow.app.control.time_control import RunningTime
from hedgerow.dashboards.api.codes import WrongCode
from hedgerow.dashboards.api.vouchers import MadeVouchers, VoucherOrder
from hedgerow.journal.record import Event, Recorder
from hedgerow.journal.vouchers import Voucher, VoucherCount, VoucherStore
from hedgerow.policies.model import Device, DeviceId, Sitting
from hedgerow.proxy.asking import AskLimit

LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Those that nobody takes for another on paper."""

LENGTH = 8
TRIES, TRIES_IN_S = 5, 900.0
GIVER = "a voucher"


class VoucherDesk:
    """Implements `dashboards.api.vouchers.VoucherControl`."""

    def __init__(self, publisher: Publisher, running_time: RunningTime, recorder: Recorder, store: VoucherStore) -> None:
        self._publisher, self._time, self._recorder, self._store = publisher, running_time, recorder, store
        self._tries = AskLimit(TRIES, TRIES_IN_S)

    async def make(self, order: VoucherOrder, giver: str) -> MadeVouchers:
        now = time.time()
        voucher = Voucher(order.band, order.minutes, giver, now, now + order.valid_days * 86400)
        codes = {"".join(secrets.choice(LETTERS) for _ in range(LENGTH)) for _ in range(order.count)}
        await asyncio.to_thread(self._store.add, voucher, codes)
        half = LENGTH // 2
        return MadeVouchers(tuple(f"{code[:half]}-{code[half:]}" for code in sorted(codes)), voucher)

    async def open(self) -> tuple[VoucherCount, ...]:
        return await asyncio.to_thread(self._store.open)

    async def withdraw(self) -> int:
        return await asyncio.to_thread(self._store.withdraw)

    def prune(self) -> None:
        self._store.prune()

    async def redeem(self, device_id: str, typed: str) -> None:
        device, now = self._publisher.policy.devices.get(device_id), time.time()
        if device is None or not device.is_seat:
            raise WrongCode("Vouchers are for café seats, and this device is not one.")
        since = await asyncio.to_thread(self._time.seat_since, device.id)  # what one guest tried is not held against the next
        if not self._tries.allows(DeviceId(f"{device.id} {since}"), now):
            raise WrongCode("Too many codes were tried here. Wait 15 minutes.")
        code = re.sub(r"[\W_]", "", typed).upper()
        voucher = await asyncio.to_thread(self._store.find, code)
        here = next((each for each in self._time.sittings() if each.device == device.id), None)
        if voucher is not None and here is not None:
            _check_same_guest(voucher, here)
        if voucher is None or not await asyncio.to_thread(self._store.use, code):
            raise WrongCode("This voucher is not valid: it may be mistyped, already used or expired.")
        await self._open(device, voucher, here, now)
        self._recorder.add([Event(now, "voucher", device.id, f"{voucher.minutes} minutes for {_WHO[voucher.band]}")])

    async def _open(self, device: Device, voucher: Voucher, here: Sitting | None, now: float) -> None:
        """Begins a session, or lets the guest's own go on."""
        running = self._time
        if here is None or here.ends is None:
            await running.sit(device.id, GIVER, person=None, band=voucher.band, minutes=voucher.minutes, name="")
        else:
            await running.stand_up(device.id, max(0.0, here.ends - now) / 60 + voucher.minutes)


_WHO = {"child": "a child", "adult": "an adult"}


def _check_same_guest(voucher: Voucher, here: Sitting) -> None:
    """A voucher lets a session go on that is of its own kind; it never makes another of it."""
    if here.ends is None:
        raise WrongCode("The session at this seat has no end time, so it does not need a voucher.")
    if here.profile != f"seat-{voucher.band}":
        raise WrongCode("This voucher is for another kind of session: end this one at the counter first.")
