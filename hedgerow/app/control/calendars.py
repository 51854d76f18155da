"""Calendars with holidays that a policy names by URL: control fetches them, each once a day, and keeps the last good copy.

The policy file's follower notices a new copy as it notices an edit. Workers never fetch anything: they get dates.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hedgerow.app.control.jobs import JobError, run_job
from hedgerow.policies.reading.holidays import calendar_copy_path

log = logging.getLogger("hedgerow.calendars")

CHECK_INTERVAL_S = 2.0
REFRESH_INTERVAL_S = 86400.0
RETRY_INTERVAL_S = 3600.0
TIMEOUT_S = 60.0


class CalendarUpdater:
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
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def fetch(self, url: str) -> bool:
        """Fetches a calendar now, in a process of its own. What is none, is too large or does not come leaves the copy that is there."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await run_job("hedgerow.app.control.calendar_job", url, str(calendar_copy_path(url, self._folder)), given=b"")
        except (JobError, TimeoutError, OSError) as error:
            log.warning("The calendar %s could not be fetched, what is known of it stays: %s", url, str(error) or "no answer in time")
            return False
        log.info("the calendar %s was fetched", url)
        return True

    def _is_due(self, url: str) -> bool:
        if time.monotonic() - self._tried.get(url, -RETRY_INTERVAL_S) < RETRY_INTERVAL_S:
            return False
        try:
            return time.time() - calendar_copy_path(url, self._folder).stat().st_mtime > REFRESH_INTERVAL_S
        except OSError:
            return True
