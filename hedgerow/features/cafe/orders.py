"""Orders of the counter: a guest's other seat, and vouchers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le, MaxLen, MinLen

from hedgerow.dashboards.actions.action import Order, Shown
from hedgerow.dashboards.actions.orders import JournalId, WholeMinutes
from hedgerow.features.cafe.voucher_store import Voucher

MAX_VOUCHERS_PER_ORDER = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOrder(Order):
    """The free seat to which a guest moves."""

    to: Annotated[str, MinLen(1), MaxLen(253), Shown("Where the guest sits from now on.", "FREE_SEAT")]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoOrder(Order):
    """The number of the entry that opened the seat, or added minutes."""

    entry: JournalId


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherOrder(Order):
    """`count` vouchers, each for one session of `minutes` that begins within `valid_days`.

    `band` is as for a seat. `paid`: the price is taken now, else when the voucher is used.
    """

    count: Annotated[int, Ge(1), Le(MAX_VOUCHERS_PER_ORDER)]
    band: Annotated[str, MaxLen(100)]
    minutes: WholeMinutes
    valid_days: Annotated[int, Ge(1), Le(366)] = 30
    paid: bool = True


@dataclass(frozen=True, slots=True)
class MadeVouchers:
    """New vouchers and their serials, in the same order. The codes cannot be shown again."""

    codes: tuple[str, ...]
    voucher: Voucher
    serials: tuple[str, ...] = ()
