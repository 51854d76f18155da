"""Bounds of TTLs and of the caches."""

from __future__ import annotations

import gc
import tracemalloc
from struct import pack

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.dns import answers, wire
from hedgerow.dns.cache import KEY_OVERHEAD, CacheEntry, ClockCache, Resolution, learn_suffix
from hedgerow.dns.metrics import CountedDecisions
from hedgerow.dns.upstreams import responses
from hedgerow.policies.model import Decision, Reason, Verdict

COUNTED = CountedDecisions().of(Decision(Verdict.ALLOW, Reason.DEFAULT), "udp", wire.A, wire.NOERROR)
QUERY = wire.parse_query(bytes(dnslib.DNSRecord.question("a.example").pack()))


def entry(
    ttls: tuple[int, ...], *, until: float = float("inf"), ceiling: int = answers.MAX_TTL, lifetime: float | None = None
) -> CacheEntry:
    records = [wire.record_bytes(wire.QUESTION_POINTER, wire.A, ttl, bytes(4)) for ttl in ttls]
    offsets = tuple((16 * index + 6, ttl) for index, ttl in enumerate(ttls))
    alive = float(min(ttls)) if lifetime is None else lifetime
    draft = answers.Draft(0, len(records), 0, b"".join(records), offsets, alive, ceiling)
    return CacheEntry(answers.render(QUERY, draft), draft, created_at=1000.0, until=until, counted=COUNTED)


def shown(made: CacheEntry) -> list[int]:
    return [record.ttl for record in dnslib.DNSRecord.parse(made.message(QUERY.data, QUERY.end)).rr]


def test_ttls_count_down_and_the_answer_expires_with_the_first() -> None:
    made = entry((60, 300))
    assert made.refresh(1000.0)
    assert shown(made) == [60, 300]
    assert made.refresh(1030.5)
    assert shown(made) == [29, 269]
    assert not made.refresh(1060.0)


def test_blocked_answer_shows_its_ceiling_until_the_ruleset_ends() -> None:
    made = entry((3600,), ceiling=10, until=1100.0, lifetime=3600.0)
    for now, ttl in ((1000.0, 10), (1050.0, 10), (1089.9, 10), (1091.5, 8), (1099.5, 0)):
        if now >= made.due:
            assert made.refresh(now)
        assert shown(made) == [ttl]
    assert not made.refresh(1100.0)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=3),
    st.one_of(st.just(float("inf")), st.floats(1000.0, 1500.0)),
    st.sampled_from([10, answers.MAX_TTL]),
    st.lists(st.floats(0.0, 500.0), max_size=20),
)
def test_no_ttl_outlives_its_record_or_the_ruleset(
    ttls: list[int], until: float, ceiling: int, moments: list[float]
) -> None:
    made = entry(tuple(ttls), until=until, ceiling=ceiling)
    for now in sorted(1000.0 + moment for moment in moments):
        if now < made.due or made.refresh(now):
            for ttl, given_ttl in zip(shown(made), ttls, strict=True):
                assert now + ttl <= min(1000.0 + given_ttl, until) + 1e-6
                assert ttl <= ceiling


def test_entry_is_patched_at_most_once_per_second() -> None:
    made = entry((60,))
    patches = 0
    for step in range(1, 500):
        now = 1000.003 + step / 100
        if now >= made.due:
            patches += made.refresh(now)
    assert patches <= 6


class Value:
    def __init__(self, size: int, expires: float, seen: float, *, is_shared: bool = False) -> None:
        self.size, self.expires, self.seen, self.is_shared = size, expires, seen, is_shared


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 400), st.floats(0, 20), st.booleans()), max_size=200))
def test_bounds_hold_whatever_is_put(steps: list[tuple[int, int, float, bool]]) -> None:
    cache: ClockCache[Value] = ClockCache(2000)
    now = 0.0
    for number, size, life, sweep in steps:
        now += 0.5
        cache.put(pack("!I", number), Value(size, now + life, now), now)
        if sweep:
            cache.sweep(now, 5)
        assert cache.octets == sum(value.size + KEY_OVERHEAD + 4 for value in cache.entries.values()) <= 2000


def test_used_entries_outlive_unused_ones() -> None:
    cache: ClockCache[Value] = ClockCache(3 * (KEY_OVERHEAD + 2))
    for number in range(3):
        cache.put(bytes([number]), Value(1, 1000.0, 0.0), float(number))
    assert cache.get(b"\0", 10.0) is not None
    cache.put(b"\3", Value(1, 1000.0, 11.0), 11.0)
    assert b"\0" in cache.entries
    assert b"\1" not in cache.entries


def test_values_that_many_keys_share_make_room_in_turn() -> None:
    """One that is always in use must not send the hand round the whole cache for each new key."""
    cache: ClockCache[Value] = ClockCache(100 * (KEY_OVERHEAD + 4))
    shared = Value(0, 10_000.0, 0.0, is_shared=True)
    for number in range(300):
        shared.seen = float(number)
        cache.put(pack("!I", number), shared, float(number))
    assert list(cache.entries) == [pack("!I", number) for number in range(200, 300)]


def test_expired_values_are_not_returned_and_are_swept() -> None:
    cache: ClockCache[Value] = ClockCache(10_000)
    cache.put(b"a", Value(1, 5.0, 0.0), 0.0)
    assert cache.get(b"a", 5.0) is None
    cache.sweep(5.0, 100)
    assert (len(cache), cache.octets) == (0, 0)


def test_suffix_table_is_bounded() -> None:
    table: dict[bytes, bytes] = {}
    for size in range(10_000):
        question = dnslib.DNSRecord.question("a.example")
        question.add_ar(dnslib.EDNS0(udp_len=size))
        learn_suffix(table, wire.parse_query(bytes(question.pack())))
    assert len(table) <= 4096
    assert len(set(table.values())) <= 2


def resolution(number: int, records: int) -> Resolution:
    """Return a resolution with so many addresses."""
    asked = wire.parse_query(bytes(dnslib.DNSRecord.question(f"n{number}.example").pack()))
    rdatas = (pack("!HH", number, record) for record in range(records))
    body = b"".join(
        wire.record_bytes(wire.QUESTION_POINTER, wire.A, 300 + at, rdata) for at, rdata in enumerate(rdatas)
    )
    head = asked.data[:2] + b"\x81\x80" + pack("!HHHH", 1, records, 0, 0)
    response = responses.parse_response(
        head + asked.data[wire.HEADER : asked.end] + body, asked.name + asked.suffix[:4]
    )
    return Resolution(answers.forwarded(asked, response, ()), (), responses.address_hints(response, {asked.name}), 0.0)


@pytest.mark.parametrize("records", [1, 5, 50, 512])
def test_size_of_an_entry_matches_its_memory(records: int) -> None:
    entries = max(100, 2000 // records)  # so many that what other threads keep meanwhile is little
    kept = [resolution(number, records) for number in range(20)]  # what is made once and shared
    taken = []
    for _ in range(3):
        gc.collect()
        tracemalloc.start()
        kept = [resolution(number, records) for number in range(entries)]
        gc.collect()
        taken.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert min(taken) < 1.3 * sum(each.size for each in kept)
