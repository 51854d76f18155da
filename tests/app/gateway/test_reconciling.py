"""What is kept as the policy describes it: an error is logged once, and tried again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from hedgerow.app.gateway import reconciling
from hedgerow.app.gateway.reconciling import keep_reconciled


def test_an_error_is_logged_once_until_a_step_succeeds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "RECONCILE_INTERVAL_S", 0.01)
    outcomes: list[Exception | None] = [OSError("full"), OSError("full"), ValueError("odd"), None, ValueError("odd")]
    forgotten: list[int] = []
    ended = asyncio.Event()

    async def step() -> None:
        if not outcomes:
            ended.set()
        elif (error := outcomes.pop(0)) is not None:
            raise error

    async def run() -> None:
        running = asyncio.create_task(
            keep_reconciled(
                step,
                lambda: forgotten.append(len(outcomes)),
                log=logging.getLogger("hedgerow.gateway"),
                failure="The table can't be kept: %s",
                errors=(OSError, ValueError),
            )
        )
        async with asyncio.timeout(20):
            await ended.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    assert forgotten == [4, 3, 2, 0]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["full", "odd", "odd"]
