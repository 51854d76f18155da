"""Reports of recognised pages to control, which remembers their hosts.

A page counts for its host if the request named that host alone, and if its title, descriptions and headings say more
than its address does. Unless it has a label, its address has no query. Otherwise a link could put words into a page of
another site, such as the results of a search, and visitors could do so by their comments. Nothing is reported about
hosts most of whose pages are harmless, and about pages of people whose sites are not stored.
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from hedgerow.policies.model import Privacy
from hedgerow.policies.remembered import PageRecognised
from hedgerow.proxy.inspection.clients import ActiveRequest, ClientRegistry
from hedgerow.proxy.policy import Counters
from hedgerow.proxy.scanners.topics import PageFinding
from hedgerow.values import BoundedDict

MAX_HOSTS = 4096
"""Hosts whose pages are counted."""
_LEAST_FOR_LABELS = -4  # one labelled page outweighs some pages without a label
_SITES_ARE_STORED = frozenset({Privacy.DOMAIN, Privacy.FULL})


class PageReports:
    """Counts of each host's pages, and reports of the recognised ones."""

    def __init__(self, clients: ClientRegistry, counters: Counters) -> None:
        self._clients = clients
        self._counters = counters
        # by how many a host's recognised pages outnumber the harmless ones, as far as this process has seen them
        self._balance = BoundedDict[str, int](MAX_HOSTS)

    def report(self, finding: PageFinding | None, active: ActiveRequest, *, is_whole: bool) -> None:
        """Take what a page turned out to be, None for nothing in particular. `is_whole`: its status is 200."""
        if finding is not None and finding.topic in self._clients.policy.corrected_topics(active.requests[0].host):
            return
        if finding is not None:
            self._counters.add(
                "hedgerow_proxy_pages_recognised_total", finding.topic, "label" if finding.is_labelled else "words"
            )
        request = active.requests[0]
        host = request.host.removeprefix("www.")
        if not (is_whole and _counts_for_its_host(active)) or not self._clients.policy.may_be_remembered(host):
            return
        balance = self._balance[host] = self._balance.get(host, 0) + (-1 if finding is None else 1)
        if finding is None or balance < (_LEAST_FOR_LABELS if finding.is_labelled else 0):
            return
        parts = urlsplit(request.url or "")
        if finding.is_labelled or (finding.is_described and not parts.query):
            page = hashlib.blake2b(parts.path.encode(), digest_size=8).hexdigest()
            self._clients.policy.report_page(PageRecognised(host, finding.topic, page, finding.is_labelled))


def _counts_for_its_host(active: ActiveRequest) -> bool:
    """Return whether a response says what its host is."""
    first, *others = active.requests
    if (
        first.method != "GET"
        or active.ruleset.privacy not in _SITES_ARE_STORED
        or any(each.host != first.host for each in others)
    ):
        return False
    url = first.url or ""
    return "/~" not in url or not urlsplit(url).path.startswith("/~")  # pages of one of many users
