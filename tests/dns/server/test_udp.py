"""The hot path: the cache never changes an answer, whatever is asked in which order."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from hot_path import HotPath, OneServer
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="recvmmsg is Linux's")

LABELS = st.sampled_from([b"a", b"A", b"b", b"\0", b"\0\1\0\1", b"xn--x", b"@", b"[", b"b\0\0\1\0\1"])
NAMES = st.lists(LABELS, max_size=3).map(
    lambda labels: b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
)
OPTION = st.sampled_from(
    [b"", b"\0\x0a\0\x081234567\0", b"\0\x0f\0\0", b"\0\x0c\0\x04\0\0\0\0", b"\0\x0f\0\2\0\0", b"\0\x0a"]
)
OPTIONS = st.lists(OPTION, max_size=3).map(b"".join)
OPTS = st.tuples(st.sampled_from([512, 1231, 1232, 4096]), st.sampled_from([0, 1, 0x8000, 0x10000]), OPTIONS).map(
    lambda parts: b"\0\0\x29" + parts[0].to_bytes(2) + parts[1].to_bytes(4) + len(parts[2]).to_bytes(2) + parts[2]
)
QUERIES = st.tuples(
    st.binary(min_size=2, max_size=2),
    st.sampled_from([b"\1\0", b"\0\0", b"\1\x10", b"\1\x20", b"\1\x40", b"\x81\0", b"\x11\0", b"\1\1"]),
    st.sampled_from(
        [b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\1", b"\0\1\0\0\0\0\0\2", b"\0\1\0\1\0\0\0\0", b"\0\0\0\0\0\0\0\0"]
    ),
    NAMES,
    st.sampled_from([b"\0\1\0\1", b"\0\x1c\0\1", b"\0\x41\0\1", b"\0\xff\0\1", b"\0\1\0\3", b"\0\x29\0\1"]),
    st.sampled_from([b"", b"\0"]) | OPTS | st.tuples(OPTS, OPTS).map(b"".join),
).map(b"".join)


@st.composite
def datagrams(draw: st.DrawFn) -> bytes:
    """A query, most often whole, else cut short or with some octets changed."""
    query = bytearray(draw(QUERIES))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        query[draw(st.integers(0, len(query) - 1))] = draw(st.integers(0, 255))
    return bytes(query[: draw(st.sampled_from([len(query), len(query), len(query) - 1, 13]))])


def check_all(batches: list[list[bytes]]) -> float:
    """Returns how often the cache has answered."""

    async def main() -> float:
        both = HotPath()
        await both.start()
        try:
            for batch in batches:
                both.check(batch)
        finally:
            await both.stop()
        return both.warm.hits

    return asyncio.run(main())


@settings(max_examples=150)
@given(st.lists(st.lists(datagrams(), min_size=2, max_size=8), min_size=1, max_size=4))
def test_answers_are_the_same_with_and_without_cache(batches: list[list[bytes]]) -> None:
    check_all(batches)


@pytest.mark.shared
def test_answers_to_real_packets_are_the_same_too(shared_data: Path) -> None:
    lines = (shared_data / "dns" / "fuzz-packets-a.jsonl").read_text().splitlines()
    packets = [bytes.fromhex(json.loads(line)["hex"]) for line in lines]
    queries = [packet[:2] + bytes((packet[2] & 0x7F,)) + packet[3:] for packet in packets if len(packet) > 2]
    assert check_all([queries[at : at + 500] for at in range(0, len(queries), 500)]) > 1000


def test_partially_sent_batch_is_completed() -> None:
    async def main() -> tuple[list[tuple[int, int]], float]:
        one = OneServer()
        await one.start()
        try:
            return one.send_in_parts(10, [4, -1, 5])
        finally:
            await one.stop()

    calls, dropped = asyncio.run(main())
    assert calls == [(0, 10), (4, 6), (5, 5)]  # the fifth could not be sent, and is left out
    assert dropped == 1
