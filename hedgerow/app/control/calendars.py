"""Calendars with holidays that a policy names by URL: control fetches them, each once a day, and keeps the last good copy.

The policy file's follower notices a new copy as it notices an edit. Workers never fetch anything: they get dates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hedgerow.policies.reading.holidays import MAX_CALENDAR_BYTES, copy_of, days_of_calendar

log = logging.getLogger("hedgerow.calendars")

LOOK_EVERY_S = 2.0
FRESH_S = 86400.0
AGAIN_S = 3600.0
TIMEOUT_S = 30.0


class CalendarKeeper:
    """`urls` are those of the policy in force, asked again and again; copies are kept in `folder`."""

    def __init__(self, folder: Path, urls: Callable[[], Sequence[str]]) -> None:
        self._folder, self._urls = folder, urls
        self._tried: dict[str, float] = {}

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            for url in self._urls():
                if self._is_due(url):
                    self._tried[url] = time.monotonic()
                    await self.fetch(url)
            await asyncio.sleep(LOOK_EVERY_S)

    async def fetch(self, url: str) -> bool:
        """Fetches a calendar now. What is none, is too large or does not come leaves the copy that is there."""
        import httpx  # here and not above: most policies name no calendar that would be worth its weight

        try:
            async with asyncio.timeout(TIMEOUT_S):
                data = await _download(url)
            await asyncio.to_thread(_keep, data, copy_of(url, self._folder))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, OSError) as error:
            log.warning("The calendar %s could not be fetched, what is known of it stays: %s", url, str(error) or "no answer in time")
            return False
        log.info("the calendar %s was fetched", url)
        return True

    def _is_due(self, url: str) -> bool:
        if time.monotonic() - self._tried.get(url, -AGAIN_S) < AGAIN_S:
            return False
        try:
            return time.time() - copy_of(url, self._folder).stat().st_mtime > FRESH_S
        except OSError:
            return True


async def _download(url: str) -> bytes:
    """Raises ValueError for what is too large, httpx's errors for the rest."""
    import httpx

    async with httpx.AsyncClient(follow_redirects=True, max_redirects=5, timeout=10) as client, client.stream("GET", url) as answer:
        answer.raise_for_status()
        data = b""
        async for piece in answer.aiter_bytes():
            data += piece
            if len(data) > MAX_CALENDAR_BYTES:
                raise ValueError("it is too large for a calendar")
        return data


def _keep(data: bytes, place: Path) -> None:
    """Puts a copy into its place if it is a calendar; raises ValueError where it is none."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = place.with_suffix(".new")
    try:
        fresh.write_bytes(data)
        for _day in days_of_calendar(fresh):
            pass
        fresh.replace(place)
    except ValueError as error:
        raise ValueError(str(error).replace(str(fresh), "what came")) from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
