"""Sessions at shared devices, in a home without seats."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hedgerow.app.control.sessions import SharedDeviceSessions
from hedgerow.dashboards.actions.orders import SeatOrder
from hedgerow.dashboards.control import InvalidInput
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.reading.load import parse_policy

POLICY = b"""
people:
  mia: {age: 9, devices: [television]}
  ana: {profile: adult, devices: [television]}
devices:
  television: {ip: 127.0.0.6}
"""


async def published() -> None:
    """Publish nothing."""


def test_two_taps_at_once_are_one_pause(tmp_path: Path) -> None:
    with closing(open_journal(tmp_path / "journal.sqlite")) as store:
        usage = UsageStore(store)
        parts = {"usage": usage, "ledger": GrantStore(store), "reader": JournalReader(store)}
        snapshots = SimpleNamespace(policy=parse_policy(POLICY, None), put_in_force=published, **parts)
        shared = SharedDeviceSessions(cast(Any, snapshots))

        def minutes_added(ends: float | None) -> float:
            (session,) = usage.sessions(time.time())
            assert ends is not None
            assert session.ends is not None
            return (session.ends - ends) / 60

        async def tap_twice() -> None:
            begun = await shared.start_session("television", SeatOrder(person="ana", minutes=60), actor="Ana")
            pauses = (shared.pause_session("television", 30, actor="Ana") for _ in range(2))
            first, second = await asyncio.gather(*pauses, return_exceptions=True)
            assert first is None
            assert isinstance(second, InvalidInput)
            assert minutes_added(begun.ends) == pytest.approx(30)
            await asyncio.gather(*(shared.resume_session("television", actor="Ana") for _ in range(2)))
            assert minutes_added(begun.ends) == pytest.approx(0, abs=0.5)

        asyncio.run(tap_twice())
