"""The file of the sites that this network has seen, for as long as the policy closes new ones (`policies.sites_seen`).

Workers read the file with each snapshot. A site counts as new for whole days, so a snapshot per day brings them all
that matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hedgerow.files import error_text, make_private_folder, write_atomically
from hedgerow.policies.feature_settings import WorkerReport
from hedgerow.policies.model import Policy
from hedgerow.policies.sites_seen import DAY_S, MAX_SITES_PER_DAY, SitesSeen, closes_new_sites
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

FILE_NAME = "sites_seen"
_CHECK_S = 60.0
_SAVE_S = 3600.0


class SitesSeenFile:
    """The sites that workers report, collected and written to a file in `folder`.

    `clock` returns seconds since the epoch.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = folder / FILE_NAME
        self._clock = clock
        self._sites: SitesSeen | None = None
        self._found: dict[int, int] = {}
        self._dated: dict[int, int] = {}
        self._of_today = 0
        self._saved = 0.0
        self._preparing = threading.Lock()

    def note(self, site: int) -> None:
        """Remember that a site was asked for, by its hash. Beyond a day's limit, sites stay new until another day."""
        if (
            self._sites is None
            or site in self._found
            or self._of_today >= MAX_SITES_PER_DAY
            or self._sites.first_day(site) is not None
        ):
            return
        self._found[site] = self._day()
        self._of_today += 1

    def lacks_date(self, site: str) -> bool:
        """Return whether it matters when a site was registered, and is not known.

        False while no site is new for anybody.
        """
        if self._sites is None:
            return False
        hashed = self._sites.hash_of(site)
        return hashed not in self._dated and hashed not in self._sites.registered

    def date(self, site: str, registered: int) -> None:
        """Keep the day, counted from the epoch, on which a site was registered."""
        if self._sites is not None:
            self._dated[self._sites.hash_of(site)] = registered

    def prepare(self, policy: Policy) -> Path | None:
        """Bring the file up to date and return its path; None if the policy closes no new sites. Waits for the disk.

        Without need for it the file is deleted, so that nothing is kept, and learning starts again. If it can't be
        written, the last one stays.
        """
        with self._preparing:
            if closes_new_sites(policy):
                return self._update(policy.network.new_sites_days, keeps_dates=WorkerReport.NEW_SITES in policy.reports)
            with contextlib.suppress(OSError):
                self._file.unlink()
            self._sites, self._found, self._dated, self._of_today = None, {}, {}, 0
            return None

    def _update(self, days: int, *, keeps_dates: bool) -> Path | None:
        today = self._day()
        is_first = self._sites is None
        before = self._sites if self._sites is not None else self._read(days, today)
        if before.today != today:
            self._of_today = 0
        found, self._found = self._found, {}
        dated, self._dated = self._dated, {}
        sites = replace(before, days=days).with_sites(found, today, dated)
        self._sites = sites if keeps_dates else replace(sites, registered={})
        if (
            is_first
            or found
            or before.today != today
            or before.days != days
            or self._sites.registered != before.registered
        ):
            self._write(self._sites)
        return self._file if self._file.exists() else None

    def _read(self, days: int, today: int) -> SitesSeen:
        try:
            sites = SitesSeen.unpack(self._file.read_bytes())
        except FileNotFoundError:
            return SitesSeen(days, today, today)
        except (OSError, ValueError) as error:
            log.error(
                "The sites that this network has seen are learnt again, because they can't be read: %s",
                error_text(error),
            )
            return SitesSeen(days, today, today)
        if sites.today > today:  # the clock was wrong then, or is now
            return replace(
                sites,
                since=min(sites.since, today),
                first=type(sites.first)("H", (min(day, today) for day in sites.first)),
            )
        return sites

    def _write(self, sites: SitesSeen) -> None:
        self._saved = self._clock()
        try:
            make_private_folder(self._file.parent)
            write_atomically(self._file, sites.pack())
        except OSError as error:
            log.error("The sites that this network has seen can't be saved: %s", error_text(error))

    def _day(self) -> int:
        return int(self._clock() // DAY_S)

    async def run(self, policy: Callable[[], Policy], want_snapshot: Callable[[], None]) -> None:
        """Ask for a snapshot on each new day, and save the sites found every hour. Runs until cancelled."""
        while True:
            await next_tick(_CHECK_S)
            if self._sites is not None and self._sites.today != self._day():
                want_snapshot()
            elif self._found and self._clock() - self._saved > _SAVE_S:
                await asyncio.to_thread(self.prepare, policy())
