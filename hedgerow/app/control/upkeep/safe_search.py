"""Daily check that the host names of safe search resolve; the doctor uses it too.

The resolver blocks a search engine whose safe name does not resolve, for people with safe search. This check tells them
why.
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
    """All host names that safe search redirects to, at either level."""
    levels = (SafeSearch.MODERATE, SafeSearch.STRICT)
    return sorted(
        {
            target
            for engine in SearchEngines.load().by_id.values()
            for level in levels
            if (target := engine.dns_target(level))
        }
    )


async def unresolved_hosts(open_upstreams: Callable[[], UpstreamPool], hosts: list[str]) -> list[str]:
    """Return the hosts that have no address."""
    # imported late: control needs a resolver once a day only
    from hedgerow.dns.upstreams.factory import BootstrapResolver

    upstreams = open_upstreams()
    resolve = BootstrapResolver(upstreams)
    try:
        answers = await asyncio.gather(*(resolve(host) for host in hosts), return_exceptions=True)
    finally:
        await upstreams.close()
    return [host for host, answer in zip(hosts, answers, strict=True) if isinstance(answer, BaseException)]


class SafeSearchMonitor:
    """A monitor of the safe names. Changes are logged and recorded as events of the journal."""

    def __init__(
        self,
        settings: Settings,
        network: Callable[[], NetworkSettings],
        record: Callable[[Sequence[SystemEvent]], None],
    ) -> None:
        self._settings, self._network, self._record = settings, network, record
        self._failed: list[str] = []

    async def run(self) -> None:
        """Check once a day, until cancelled."""
        await asyncio.sleep(FIRST_CHECK_S)
        while True:
            await self.check()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def check(self) -> None:
        """Check once. If no name resolves, the internet connection is down, which is reported elsewhere."""
        from hedgerow.app.workers.upstreams import open_policy_upstreams

        network, hosts = self._network(), safe_search_hosts()
        failed = await unresolved_hosts(lambda: open_policy_upstreams(network, self._settings), hosts)
        if failed == self._failed or len(failed) == len(hosts):
            return
        self._failed = failed
        detail = (
            f"blocked for people with safe search, because they do not resolve: {', '.join(failed)}"
            if failed
            else "all resolve"
        )
        log.warning("Host names of safe search: %s", detail)
        self._record([SystemEvent(time.time(), "safe-search", "names", detail)])
