"""Do the names that safe search leads to still resolve? Looked at once a day, and whenever the doctor is asked.

An engine whose safe name does not resolve is closed where safe search is on (`dns.resolver` sees to that at each question); this tells
people why before they wonder.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hedgerow.app.settings import Settings
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.model import SafeSearch
from hedgerow.policies.network import NetworkSettings
from hedgerow.policies.safe_search import SearchEngines

if TYPE_CHECKING:
    from hedgerow.dns.upstreams.pool import UpstreamPool

log = logging.getLogger("hedgerow.safe-names")

FIRST_CHECK_S = 600.0
CHECK_INTERVAL_S = 24 * 3600.0


def safe_search_hosts() -> list[str]:
    """All names that search engines are led to, at either level."""
    levels = (SafeSearch.MODERATE, SafeSearch.STRICT)
    return sorted({target for engine in SearchEngines.load().by_id.values() for level in levels if (target := engine.dns_target(level))})


async def unresolved_hosts(open_upstreams: Callable[[], UpstreamPool], hosts: list[str]) -> list[str]:
    """Those of the hosts that have no address."""
    from hedgerow.dns.upstreams.factory import BootstrapResolver  # control does without a resolver but for this, once a day

    opened = open_upstreams()
    resolve = BootstrapResolver(opened)
    try:
        answers = await asyncio.gather(*(resolve(host) for host in hosts), return_exceptions=True)
    finally:
        await opened.close()
    return [host for host, answer in zip(hosts, answers, strict=True) if isinstance(answer, BaseException)]


class SafeSearchMonitor:
    """Looks once a day; what has changed is logged and goes to the journal's events."""

    def __init__(self, settings: Settings, network: Callable[[], NetworkSettings], record: Callable[[Sequence[SystemEvent]], None]) -> None:
        self._settings, self._network, self._record = settings, network, record
        self._failed: list[str] = []

    async def run(self) -> None:
        """Runs until cancelled."""
        await asyncio.sleep(FIRST_CHECK_S)
        while True:
            await self.look()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def look(self) -> None:
        """One look. Where nothing resolves at all, it is the way to the internet that is gone, which others tell of."""
        from hedgerow.app.workers.upstreams import open_policy_upstreams

        network, hosts = self._network(), safe_search_hosts()
        failed = await unresolved_hosts(lambda: open_policy_upstreams(network, self._settings), hosts)
        if failed == self._failed or len(failed) == len(hosts):
            return
        self._failed = failed
        detail = f"closed where safe search is on, since its safe name does not resolve: {', '.join(failed)}" if failed else "all resolve"
        log.warning("Names of safe search engines: %s", detail)
        self._record([SystemEvent(time.time(), "safe-search", "names", detail)])
