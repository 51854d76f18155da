"""The two caches: finished answers by the asker's own bytes, and what the upstreams said.

Both are bounded in number and in octets, and forget by the clock algorithm: what was not asked for since the hand last came by goes.
"""

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
_RULESET_OCTETS: Final = 8  # of a key: which ruleset it is for, see `Resolver.prefix`
# Octets of Python objects around an entry's own bytes, measured with tracemalloc: of one with a record or two, and of each more.
_ENTRY_OVERHEAD: Final = 600
_RECORDS_INCLUDED: Final = 2
_TTL_OVERHEAD: Final = 120
_ADDRESS_OVERHEAD: Final = 60


class Cacheable(Protocol):
    """What a cache must know of its values: octets, the monotonic instant of expiry, and when it was last asked for."""

    seen: float

    @property
    def size(self) -> int: ...

    @property
    def expires(self) -> float: ...


class CacheEntry:
    """One finished answer, with what was decided: the asker's id and `rest` are the message, of `length` octets, where the question was
    written in small letters; who wrote it otherwise gets the letters back (`message`).

    TTLs are patched at most once a second, and never show an instant past `expires`. Not frozen: it is the one thing that the
    hot path changes. Whoever asks for it after `renew_at` has the same sent upstream again. Ten thousand of them are kept, so that
    whatever can be told from something else is not: the asked name, for one, stands in the key.
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
        """The asked name, as policies know it."""
        return host_of(self.key[_RULESET_OCTETS + 10 : -5])

    @property
    def query(self) -> Query:
        """A query that would be answered by this; without the asker's options, which no upstream gets to see anyway."""
        return query_of(self.key[_RULESET_OCTETS:])

    @property
    def size(self) -> int:
        return len(self.rest) + _overhead(len(self.ttls))

    def refresh(self, now: float) -> bool:
        """Patch the TTLs for the second that begins at `now` (monotonic); False if the answer has expired.

        `due` is the next instant at which a TTL changes; TTLs are right up to it, so they are those of that instant. Every TTL is
        counted back from the instant at which its record ends.
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
    """What the upstreams said to one question: the draft made of it, and the CNAME targets and packed addresses to be judged.

    It is good until `fresh_until`, and for a day after that where nothing newer is to be had; who has found out that nothing is says so in
    `recheck_at`, before which the upstreams are left in peace. `unfiltered` is the draft for who is not
    filtered, where that is another.
    """

    __slots__ = ("addresses", "created_at", "draft", "recheck_at", "seen", "targets", "unfiltered")

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
    """A mapping of bytes to values with at most `max_entries` and `max_octets`; `entries` may be read directly."""

    def __init__(self, max_entries: int, max_octets: int) -> None:
        self.entries: dict[bytes, V] = {}
        self.octets = 0
        self._max_entries, self._max_octets = max_entries, max_octets
        self._queue: deque[bytes] = deque()
        self._visits: deque[float] = deque()  # when the hand last came by

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, key: bytes, now: float) -> V | None:
        """The value if it has not expired; it counts as asked for."""
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
        """Move the hand `steps` on and drop what has expired; called now and then so that dead entries do not lie about."""
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
            # A second visit within the same put finds `seen` no later than now, so a full cache always gives way.
            self._queue.append(key)
            self._visits.append(now if force else visited)


def _overhead(ttls: int, addresses: int = 0) -> int:
    """Of an answer of many records that around its own bytes is ten times as much."""
    return _ENTRY_OVERHEAD + _TTL_OVERHEAD * max(ttls - _RECORDS_INCLUDED, 0) + _ADDRESS_OVERHEAD * max(addresses - _RECORDS_INCLUDED, 0)


def resolution_key(query: Query) -> bytes:
    """Name, type, class, and what changes an upstream's answer: DO and CD."""
    return query.name + query.suffix[:4] + bytes((query.shape & DNSSEC_SHAPE | query.data[3] & 0x10,))


def learn_suffix(table: dict[bytes, bytes], query: Query, limit: int = 4096) -> None:
    """Teach the hot path how this query's type, class and EDNS look on the wire. Bounded: senders choose these bytes."""
    if len(table) >= limit:
        table.clear()
    table[query.suffix_key] = query.suffix
