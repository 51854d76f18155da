"""Caches with the clock algorithm, bounded in entries and octets: finished answers, and resolutions."""

from __future__ import annotations

from collections import deque
from struct import pack
from typing import Final, Protocol

from hedgerow.dns.answers import Draft, RenderedAnswer
from hedgerow.dns.metrics import Series
from hedgerow.dns.wire import DNSSEC_SHAPE, Query, host_of, query_of
from hedgerow.policies.model import Decision

STALE_SECONDS: Final = 86_400.0  # RFC 8767, section 5: one to three days
NEVER: Final = float("inf")
_RULESET_OCTETS: Final = 8  # of a key, see `AnswerCache.prefix`
# Octets of Python objects around an entry's own bytes, measured with tracemalloc: with up to two records, and for each more.
_ENTRY_OVERHEAD: Final = 600
_RECORDS_INCLUDED: Final = 2
_TTL_OVERHEAD: Final = 120
_ADDRESS_OVERHEAD: Final = 60
_ADDRESS_OCTETS: Final = {b"\0\x01": 4, b"\0\x1c": 16}  # by the types A and AAAA


class Cacheable(Protocol):
    """A value of a cache: its octets, the monotonic instant of its expiry, and when it was last asked for."""

    seen: float

    @property
    def size(self) -> int: ...

    @property
    def expires(self) -> float: ...


class CacheEntry:
    """A finished answer with its decision: the client's id and `rest` are the message, of `length` octets, for a name in lower case.

    For other spellings `message` puts the client's question back. TTLs are patched at most once per second, and never show an instant past
    `expires`. Not frozen: the hot path changes it. A client that asks after `prefetch_at` triggers a new question to the upstreams. There
    are ten thousand entries, so whatever follows from another attribute is not stored: the name, for one, stands in the key.
    """

    __slots__ = (
        "ceiling",
        "created_at",
        "decision",
        "due",
        "expires",
        "key",
        "length",
        "prefetch_at",
        "rest",
        "seen",
        "series",
        "ttls",
        "until",
    )  # fmt: skip

    def __init__(
        self,
        rendered: RenderedAnswer,
        draft: Draft,
        *,
        created_at: float,
        until: float,
        key: bytes,
        decision: Decision | None,
        series: Series,
    ) -> None:
        self.rest = rendered.head + key[_RULESET_OCTETS + 10 : -1] + rendered.tail
        self.length = 2 + len(self.rest)
        self.ttls = rendered.ttls
        self.ceiling = draft.ceiling
        self.created_at, self.until = created_at, until
        self.expires = min(created_at + draft.lifetime, until)
        self.due = 0.0
        self.seen = created_at
        self.key, self.decision, self.series = key, decision, series
        self.prefetch_at = NEVER

    @property
    def host(self) -> str:
        """The host that was asked for, as policies know it."""
        return host_of(self.key[_RULESET_OCTETS + 10 : -5])

    @property
    def query(self) -> Query:
        """A query that this entry answers, without the client's EDNS options, which no upstream sees."""
        return query_of(self.key[_RULESET_OCTETS:])

    @property
    def size(self) -> int:
        return len(self.rest) + _overhead(len(self.ttls))

    @property
    def addresses(self) -> tuple[tuple[bytes, ...], int]:
        """The packed addresses of the A and AAAA records, without those that are no destination, and the longest TTL shown for one."""
        found: list[bytes] = []
        longest = 0
        start = len(self.key) - _RULESET_OCTETS - 1  # as in `refresh`
        for offset, _ in self.ttls:
            at = start + offset
            size = _ADDRESS_OCTETS.get(self.rest[at - 4 : at - 2])
            address = self.rest[at + 6 : at + 6 + (size or 0)]
            if size is not None and any(address) and len(address) == size:
                found.append(address)
                longest = max(longest, int.from_bytes(self.rest[at : at + 4]))
        return tuple(found), longest

    def refresh(self, now: float) -> bool:
        """Patch the TTLs for the second that begins at `now` (monotonic); False if the answer has expired.

        `due` is the next instant at which a TTL changes. TTLs are right up to it, so they are those of that instant. Every TTL is counted
        back from the instant at which its record ends.
        """
        left = int(self.expires - now)
        self.due = self.expires - min(left, self.ceiling)
        if self.ttls:
            rest = bytearray(self.rest)
            start = len(self.key) - _RULESET_OCTETS - 1  # of what follows the question
            for offset, ttl in self.ttls:
                end = min(self.created_at + ttl, self.until)
                at = start + offset
                rest[at : at + 4] = pack("!I", min(max(int(end - self.due), 0), self.ceiling))
            self.rest = bytes(rest)
        return now < self.expires

    def message(self, query: bytes, question_end: int) -> bytes:
        return query[:2] + self.rest[:10] + query[12:question_end] + self.rest[question_end - 2 :]


