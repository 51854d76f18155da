"""Holiday calendars that a policy names by URL: each is fetched once a day, and the last good copy is kept.

A new copy triggers a reload of the policy, as an edit of its file does. Workers fetch nothing: their policy contains
the dates.

Each download is a process of its own: `python -m hedgerow.app.control.upkeep.calendars FILE`, with the URL, and the
policy's own names and networks, as JSON on standard input: a URL may contain a secret, and everybody can read the
arguments of a process. If the download fails, is too large or is not a calendar, the old copy stays and the exit status
is 1, with a sentence on standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from hedgerow.app.control.jobs import SMALL_MEMORY, JobError, limit_resources, run_job
from hedgerow.app.privileges import confine_job
from hedgerow.blocklists.sources import shown_url
from hedgerow.policies.reading.holidays import MAX_CALENDAR_BYTES, calendar_copy_path, days_of_calendar
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.calendars")

CHECK_INTERVAL_S = 2.0
REFRESH_INTERVAL_S = 86400.0
RETRY_INTERVAL_S = 3600.0
TIMEOUT_S = 60.0
DOWNLOAD_TIMEOUT_S = 30.0


class CalendarUpdater:
    """Copies of the policy's calendars in `folder`, kept up to date.

    `urls` returns those of the policy in force, and `local` its own names and networks.
    """

    def __init__(
        self, folder: Path, urls: Callable[[], Sequence[str]], local: Callable[[], Collection[str]] = tuple
    ) -> None:
        self._folder, self._urls, self._local = folder, urls, local
        self._tried: dict[str, float] = {}

    async def run(self) -> None:
        """Fetch the calendars that are due, until cancelled."""
        while True:
            for url in self._urls():
                if self._is_due(url):
                    self._tried[url] = time.monotonic()
                    await self.fetch(url)
            await next_tick(CHECK_INTERVAL_S)

    async def fetch(self, url: str) -> bool:
        """Fetch a calendar now, in a process of its own. Returns False if that failed; the old copy then stays."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                place = calendar_copy_path(url, self._folder)
                await run_job(
                    "hedgerow.app.control.upkeep.calendars",
                    str(place),
                    stdin=json.dumps((url, *self._local())).encode(),
                )
        except (JobError, TimeoutError, OSError) as error:
            log.warning(
                "The calendar %s could not be fetched, its last copy stays: %s",
                shown_url(url),
                str(error) or "no response in time",
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


def save_calendar(data: bytes, place: Path) -> None:
    """Replace the copy at `place` by a calendar. Raises ValueError if `data` is not one."""
    fresh = place.with_suffix(".new")
    try:
        fresh.write_bytes(data)
        for _day in days_of_calendar(fresh):
            pass
        fresh.replace(place)
    except ValueError as error:
        raise ValueError(str(error).replace(str(fresh), "the download")) from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


def download_calendar(url: str, *local: str, place: Path) -> None:
    """Download a calendar in this process. `local` are the policy's own names and networks."""
    from hedgerow.blocklists.outgoing import download_small  # only where a calendar is fetched, for its memory
    from hedgerow.blocklists.outgoing_guard import OutgoingGuard

    limit_resources(SMALL_MEMORY)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    confine_job(write=[place.parent], state=place.parent)
    try:
        save_calendar(
            download_small(url, MAX_CALENDAR_BYTES, DOWNLOAD_TIMEOUT_S, OutgoingGuard(local=local)),
            place,
        )
    except (ValueError, OSError) as error:
        sys.exit(" ".join(str(error).split()) or "no response in time")
    except MemoryError:
        sys.exit("it takes too much memory")


if __name__ == "__main__":
    download_calendar(*json.load(sys.stdin), place=Path(sys.argv[1]))
