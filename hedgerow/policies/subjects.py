"""What a budget counts minutes of: is a host part of a category or a service?"""

from __future__ import annotations

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.ruleset import Ruleset


def belongs_to(subject: str, ruleset: Ruleset, catalogue: Catalogue, host: str, mask: int) -> bool:
    """Whether a host, which has the categories `mask`, is part of `category:NAME` or `service:NAME`; of "" everything is."""
    kind, _, name = subject.partition(":")
    if kind == "category":
        return bool(mask & catalogue.mask_of([name]))
    if kind == "service":
        return name in services_of(ruleset, host)
    return True


def services_of(ruleset: Ruleset, host: str) -> list[str]:
    """The services that own a host or one of its parents."""
    found: list[str] = []
    while host:
        mark = ruleset.landmarks.by_host.get(host)
        found += mark.services if mark is not None else ()
        host = host.partition(".")[2]
    return found
