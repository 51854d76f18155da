"""The verdict of an ad blocker, for comparisons with one: Hedgerow itself judges hosts and URLs in separate steps."""

from __future__ import annotations

from hedgerow.blocklists.catalogue import Catalogue, UrlMatch
from hedgerow.blocklists.names import split_url
from hedgerow.blocklists.rules import Origin


def first_match(catalogue: Catalogue, url: str, resource: str = "", initiator: str = "") -> UrlMatch | None:
    """Return the first rule about a URL or its host that matches, with all exceptions considered. Arguments as for `match_url`."""
    parts = split_url(url)
    if parts is None:
        return None
    blocked = catalogue.host_mask(parts[1])
    if blocked and (blocked := blocked & ~catalogue.lifted_by_url(url, resource, initiator, blocked)):
        category = catalogue.names_of(blocked)[0]
        return UrlMatch(category, catalogue.hosts.origin(parts[1], category) or Origin(""))
    return catalogue.match_url(url, resource, initiator)
