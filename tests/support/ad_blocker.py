"""The verdicts of an ad blocker, for comparisons with one: Hedgerow itself judges hosts and URLs in separate steps."""

from __future__ import annotations

from functools import lru_cache

from hedgerow.blocklists.catalogue import Catalogue, UrlMatch
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.url_tests import describe


class AdBlocker:
    """An ad blocker with the lists of a catalogue.

    What is known of a host is kept, as the inspector keeps its decisions on hosts.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._match_host = lru_cache(maxsize=4096)(self._find_host_match)

    def first_match(self, url: str, resource: str = "", initiator: str = "") -> UrlMatch | None:
        """Return the first rule about a URL or its host that matches, with all exceptions considered.

        Arguments as for `match_url`.
        """
        request = describe(url, resource, initiator, "")
        if request is None:
            return None
        blocked, match = self._match_host(request.host)
        if blocked and (lifted := self._catalogue.lifted_by_url(url, resource, initiator, blocked)):
            match = self._match_of(request.host, blocked & ~lifted)
        return match or self._catalogue.match_url(url, resource, initiator)

    def _find_host_match(self, host: str) -> tuple[int, UrlMatch | None]:
        blocked = self._catalogue.host_mask(host)
        return blocked, self._match_of(host, blocked)

    def _match_of(self, host: str, blocked: int) -> UrlMatch | None:
        if not blocked:
            return None
        category = self._catalogue.categories[(blocked & -blocked).bit_length() - 1]
        return UrlMatch(category, self._catalogue.hosts.origin(host, category) or Origin(""))


def first_match(catalogue: Catalogue, url: str, resource: str = "", initiator: str = "") -> UrlMatch | None:
    """Return the verdict of an ad blocker that has seen no request yet."""
    return AdBlocker(catalogue).first_match(url, resource, initiator)
