"""Delays after wrong PINs: invented names crowd nobody out, and a colleague keeps nobody away for long."""

from __future__ import annotations

import asyncio
from pathlib import Path

from argon2 import PasswordHasher

from hedgerow.dashboards.accounts import Accounts, Principal
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.passwords import MAX_DELAY_S, PasswordHashes
from hedgerow.features.cafe.counter_store import CounterStore
from hedgerow.features.cafe.pins import STRANGE_TRIES
from hedgerow.features.cafe.staff import Staff
from hedgerow.journal.accounts import AccountStore
from hedgerow.journal.database import open_journal
from hedgerow.policies.reading.load import parse_policy

COUNTER = Principal("counter", frozenset(), "a session")


def test_wrong_pins_delay_their_name_only(tmp_path: Path) -> None:
    now = [1_780_000_000.0]
    store = open_journal(tmp_path / "journal.sqlite")
    policy = parse_policy(b"{}", None)
    passwords = PasswordHashes(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    accounts = Accounts(AccountStore(store), lambda: now[0], passwords)
    staff = Staff(accounts, CounterStore(store), lambda: policy, lambda: now[0])

    async def begin(name: str, pin: str, place: str = "till") -> str:
        try:
            await staff.begin(COUNTER, name, pin, place)
        except InvalidInput as error:
            return error.text
        return ""

    async def work() -> None:
        await staff.put("Ana", "staff", "2580")
        await staff.put("Ben", "staff", "4711")
        for _ in range(5):
            assert "not the PIN" in await begin("Ben", "1357")
        answers = [await begin(f"nobody {number}", "1357") for number in range(1100)]
        assert sum("not the PIN" in each for each in answers) == 5, "all names that nobody has count as one"
        assert "Too many" in await begin("Ben", "4711"), "they crowd nobody out"
        assert await begin("Ana", "2580") == "", "and keep nobody away"
        for _ in range(8):
            now[0] += MAX_DELAY_S + 1
            assert "not the PIN" in await begin("Ben", "1357"), "never longer than that"
            assert "Too many" in await begin("Ben", "1357")
        assert staff.on_duty(COUNTER) == "Ana", "whoever is on duty stays on duty"
        now[0] += MAX_DELAY_S + 1
        assert await begin("Ben", "4711") == ""
        assert "not the PIN" in await begin("Ben", "1357"), "the right PIN begins anew"
        at_once = await asyncio.gather(*(begin("Ana", f"{1000 + number}") for number in range(20)))
        assert sum("not the PIN" in each for each in at_once) <= 5, "many at once are not more tries"

        now[0] += 86400.0
        await staff.put("Eve", "staff", "9021")
        assert await begin("Eve", "9021", "eves-phone") == ""
        guesses = 0
        for place in (f"seat-{number}" for number in range(60)):
            for _ in range(9):
                guesses += "not the PIN" in await begin("Eve", "1357", place)
        assert guesses == STRANGE_TRIES - 1, "from seat to seat, nobody has more tries than this"
        assert "today" in await begin("Eve", "1357", "seat-99")
        assert await begin("Eve", "9021", "eves-phone") == "", "who guesses elsewhere keeps nobody away"
        await staff.put("Eve", "staff", "7305")
        assert await begin("Eve", "7305", "seat-99") == "", "an admin's new PIN begins anew"

    try:
        asyncio.run(work())
    finally:
        store.dispose()
