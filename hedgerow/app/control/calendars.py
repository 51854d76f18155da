"""Holiday calendars that a policy names by URL: each is fetched once a day, and the last good copy is kept.

A new copy triggers a reload of the policy, as an edit of its file does. Workers fetch nothing: their policy contains the dates.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hedgerow.app.control.jobs import JobError, run_job
from hedgerow.blocklists.sources import shown_url
from hedgerow.policies.reading.holidays import calendar_copy_path

log = logging.getLogger("hedgerow.calendars")

CHECK_INTERVAL_S = 2.0
REFRESH_INTERVAL_S = 86400.0
RETRY_INTERVAL_S = 3600.0
TIMEOUT_S = 60.0


class CalendarUpdater:
    """Keeps copies of the policy's calendars in `folder`. `urls` returns those of the policy in force."""

    def __init__(self, folder: Path, urls: Callable[[], Sequence[str]]) -> None:
        self._folder, self._urls = folder, urls
        self._tried: dict[str, float] = {}

    async def run(self) -> None:
        """Fetch the calendars that are due, until cancelled."""
        while True:
            for url in self._urls():
                if self._is_due(url):
                    self._tried[url] = time.monotonic()
                    await self.fetch(url)
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def fetch(self, url: str) -> bool:
        """Fetch a calendar now, in a process of its own. Returns False if that failed; the old copy then stays."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                place = calendar_copy_path(url, self._folder)
                await run_job("hedgerow.app.control.calendar_job", str(place), stdin=url.encode())
        except (JobError, TimeoutError, OSError) as error:
            log.warning(
                "The calendar %s could not be fetched, its last copy stays: %s", shown_url(url), str(error) or "no response in time"
            )
            return False
        log.info("the calendar %s was fetched", shown_url(url))
        return True

    def _is_due(self, url: str) -> bool:
        if time.monotonic() - self._tried.get(url, -RETRY_INTERVAL_S) < RETRY_INTERVAL_S:
            return False
        try:
            return time.time() - calendar_copy_path(url, self._folder).stat().st_mtime > REFRESH_INTERVAL_S
        except OSError:
            return True
