"""Download of one calendar, as a process of its own: `python -m hedgerow.app.control.calendar_job FILE`, with the URL on standard input.

The URL is not an argument, since it may hold a secret and everybody can read the arguments of a process.

If the download fails, is too large or is not a calendar, the old copy stays and the exit status is 1, with a sentence on standard error.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import httpx

from hedgerow.app.control.jobs import SMALL_MEMORY, limit_resources
from hedgerow.app.privileges import confine_job
from hedgerow.blocklists.downloader import download_small
from hedgerow.policies.reading.holidays import MAX_CALENDAR_BYTES, days_of_calendar

TIMEOUT_S = 30.0


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


def main(url: str, place: Path) -> None:
    limit_resources(SMALL_MEMORY)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    confine_job(write=[place.parent], state=place.parent)
    try:
        save_calendar(download_small(url, MAX_CALENDAR_BYTES, TIMEOUT_S), place)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, OSError) as error:
        sys.exit(" ".join(str(error).split()) or "no response in time")
    except MemoryError:
        sys.exit("it takes too much memory")


if __name__ == "__main__":
    main(sys.stdin.read(), Path(sys.argv[1]))
