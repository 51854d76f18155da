"""Vouchers open a seat once, expire, and their codes are not stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sqlalchemy import select

from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore
from hedgerow.features.cafe.voucher_store import Voucher, VoucherCount, VoucherStore
from hedgerow.journal.store import Store
from hedgerow.journal.tables import vouchers

SHEET = CounterEntry(1000.0, "ana", CounterAction.PRINT, kind="child", minutes=60, count=3)


def test_the_life_of_vouchers(journal: Store) -> None:
    now = [1000.0]
    engine = journal
    store = VoucherStore(engine, clock=lambda: now[0])
    sheet = Voucher("child", 60, "ana", 1000.0, 2000.0)
    serials = store.add(sheet, ["ABCDEFGH", "BCDEFGHJ", "CDEFGHJK"], SHEET)
    assert store.open() == (VoucherCount("child", 60, 2000.0, 3),)
    (entry,) = CounterStore(journal).entries(0.0, 2000.0)
    assert entry == replace(SHEET, id=entry.id)
    assert serials == (f"{entry.id}-01", f"{entry.id}-02", f"{entry.id}-03")
    assert (store.find("ABCDEFGH"), store.find("ABCDEFGJ")) == (replace(sheet, serial=serials[0]), None)
    assert [store.use("ABCDEFGH"), store.use("ABCDEFGH"), store.use("")] == [True, False, False]
    assert store.find("ABCDEFGH") is None
    assert store.withdraw(SHEET) == 2
    assert store.open() == ()
    assert not store.use("BCDEFGHJ")

    store.add(Voucher("adult", 30, "ana", 1000.0, 2000.0), ["DEFGHJKM"], SHEET)
    now[0] = 2000.0
    assert store.find("DEFGHJKM") is None
    assert not store.use("DEFGHJKM")
    now[0] += 86401
    store.prune()
    assert journal.rows(select(vouchers)) == []
    store.add(Voucher("adult", 30, "ana", now[0], now[0] + 60), ["EFGHJKMN"], SHEET)
    assert "EFGHJKMN" not in str(journal.rows(select(vouchers))), "codes are not stored"


def test_of_several_guests_who_enter_a_code_one_succeeds(journal: Store) -> None:
    engine = journal
    store = VoucherStore(engine, clock=lambda: 1000.0)
    for number in range(20):
        code = f"CODE{number:04}"
        store.add(Voucher("child", 60, "ana", 1000.0, 2000.0), [code], SHEET)
        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(store.use, [code] * 4)) == [False, False, False, True]


def test_a_site_uses_no_voucher_of_another(journal: Store) -> None:
    north, south = (Store(journal.engine, journal.dialect, site) for site in ("north", "south"))
    VoucherStore(south, clock=lambda: 1000.0).add(Voucher("child", 60, "ana", 1000.0, 2000.0), ["ABCDEFGH"], SHEET)
    VoucherStore(north, clock=lambda: 1000.0).add(Voucher("child", 60, "ana", 1000.0, 2000.0), ["BCDEFGHJ"], SHEET)
    vouchers_of_north = VoucherStore(north, clock=lambda: 1000.0)
    assert vouchers_of_north.find("ABCDEFGH") is None
    assert not vouchers_of_north.use("ABCDEFGH")
    assert vouchers_of_north.withdraw(SHEET) == 1
    assert VoucherStore(south, clock=lambda: 1000.0).use("ABCDEFGH")
