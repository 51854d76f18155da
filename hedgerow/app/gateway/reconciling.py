"""The loop of what is kept as the policy describes it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from hedgerow.ticks import next_tick

RECONCILE_INTERVAL_S: Final = 0.5
"""Seconds between two comparisons with the policy."""


async def keep_reconciled(
    step: Callable[[], Awaitable[None]],
    forget: Callable[[], None],
    *,
    log: logging.Logger,
    failure: str,
    errors: tuple[type[Exception], ...],
) -> None:
    """Await `step` twice per second, until cancelled.

    After one of these errors, `forget` is called, since nobody knows what is in place. Until a step succeeds, the same
    error is logged once, as `failure` with its text for `%s`.
    """
    logged = ""
    while True:
        try:
            await step()
            logged = ""
        except errors as error:
            forget()
            if str(error) != logged:
                log.error(failure, error)
            logged = str(error)
        await next_tick(RECONCILE_INTERVAL_S)
