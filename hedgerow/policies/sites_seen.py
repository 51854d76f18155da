"""Unknown sites by the day on which this network first asked for them. Pure.

Only sites that neither a list nor a table names are kept, as keyed hashes of 64 bits of their registered domains, with
the day: no device, no name, and no key outside this machine. During the first days everything is learnt and nothing is
new, so that a new installation does not close the sites that a family uses.

Where the policy names whom to ask, the day of a site's registration is kept too, for as long as the site would be new
without it: a site that was registered long ago is not new.
"""

from __future__ import annotations

import secrets
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import blake2b

from hedgerow.blocklists.names import is_address, load_public_suffixes
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.model import Policy
from hedgerow.policies.network import NetworkSettings

DAY_S = 86400
MAX_SITES = 200_000
"""Sites that are kept; beyond that, those that were seen first are forgotten."""
MAX_SITES_PER_DAY = 5_000
"""New sites of one day. A device that asks for random names can't push out the others."""
MAX_REGISTERED = 5_000
"""Days of registration that are kept; beyond that, the oldest answers are forgotten."""
MAX_DAY = 0xFFFF
"""The last day that fits into the table, in the year 2149."""
NEW_DOMAINS = "new-domains"

_MAGIC = b"HGSEEN1\n"
_HEAD = struct.Struct("<8s16sIII")
_WITH_REGISTERED = b"HGSEEN2\n"
"""Begins a file in which the number of registrations follows the head, and they themselves the sites."""
_COUNT = struct.Struct("<I")
_KEY_BYTES = 16
_EPOCH = date(1970, 1, 1)
_REGISTERED = "registered "


@dataclass(frozen=True, slots=True)
class SitesSeen:
    """The sites as of `today`, for sites that count as new for `days` days. Days are counted from the epoch, UTC.

    `since` is the first day of learning. `hashes` are sorted, and `first` has the day of each. `registered` has days of
    registration by hash, the newest answer last. `own` are sites of names that the policy serves or forwards, which are
    never new.
    """

    days: int
    today: int
    since: int
    key: bytes = field(default_factory=lambda: secrets.token_bytes(_KEY_BYTES), repr=False)
    hashes: array[int] = field(default_factory=lambda: array("Q"), repr=False)
    first: array[int] = field(default_factory=lambda: array("H"), repr=False)
    registered: Mapping[int, int] = field(default_factory=dict, repr=False)
    own: frozenset[str] = frozenset()

    @property
    def begins(self) -> int:
        """The first day on which a site can be new."""
        return self.since + self.days

    @property
    def is_learning(self) -> bool:
        return self.today < self.begins

    def hash_of(self, host: str) -> int:
        """Return the hash of a host's site."""
        return int.from_bytes(blake2b(site_of(host).encode(), digest_size=8, key=self.key).digest())

    def first_day(self, site: int) -> int | None:
        """Return the day on which a site was first seen, by its hash; None if it was not."""
        index = bisect_left(self.hashes, site)
        return self.first[index] if index < len(self.hashes) and self.hashes[index] == site else None

    def is_new(self, host: str) -> bool:
        """Return whether a host's site is new here.

        Nothing is during the first days, nor what was seen or registered long ago.

        >>> seen = SitesSeen(days=7, today=30, since=20).with_sites({}, 30)
        >>> (seen.is_new("www.example.org"),
        ...  seen.with_sites({seen.hash_of("example.org"): 22}, 30).is_new("www.example.org"))
        (True, False)
        """
        if self.is_learning or site_of(host) in self.own:
            return False
        site = self.hash_of(host)
        first, registered = self.first_day(site), self.registered.get(site)
        if registered is not None and registered + self.days <= self.today:
            return False
        return first is None or (first >= self.begins and first + self.days > self.today)

    def registered_on(self, host: str) -> date | None:
        """Return the day on which a host's site was registered, as far as it is known."""
        day = self.registered.get(self.hash_of(host))
        return None if day is None else _EPOCH + timedelta(days=day)

    def with_sites(
        self, found: Mapping[int, int], today: int, registered: Mapping[int, int] | None = None
    ) -> SitesSeen:
        """Return this with more sites, given as first days by hash, and days of registration.

        The earliest day of a site stays.
        """
        sites = dict(found) | dict(zip(self.hashes, self.first, strict=True))
        kept = sorted(sorted(sites, key=sites.__getitem__)[-MAX_SITES:])
        dated = [*self.registered.items(), *(registered or {}).items()]
        dated = [(site, day) for site, day in dated if sites.get(site, today) + self.days > today]
        first = array("H", [sites[site] for site in kept])
        return SitesSeen(self.days, today, self.since, self.key, array("Q", kept), first, dict(dated[-MAX_REGISTERED:]))

    def pack(self) -> bytes:
        """Return the contents of a file."""
        head = _HEAD.pack(_WITH_REGISTERED if self.registered else _MAGIC, self.key, self.days, self.today, self.since)
        head += _COUNT.pack(len(self.registered)) if self.registered else b""
        parts = (self.hashes, self.first, array("Q", self.registered), array("H", self.registered.values()))
        return head + b"".join(map(_little_endian, parts))

    @staticmethod
    def unpack(data: bytes) -> SitesSeen:
        """Parse the result of `pack`. Raises ValueError for anything else."""
        start, dated = _HEAD.size, 0
        if data.startswith(_WITH_REGISTERED) and len(data) >= start + _COUNT.size:
            (dated,) = _COUNT.unpack_from(data, start)
            start += _COUNT.size
        count, rest = divmod(len(data) - start, 10)
        if count < dated or rest or not data.startswith(_WITH_REGISTERED if dated else _MAGIC):
            raise ValueError("not a table of sites seen")
        _, key, days, today, since = _HEAD.unpack_from(data)
        middle = start + 10 * (count - dated)
        hashes, first = _read_pairs(data[start:middle])
        registered = dict(zip(*_read_pairs(data[middle:]), strict=True))
        return SitesSeen(days, today, since, key, hashes, first, registered)


