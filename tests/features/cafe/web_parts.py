"""Parts of the café in the web server of tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.control import InvalidInput, WrongCode
from hedgerow.features.cafe.orders import MadeVouchers, VoucherOrder
from hedgerow.features.cafe.staff import Staff, staff_of
from hedgerow.features.cafe.voucher_store import Voucher, VoucherCount
from hedgerow.features.cafe.vouchers import vouchers_of
from hedgerow.journal.counter import CounterStore
from hedgerow.journal.store import Store
from hedgerow.policies.model import Policy


class Printed:
    """Vouchers with fixed codes that cannot be redeemed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def make(self, order: VoucherOrder, actor: str, request: str = "") -> MadeVouchers:
        now = self._clock()
        voucher = Voucher(order.band, order.minutes, actor, now, now + order.valid_days * 86400)
        return MadeVouchers(tuple(f"ABCD-{number:04}" for number in range(order.count)), voucher)

    async def open(self) -> tuple[VoucherCount, ...]:
        return ()

    async def credit(self, session_id: str, actor: str, request: str = "") -> MadeVouchers:
        raise InvalidInput("This session has no minutes that were paid and not used.")

    async def withdraw(self, actor: str, request: str = "") -> int:
        return 0

    async def redeem(self, device_id: str, typed: str) -> None:
        raise WrongCode(f"{device_id} knows no voucher {typed}.")


def parts(
    *, accounts: Accounts, store: Store, policy: Callable[[], Policy], clock: Callable[[], float]
) -> dict[Any, Any]:
    """Return the staff, and vouchers that are printed only, by the functions that make the café's own."""
    return {staff_of: Staff(accounts, CounterStore(store), policy, clock), vouchers_of: Printed(clock)}
