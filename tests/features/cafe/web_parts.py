"""Parts of the café in the web server of tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from web_server import CountedTime

from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.control import InvalidInput, WrongCode
from hedgerow.features.cafe.calls import SeatCalls, seat_calls_of
from hedgerow.features.cafe.counter import CounterService
from hedgerow.features.cafe.counter_store import CounterStore
from hedgerow.features.cafe.members import Members, members_of
from hedgerow.features.cafe.orders import MadeVouchers, VoucherOrder
from hedgerow.features.cafe.sales import Sales, sales_of
from hedgerow.features.cafe.screens import SeatScreens, screens_of
from hedgerow.features.cafe.sessions import seat_sessions_of
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.cafe.staff import Staff, staff_of
from hedgerow.features.cafe.till import TillService, till_of
from hedgerow.features.cafe.undoing import SeatUndo, seat_undo_of
from hedgerow.features.cafe.voucher_store import Voucher, VoucherCount
from hedgerow.features.cafe.vouchers import vouchers_of
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import DeviceId, Policy


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


class _Rules:
    """The rules in force without a snapshot, and what else the counter's parts use of control."""

    view = None

    def __init__(self, policy: Callable[[], Policy], store: Store, clock: Callable[[], float]) -> None:
        self._policy, self.store, self.clock = policy, store, clock
        self.control = SimpleNamespace(device_at=lambda _address: None, policy=policy)
        self.usage, self.ledger, self.reader = UsageStore(store), GrantStore(store), JournalReader(store)

    @property
    def policy(self) -> Policy:
        return self._policy()


class Guests:
    """The guests of the sessions of `time`, who move and owe nothing."""

    def __init__(self, time: CountedTime) -> None:
        self._time = time

    async def move_session(self, device: str, to: str, *, actor: str, request: str = "") -> None:
        self._time.seated[to] = replace(self._time.session_there(device), device=DeviceId(to))
        del self._time.seated[device]


def parts(
    *,
    accounts: Accounts,
    store: Store,
    policy: Callable[[], Policy],
    clock: Callable[[], float],
    time: CountedTime,
    **_core: object,
) -> dict[Any, Any]:
    """Return the staff, the guests, and vouchers that are printed only, by the functions that make the café's own."""
    rules: Any = _Rules(policy, store, clock)
    counter = CounterService(rules, CounterStore(store), accounts)
    key_file = Path(store.engine.url.database or "journal.sqlite").with_name("statement-key.pem")
    staff = Staff(accounts, CounterStore(store), policy, clock)
    members = Members(store, counter, lambda: cafe_of(policy()).currency, clock)
    return {
        sales_of: Sales(rules, counter),
        members_of: members,
        till_of: TillService(rules, counter, staff),
        screens_of: SeatScreens(counter, policy, key_file, clock, wake=lambda _macs, _addresses: None),
        staff_of: staff,
        vouchers_of: Printed(clock),
        seat_calls_of: SeatCalls(clock),
        seat_sessions_of: Guests(time),
        seat_undo_of: SeatUndo(rules, counter, members),
    }
