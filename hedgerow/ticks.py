"""Waits that end together: regular work of a process waits for multiples of its interval on the machine's clock.

On a small machine, a wake-up costs more than most of what is done in it. Tasks that run once a second therefore share
one wake-up per second, and the processes run in the same moment. Whatever is waited for by a person, or by another
process, is reported by an event instead: a tick is then only what notices the rest.
"""

from __future__ import annotations

import asyncio
import time

_EARLY_S = 0.005  # a timer may end so much before its time


def seconds_to_tick(every_s: float) -> float:
    """Return the seconds until the next multiple of `every_s` on the monotonic clock, more than 0."""
    now = time.monotonic()
    return (int((now + _EARLY_S) / every_s) + 1) * every_s - now


async def next_tick(every_s: float) -> None:
    """Wait until the next multiple of `every_s`."""
    await asyncio.sleep(seconds_to_tick(every_s))