def _read_pairs(data: bytes) -> tuple[array[int], array[int]]:
    """Return hashes and their days: first all hashes, then all days."""
    hashes, days = array("Q"), array("H")
    end = len(data) // 10 * 8
    hashes.frombytes(data[:end])
    days.frombytes(data[end:])
    if sys.byteorder == "big":
        hashes.byteswap()
        days.byteswap()
    return hashes, days


def _little_endian(numbers: array[int]) -> bytes:
    if sys.byteorder == "little":
        return numbers.tobytes()
    swapped = numbers[:]
    swapped.byteswap()
    return swapped.tobytes()


def site_of(host: str) -> str:
    """Return the site of a canonical host: one label under a registry's suffix.

    The names of a hoster, such as `*.github.io`, are one site: they are beyond counting, and parts of known sites lie
    there.

    >>> site_of("cdn.www.example.co.uk"), site_of("somebody.github.io")
    ('example.co.uk', 'github.io')
    """
    labels = host.split(".")
    registries = load_public_suffixes().registries
    start = next((n for n in range(1, len(labels)) if ".".join(labels[n:]) in registries), len(labels) - 1)
    return ".".join(labels[start - 1 :]) if start else host


def own_sites(network: NetworkSettings) -> frozenset[str]:
    """Return the sites of the names that a policy serves or forwards."""
    own = [record.host for record in network.resolver.records] + [zone.zone for zone in network.resolver.forward]
    return frozenset(site_of(name) for name in (*own, network.server_name) if name)


def closes_new_sites(policy: Policy) -> bool:
    """Return whether a policy closes new sites for anybody, so that sites must be remembered."""
    people, devices = policy.people.values(), policy.devices.values()
    used = {policy.network.unknown_devices, *(each.profile for each in people), *(each.profile for each in devices)}
    scopes = [policy.household, *(each.rules for each in people), *(each.rules for each in devices)]
    scopes += [policy.profiles[name].rules for name in used]
    closed = [target for rules in scopes for target in rules.block]
    closed += [target for rules in scopes for timed in rules.schedules for target in timed.block]
    return policy.network.new_sites_days > 0 and any(target.name == NEW_DOMAINS for target in closed)


def origin_of_registration(day: date) -> Origin:
    """Return the origin of a decision about a site that is new by its registration.

    >>> str(origin_of_registration(date(2026, 11, 26)))
    'registered 2026-11-26'
    """
    return Origin(f"{_REGISTERED}{day}")


def registration_of(rule: str) -> date | None:
    """Return the date in the text of an origin, if it is that of a registration.

    >>> registration_of("registered 2026-11-26"), registration_of("registered users.txt:7")
    (datetime.date(2026, 11, 26), None)
    """
    try:
        return date.fromisoformat(rule.removeprefix(_REGISTERED)) if rule.startswith(_REGISTERED) else None
    except ValueError:
        return None


def can_be_new(host: str) -> bool:
    """Return whether a name can be that of a site on the internet: it has a dot, and is neither an address nor a
    reverse name.
    """
    return "." in host and not is_address(host) and not host.endswith(".arpa")
