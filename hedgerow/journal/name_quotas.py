"""Bounds of the decisions that the journal stores of a device in a day. Pure: the clock is an argument.

A device may look up names that it invents, or load one page again and again, hundreds of times per second. Each is a
row that nobody reads, and a day of them fills a disk. Beyond the bounds of names, the domain stands for the rest, with
their number. Beyond the octets, decisions only count in the sums by hour and by day. No device uses up what another one
has, and no allowed name what blocked ones have: nobody hides a blocked site behind what they invent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hedgerow.blocklists.names import registered_domain
from hedgerow.policies.effective_users import ALL_UNNAMED
from hedgerow.policies.model import DeviceId, Observation, Reason, Verdict

MOST_PER_DOMAIN = 1_000
"""Names beneath a registered domain that are stored of a device in a day."""

MOST_PER_DEVICE = 20_000
"""Names that are stored of a device of the policy in a day. No household's browsing comes near it."""

MOST_UNNAMED = 100_000
"""Names that are stored of all other devices together: one of them can have any number of MAC addresses."""

MOST_OCTETS, MOST_OCTETS_UNNAMED = 64 << 20, 256 << 20
"""Octets of the decisions that are stored of a device of the policy, and of all others together, in a day."""

MOST_UNNAMED_DEVICES = 5_000
"""Devices without a name that are told apart in a day. More are made up, and count as one."""

_ROW_OCTETS = 200


@dataclass(slots=True)
class _Names:
    stored: set[int] = field(default_factory=set)
    by_domain: Counter[tuple[DeviceId, str]] = field(default_factory=Counter)
    octets: int = 0


class NameQuotas:
    """The names and octets of a day so far: by device, and those of blocked requests by the reason."""

    def __init__(self, is_named: Callable[[DeviceId], bool]) -> None:
        self._is_named, self._day = is_named, 0
        self._names = defaultdict[tuple[DeviceId | None, Reason | None], _Names](_Names)
        self._unnamed = set[DeviceId]()

    def may_store(self, bounded: Observation) -> bool:
        """Count the octets of a bounded observation. Return False if it may count in the sums only."""
        names, is_named = self._names_of(bounded)
        if names.octets >= (MOST_OCTETS if is_named else MOST_OCTETS_UNNAMED):
            return False
        names.octets += _ROW_OCTETS + 2 * len(bounded.host) + len(bounded.url)  # an index has the host too
        return True

    def bounded(self, seen: Observation, now: float) -> Observation:
        """Return an observation as it may be stored: beyond the bounds with its domain or last label as the host, and
        as one of all unnamed devices.
        """
        if (day := int(now // 86_400)) != self._day:
            self._day = day
            self._names.clear()
            self._unnamed.clear()
        seen = self._with_bounded_device(seen)
        if not seen.host:
            return seen
        (names, is_named), is_blocked = self._names_of(seen), seen.verdict is Verdict.BLOCK
        if (name := hash((seen.device, seen.host))) in names.stored:
            return seen
        most, domain = MOST_PER_DEVICE if is_named else MOST_UNNAMED, registered_domain(seen.host)
        key, is_full = (seen.device, domain), len(names.stored) >= most
        if is_full or names.by_domain[key] >= MOST_PER_DOMAIN:
            # As many domains again are stored of blocked names: to use up those takes names that are all blocked.
            keeps_domain = not is_full or (is_blocked and (key in names.by_domain or len(names.by_domain) < 2 * most))
            if not keeps_domain:
                return replace(seen, host=seen.host.rpartition(".")[2], url="")
            names.by_domain[key] += 1
            return replace(seen, host=domain, url="")
        names.stored.add(name)
        names.by_domain[key] += 1
        return seen

    def _names_of(self, seen: Observation) -> tuple[_Names, bool]:
        is_named, is_blocked = self._is_named(seen.device), seen.verdict is Verdict.BLOCK
        return self._names[seen.device if is_named else None, seen.reason if is_blocked else None], is_named

    def _with_bounded_device(self, seen: Observation) -> Observation:
        if seen.device in self._unnamed or self._is_named(seen.device):
            return seen
        if len(self._unnamed) >= MOST_UNNAMED_DEVICES:
            return replace(seen, device=ALL_UNNAMED)
        self._unnamed.add(seen.device)
        return seen
