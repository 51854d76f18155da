"""Caches with the clock algorithm, bounded in octets: finished answers, and resolutions."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Final, Protocol

from hedgerow.dns.answers import Draft, RenderedAnswer
from hedgerow.dns.metrics import CountedDecision
from hedgerow.dns.wire import DNSSEC_SHAPE, HEADER, Query

STALE_SECONDS: Final = 86_400.0  # RFC 8767, section 5: one to three days
NEVER: Final = float("inf")
RULESET_OCTETS: Final = 8  # of a key of an answer, see `AnswerCache.prefix`
NAME_AT: Final = RULESET_OCTETS + HEADER - 2  # the name's offset in such a key
NAME_END: Final = -5  # and its end
_PREFETCH_AT: Final = 0.9  # the part of its lifetime after which an answer that clients ask for is fetched again
# Octets of Python objects around the own bytes of a key, an answer and a resolution, measured with tracemalloc: with up
# to two records, and for each more.
KEY_OVERHEAD: Final = 125
_ANSWER_OVERHEAD: Final = 240
_RESOLUTION_OVERHEAD: Final = 240
_RECORDS_INCLUDED: Final = 2
_TTL_OVERHEAD: Final = 120
_ADDRESS_OCTETS: Final = {b"\0\x01": 4, b"\0\x1c": 16}  # by the types A and AAAA
_MAX_SUFFIXES: Final = 4096


class Cacheable(Protocol):
    """A value of a cache: its octets, the monotonic instant of its expiry, and when it was last asked for.

    `is_shared`: many keys have this value, so that `seen` says nothing about one of them.
    """

    seen: float

    @property
    def is_shared(self) -> bool: ...

    @property
    def size(self) -> int: ...

    @property
    def expires(self) -> float: ...


class CacheEntry:
    """A finished answer: the client's id, `head`, the client's question and `tail` are the message.

    TTLs are patched at most once per second, and never show an instant past `expires`. Not frozen: the hot path changes
    it. An answer holds neither its name nor its client, so that blocked names share one (`is_shared`), and rulesets
    share that of an allowed name. A client that asks when most of its lifetime is over triggers a new question to the
    upstreams, once, if it `wants_prefetch`. There may be hundreds of thousands, so whatever follows from another
    attribute is not stored.
    """

    __slots__ = (
        "ceiling",
        "counted",
        "created_at",
        "due",
        "expires",
        "head",
        "is_shared",
        "seen",
        "tail",
        "ttls",
        "until",
        "wants_prefetch",
    )

    def __init__(
        self, rendered: RenderedAnswer, draft: Draft, *, created_at: float, until: float, counted: CountedDecision
    ) -> None:
        self.head, self.tail, self.ttls = rendered
        self.ceiling = draft.ceiling
        self.created_at, self.until = created_at, until
        self.expires = min(created_at + draft.lifetime, until)
        self.due = 0.0
        self.seen = created_at
        self.counted = counted
        self.is_shared = self.wants_prefetch = False

    @property
    def size(self) -> int:
        return (
            0
            if self.is_shared
            else len(self.tail) + _ANSWER_OVERHEAD + _TTL_OVERHEAD * max(len(self.ttls) - _RECORDS_INCLUDED, 0)
        )

    @property
    def prefetch_at(self) -> float:
        return self.created_at + _PREFETCH_AT * (self.expires - self.created_at)

    @property
    def addresses(self) -> tuple[tuple[bytes, ...], int]:
        """The packed addresses of the A and AAAA records, without those that are not destinations, and the longest TTL
        shown for one.
        """
        found: list[bytes] = []
        longest = 0
        for at, packed in addresses_in(self.tail, self.ttls):
            if any(packed):
                found.append(packed)
                longest = max(longest, int.from_bytes(self.tail[at : at + 4]))
        return tuple(found), longest

    def refresh(self, now: float) -> bool:
        """Patch the TTLs for the second that begins at `now` (monotonic); False if the answer has expired.

        `due` is the next instant at which a TTL changes. TTLs are right up to it, so they are those of that instant.
        Every TTL is counted back from the instant at which its record ends.
        """
        left, ceiling = int(self.expires - now), self.ceiling
        due = self.due = self.expires - min(left, ceiling)
        tail = self.tail
        for at, ttl in self.ttls:
            shown = int(min(self.created_at + ttl, self.until) - due)
            shown = 0 if shown < 0 else shown if shown < ceiling else ceiling
            tail = tail[:at] + shown.to_bytes(4) + tail[at + 4 :]
        self.tail = tail
        return now < self.expires

    def message(self, query: bytes, question_end: int) -> bytes:
        return query[:2] + self.head + query[HEADER:question_end] + self.tail


class Resolution:
    """An upstream's answer to one question: the draft made of it, and the CNAME targets and packed addresses to judge.

    It is fresh until `fresh_until`, and may be used for a day after that if no upstream answers. Until `recheck_at` the
    upstreams are known not to answer and are not asked. `is_slow`: they took long when it was last asked for after it
    had expired. `unfiltered` is the draft for clients without any filter, if it differs. `hints` are addresses in other
    records than A and AAAA. `answer` is the last answer made of it, to queries of `answer_shape`.
    """

    __slots__ = (
        "_body",
        "_frame",
        "answer",
        "answer_shape",
        "created_at",
        "fresh_until",
        "hints",
        "is_slow",
        "recheck_at",
        "seen",
        "targets",
        "unfiltered",
    )
    is_shared: Final = False

    def __init__(
        self,
        draft: Draft,
        targets: tuple[str, ...],
        hints: tuple[bytes, ...],
        created_at: float,
        unfiltered: Draft | None = None,
    ) -> None:
        self._frame, self._body = _frame_of(draft[:3], draft[4:]), draft.body
        self.targets, self.hints, self.created_at, self.unfiltered = targets, hints, created_at, unfiltered
        self.fresh_until = created_at + draft.lifetime
        self.recheck_at = 0.0
        self.is_slow = False
        self.seen = created_at
        self.answer: CacheEntry | None = None
        self.answer_shape = b""

    @property
    def draft(self) -> Draft:
        frame = self._frame
        front = (frame.rcode, frame.answers, frame.authority)
        return Draft(*front, self._body, frame.ttls, frame.lifetime, frame.ceiling, frame.authentic, frame.ede)

    @property
    def addresses(self) -> tuple[bytes, ...]:
        return tuple([packed for _, packed in addresses_in(self._body, self._frame.ttls)]) + self.hints

    @property
    def expires(self) -> float:
        return self.fresh_until + STALE_SECONDS

    @property
    def size(self) -> int:
        octets = 2 * len(self._body) + _RESOLUTION_OVERHEAD + _ANSWER_OVERHEAD
        octets += _TTL_OVERHEAD * max(
            len(self._frame.ttls) + len(self.hints) + len(self.targets) - _RECORDS_INCLUDED, 0
        )
        return octets + (len(self.unfiltered.body) + _RESOLUTION_OVERHEAD if self.unfiltered else 0)


@lru_cache(maxsize=4096)
def _frame_of(front: tuple[int, int, int], back: tuple[object, ...]) -> Draft:
    """Return a draft without its body. Those of most answers are equal, so that one object each is enough."""
    return Draft(*front, b"", *back)  # type: ignore[arg-type]  # both are parts of a draft


def addresses_in(body: bytes, ttls: tuple[tuple[int, int], ...]) -> list[tuple[int, bytes]]:
    """Return the packed addresses of the A and AAAA records whose TTLs are at these offsets, each with its TTL's
    offset.
    """
    found = []
    for at, _ in ttls:
        size = _ADDRESS_OCTETS.get(body[at - 4 : at - 2])
        if size is not None and int.from_bytes(body[at + 4 : at + 6]) == size:
            found.append((at, body[at + 6 : at + 6 + size]))
    return found


class ClockCache[V: Cacheable]:
    """A mapping of bytes to values of at most `max_octets`, with what Python takes.

    Read `entries` directly where `get` is too slow.
    """

    def __init__(self, max_octets: int) -> None:
        self.entries: dict[bytes, V] = {}
        self.octets = 0
        self._max_octets = max_octets
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
            self.octets += KEY_OVERHEAD + len(key) + value.size
        else:
            self.octets += value.size - old.size
        self.entries[key] = value
        while self.octets > self._max_octets:
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
        if value.expires <= now or (force and (value.is_shared or value.seen <= visited)):
            del self.entries[key]
            self.octets -= KEY_OVERHEAD + len(key) + value.size
        else:
            # A second visit within one `put` finds `seen` no later than now, so that a full cache always makes room.
            self._queue.append(key)
            self._visits.append(now if force else visited)


def resolution_key(query: Query) -> bytes:
    """Return name, type, class, and the flags that change an upstream's answer: DO and CD."""
    return query.name + query.suffix[:4] + bytes((query.shape & DNSSEC_SHAPE | query.data[3] & 0x10,))


def learn_suffix(table: dict[bytes, bytes], query: Query) -> None:
    """Teach the hot path how this query's type, class and EDNS look on the wire.

    Bounded, since clients choose these bytes.
    """
    if len(table) >= _MAX_SUFFIXES:
        table.clear()
    table[query.suffix_key] = query.suffix
