"""Remembering of sites by their pages, as inspectors report them: two different pages, or one that labels itself.

A page must not get another site into the memory, and none that people know well. So inspectors report only pages of
unlisted hosts, without what their address may have put into them, and control checks the host again. New sites are
limited per hour, and by number.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from sqlalchemy.exc import DatabaseError

from hedgerow.blocklists.names import parse_host
from hedgerow.journal.remembered_sites import RememberedRow, RememberedSiteStore
from hedgerow.journal.store import cause_of
from hedgerow.policies.remembered import TOPICS, PageRecognised

log = logging.getLogger("hedgerow.control")

PAGES_NEEDED = 2
NEW_PER_HOUR = 60
MAX_CANDIDATES = 4096
"""Hosts of which one page is known. They are forgotten when control ends."""


class SiteMemory:
    """The implementation of `dashboards.control.SiteCorrections`.

    `is_unlisted` tells whether nothing is known of a host; `publish` asks for a snapshot.
    """

    def __init__(
        self,
        store: RememberedSiteStore,
        is_unlisted: Callable[[str], bool],
        publish: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._is_unlisted = is_unlisted
        self._publish = publish
        self._clock = clock
        self._candidates: OrderedDict[tuple[str, str], set[str]] = OrderedDict()
        self._recent: deque[float] = deque(maxlen=NEW_PER_HOUR)

    async def take(self, page: PageRecognised) -> bool:
        """Count a page. Return True if its host is remembered by now that was not before."""
        host = parse_host(page.host)
        if host is None or page.topic not in TOPICS or not self._is_unlisted(host):
            return False
        if not (page.is_labelled or self._is_second(host, page)):
            return False
        now = self._clock()
        if len(self._recent) == NEW_PER_HOUR and self._recent[0] > now - 3600:
            return False
        try:
            is_new = await asyncio.to_thread(self._store.remember, host, page.topic)
        except DatabaseError as error:
            log.warning("A recognised site can't be remembered: %s", cause_of(error))
            return False
        if is_new:
            self._recent.append(now)
            self._publish()
        return is_new

    def _is_second(self, host: str, page: PageRecognised) -> bool:
        """Return whether another page of the host was recognised before."""
        key = (host, page.topic)
        pages = self._candidates.setdefault(key, set())
        self._candidates.move_to_end(key)
        if len(self._candidates) > MAX_CANDIDATES:
            self._candidates.popitem(last=False)
        if len(pages) < PAGES_NEEDED:
            pages.add(page.page)
        return len(pages) >= PAGES_NEEDED

    async def sites(self) -> tuple[RememberedRow, ...]:
        """Return the sites that are remembered, the newest first."""
        return await asyncio.to_thread(self._store.current, self._clock())

    async def correct(self, host: str, actor: str) -> None:
        """Forget a site for good. Raises `journal.access_store.NoSuchEntry`."""
        await asyncio.to_thread(self._store.correct, host, actor)
        self._publish()

    async def prune(self) -> None:
        """Delete the sites whose time is over, and publish if there were any."""
        if await asyncio.to_thread(self._store.prune):
            self._publish()
