"""The process that fetches one calendar and puts it into its place if it is one: `python -m hedgerow.app.control.calendar_job URL PLACE`.

What is none, is too large or does not come leaves the copy that is there; the exit status is 1 then, with a sentence on standard error.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import httpx

from hedgerow.app.control.jobs import SMALL_MEMORY, confine
from hedgerow.blocklists.downloader import download_small
from hedgerow.policies.reading.holidays import MAX_CALENDAR_BYTES, days_of_calendar

TIMEOUT_S = 30.0


def keep(data: bytes, place: Path) -> None:
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


def main(url: str, place: Path) -> None:
    confine(SMALL_MEMORY)
    try:
        keep(download_small(url, MAX_CALENDAR_BYTES, TIMEOUT_S), place)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, OSError) as error:
        sys.exit(" ".join(str(error).split()) or "no answer in time")
    except MemoryError:
        sys.exit("it takes too much memory")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
