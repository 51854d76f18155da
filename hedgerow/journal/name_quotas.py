"""Bounds of the names that the journal stores of a device in a day. Pure.

A device may look up names that it invents, hundreds per second. Each is a row that nobody reads, and a day of them
fills a disk. Beyond the bounds, the domain stands for the rest, with their number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hedgerow.blocklists.names import registered_domain
from hedgerow.policies.model import DeviceId, Observation

MOST_PER_DOMAIN = 1_000
"""Names beneath a registered domain that are stored of a device in a day."""

MOST_PER_DEVICE = 20_000
"""Names that are stored of a device in a day. No household's browsing comes near it."""

MOST_DOMAINS = 100_000
"""Pairs of device and domain that are counted in a day: the memory of it, also if a device changes its MAC address."""


class NameQuotas:
    """The names of a day so far, by device and domain."""

    def __init__(self) -> None:
        self._day = 0
        self._names: dict[DeviceId, set[int]] = {}
        self._by_domain: Counter[tuple[DeviceId, str]] = Counter()

    def bounded(self, seen: Observation) -> Observation:
        """Return an observation as it may be stored: beyond the bounds with its domain or last label as the host."""
        if not seen.host:
            return seen
        if (day := int(seen.when // 86_400)) > self._day:
            self._day = day
            self._names.clear()
            self._by_domain.clear()
        names, name = self._names.setdefault(seen.device, set()), hash(seen.host)
        if name in names:
            return seen
        domain = registered_domain(seen.host)
        is_full = len(names) >= MOST_PER_DEVICE or len(self._by_domain) >= MOST_DOMAINS
        if is_full or self._by_domain[seen.device, domain] >= MOST_PER_DOMAIN:
            return replace(seen, host=seen.host.rpartition(".")[2] if is_full else domain, url="")
        names.add(name)
        self._by_domain[seen.device, domain] += 1
        return seen
