"""Vouchers open a seat once, expire, and their codes are not stored."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hedgerow.journal.access_store import Voucher, VoucherCount, VoucherStore
from hedgerow.journal.database import open_journal


def test_the_life_of_vouchers(tmp_path: Path) -> None:
    now = [1000.0]
    engine = open_journal(tmp_path / "journal.sqlite")
    store = VoucherStore(engine, clock=lambda: now[0])
    sheet = Voucher("child", 60, "ana", 1000.0, 2000.0)
    store.add(sheet, ["ABCDEFGH", "BCDEFGHJ", "CDEFGHJK"])
    assert store.open() == (VoucherCount("child", 60, 2000.0, 3),)
    assert (store.find("ABCDEFGH"), store.find("ABCDEFGJ")) == (sheet, None)
    assert [store.use("ABCDEFGH"), store.use("ABCDEFGH"), store.use("")] == [True, False, False]
    assert store.find("ABCDEFGH") is None
    assert store.withdraw() == 2
    assert store.open() == ()
    assert not store.use("BCDEFGHJ")

    store.add(Voucher("adult", 30, "ana", 1000.0, 2000.0), ["DEFGHJKM"])
    now[0] = 2000.0
    assert store.find("DEFGHJKM") is None
    assert not store.use("DEFGHJKM")
    now[0] += 86401
    store.prune()
    engine.dispose()
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        assert journal.execute("SELECT count(*) FROM vouchers").fetchone() == (0,)
    assert b"DEFGHJKM" not in (tmp_path / "journal.sqlite").read_bytes()


def test_of_several_guests_who_enter_a_code_one_succeeds(tmp_path: Path) -> None:
    engine = open_journal(tmp_path / "journal.sqlite")
    store = VoucherStore(engine, clock=lambda: 1000.0)
    for number in range(20):
        code = f"CODE{number:04}"
        store.add(Voucher("child", 60, "ana", 1000.0, 2000.0), [code])
        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(store.use, [code] * 4)) == [False, False, False, True]
    engine.dispose()