class Resolution:
    """An upstream's answer to one question: the draft made of it, and the CNAME targets and packed addresses to judge.

    It is fresh until `fresh_until`, and may be used for a day after that if no upstream answers. Until `recheck_at` the upstreams are known
    not to answer and are not asked. `is_slow`: they took long when it was last asked for after it had expired. `unfiltered` is the draft
    for clients without any filter, if it differs.
    """

    __slots__ = ("addresses", "created_at", "draft", "is_slow", "recheck_at", "seen", "targets", "unfiltered")

    def __init__(
        self,
        draft: Draft,
        targets: tuple[str, ...],
        addresses: tuple[bytes, ...],
        created_at: float,
        unfiltered: Draft | None = None,
    ) -> None:
        self.draft, self.targets, self.addresses, self.created_at, self.unfiltered = draft, targets, addresses, created_at, unfiltered
        self.recheck_at = 0.0
        self.is_slow = False
        self.seen = created_at

    @property
    def fresh_until(self) -> float:
        return self.created_at + self.draft.lifetime

    @property
    def expires(self) -> float:
        return self.created_at + self.draft.lifetime + STALE_SECONDS

    @property
    def size(self) -> int:
        octets = len(self.draft.body) + _overhead(len(self.draft.ttls), len(self.addresses) + len(self.targets))
        return octets + (len(self.unfiltered.body) + _overhead(len(self.unfiltered.ttls)) if self.unfiltered else 0)


class ClockCache[V: Cacheable]:
    """A mapping of bytes to values with at most `max_entries` and `max_octets`. Read `entries` directly where `get` is too slow."""

    def __init__(self, max_entries: int, max_octets: int) -> None:
        self.entries: dict[bytes, V] = {}
        self.octets = 0
        self._max_entries, self._max_octets = max_entries, max_octets
        self._queue: deque[bytes] = deque()
        self._visits: deque[float] = deque()  # the instants at which the hand last passed the keys

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, key: bytes, now: float) -> V | None:
        """Return the value if it has not expired. It counts as asked for."""
        value = self.entries.get(key)
        if value is None or value.expires <= now:
            return None
        value.seen = now
        return value

    def put(self, key: bytes, value: V, now: float) -> None:
        old = self.entries.get(key)
        if old is None:
            self._queue.append(key)
            self._visits.append(now)
        else:
            self.octets -= old.size + len(key)
        self.entries[key] = value
        self.octets += value.size + len(key)
        while len(self.entries) > self._max_entries or self.octets > self._max_octets:
            self._turn(now, force=True)

    def sweep(self, now: float, steps: int) -> None:
        """Move the hand on by `steps` and drop expired entries. Call it now and then."""
        for _ in range(min(steps, len(self._queue))):
            self._turn(now, force=False)

    def clear(self) -> None:
        self.entries.clear()
        self._queue.clear()
        self._visits.clear()
        self.octets = 0

    def _turn(self, now: float, *, force: bool) -> None:
        key, visited = self._queue.popleft(), self._visits.popleft()
        value = self.entries[key]
        if value.expires <= now or (force and value.seen <= visited):
            del self.entries[key]
            self.octets -= value.size + len(key)
        else:
            # A second visit within one `put` finds `seen` no later than now, so that a full cache always makes room.
            self._queue.append(key)
            self._visits.append(now if force else visited)


def _overhead(ttls: int, addresses: int = 0) -> int:
    """Octets of the objects around an entry, which for an answer of many records are ten times its own bytes."""
    return _ENTRY_OVERHEAD + _TTL_OVERHEAD * max(ttls - _RECORDS_INCLUDED, 0) + _ADDRESS_OVERHEAD * max(addresses - _RECORDS_INCLUDED, 0)


def resolution_key(query: Query) -> bytes:
    """Return name, type, class, and the flags that change an upstream's answer: DO and CD."""
    return query.name + query.suffix[:4] + bytes((query.shape & DNSSEC_SHAPE | query.data[3] & 0x10,))


def learn_suffix(table: dict[bytes, bytes], query: Query, limit: int = 4096) -> None:
    """Teach the hot path how this query's type, class and EDNS look on the wire. Bounded, since clients choose these bytes."""
    if len(table) >= limit:
        table.clear()
    table[query.suffix_key] = query.suffix
