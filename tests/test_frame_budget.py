"""Budget of a client's HTTP/2 frames, which hyperframe writes."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from hyperframe import frame
from hypothesis import given
from hypothesis import strategies as some

from hedgerow.frame_budget import (
    BLOCK_OCTETS,
    MAX_BLOCK,
    MAX_TOKENS,
    MAX_UPDATES,
    OCTETS_PER_UPDATE,
    SHORT_DATA,
    TOKENS_PER_SECOND,
    TURN_OCTETS,
    TURN_TOKENS,
    FrameBudget,
    FrameTokens,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING = frame.PingFrame(0, opaque_data=b"12345678").serialize()
UPDATE = frame.WindowUpdateFrame(0, window_increment=1).serialize()
REQUEST = frame.HeadersFrame(1, b"\x82\x84", flags=["END_HEADERS", "END_STREAM"]).serialize()
RESET = frame.RstStreamFrame(1, error_code=8).serialize()

SETTINGS = frame.SettingsFrame(0, settings={4: 65535}).serialize()
ACKNOWLEDGEMENT = frame.SettingsFrame(0, flags=["ACK"]).serialize()

FLOODS = {
    "ping": (PING, 1),
    "settings": (SETTINGS, 10),
    "priority": (frame.PriorityFrame(1, stream_weight=3).serialize(), 1),
    "window update": (UPDATE, 1),
    "empty data": (frame.DataFrame(1).serialize(), 1),
    "padded data": (frame.DataFrame(1, pad_length=200, flags=["PADDED"]).serialize(), 1),
    "continuation": (frame.ContinuationFrame(1).serialize(), 1),
    "unknown": (frame.ExtensionFrame(0x77, 0).serialize(), 1),
    "requests never answered": (REQUEST, 4),
    "rapid reset": (REQUEST + RESET, 8),
}


def process(budget: FrameBudget, data: bytes, now: float = 0.0) -> int:
    """Return the octets of `data` that the budget admits, in any number of turns."""
    passed = 0
    while passed < len(data) and budget.fault is None:
        passed += budget.take(data[passed : passed + TURN_OCTETS], now)
    return passed


def fresh() -> FrameBudget:
    budget = FrameBudget(free_settings=2)
    start = PREFACE + SETTINGS + ACKNOWLEDGEMENT
    assert process(budget, start) == len(start)
    return budget


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_end_with_the_tokens(kind: str) -> None:
    data, cost = FLOODS[kind]
    budget = fresh()
    assert process(budget, data * (MAX_TOKENS // cost)) == len(data) * (MAX_TOKENS // cost)
    assert not budget.is_spent
    process(budget, data)
    assert budget.is_spent
    budget.answered()
    assert process(budget, data, 1000.0) == 0, "nothing brings a spent budget back"


@pytest.mark.parametrize("kind", FLOODS)
def test_a_turn_is_short(kind: str) -> None:
    data, cost = FLOODS[kind]
    passed = fresh().take(data * MAX_TOKENS, 0.0)
    assert 0 < passed <= min(TURN_OCTETS, (TURN_TOKENS // cost + 1) * len(data))


def test_octets_of_header_blocks_cost_tokens() -> None:
    budget = fresh()
    large = frame.HeadersFrame(1, bytes(16_384), flags=["END_HEADERS", "END_STREAM"]).serialize()
    cost = 4 + 16_384 // BLOCK_OCTETS
    assert process(budget, large * (MAX_TOKENS // cost)) == len(large) * (MAX_TOKENS // cost)
    assert not budget.is_spent
    process(budget, large)
    assert budget.is_spent


def test_cookies_of_answered_requests_are_paid_for() -> None:
    budget = fresh()
    request = frame.HeadersFrame(1, bytes(8000), flags=["END_HEADERS", "END_STREAM"]).serialize()
    for _ in range(2 * MAX_TOKENS):
        process(budget, request)
        budget.answered()
    assert not budget.is_spent


@pytest.mark.parametrize("size", [16_384, 1024])
def test_a_header_block_of_many_frames_is_bounded(size: int) -> None:
    start = frame.HeadersFrame(1, bytes(size), flags=["END_STREAM"]).serialize()
    more = frame.ContinuationFrame(1, bytes(size)).serialize()
    others = MAX_BLOCK // size - 1
    budget = fresh()
    for _ in range(3):
        process(budget, start + more * others)
    assert not budget.is_spent, "each block is counted by itself"
    process(budget, more)
    assert budget.is_spent


def test_data_is_free_and_split_into_turns() -> None:
    budget = fresh()
    data = frame.DataFrame(1, bytes(16_384)).serialize() * 100
    assert budget.take(data, 0.0) == TURN_OCTETS
    assert process(budget, data[TURN_OCTETS:]) == len(data) - TURN_OCTETS
    assert process(budget, frame.DataFrame(1, bytes(SHORT_DATA)).serialize() * 2 * MAX_TOKENS)
    assert not budget.is_spent


def test_time_restores_tokens() -> None:
    budget = fresh()
    for second in range(200):
        process(budget, PING * TOKENS_PER_SECOND, float(second))
    assert not budget.is_spent
    process(budget, PING * MAX_TOKENS, 1e9)
    assert not budget.is_spent
    process(budget, PING, 1e9)
    assert budget.is_spent


def test_answers_restore_tokens() -> None:
    budget = fresh()
    for _ in range(2 * MAX_TOKENS):
        process(budget, REQUEST + frame.DataFrame(1, b"x").serialize())
        budget.answered()
    assert not budget.is_spent


def test_a_browser_that_cancels_many_pages_stays_connected() -> None:
    budget = fresh()
    for second in range(0, 300, 10):
        process(budget, REQUEST * 100, float(second))
        for _ in range(50):
            budget.answered()
        process(budget, RESET * 50, float(second))
    assert not budget.is_spent


def test_a_download_pays_for_its_window_updates() -> None:
    budget = fresh()
    for _ in range(2 * MAX_TOKENS):
        budget.sent(2 * OCTETS_PER_UPDATE)
        process(budget, UPDATE * 2)
    assert not budget.is_spent
    budget.sent(1 << 40)
    process(budget, UPDATE * (MAX_UPDATES + MAX_TOKENS + 1))
    assert budget.is_spent, "a long download pays for no flood after it"


def test_connections_of_one_client_share_its_tokens() -> None:
    tokens = FrameTokens()
    for _ in range(4):
        budget = FrameBudget(tokens, free_settings=2)
        assert process(budget, PREFACE + SETTINGS + ACKNOWLEDGEMENT + PING * (MAX_TOKENS // 4))
        assert not budget.is_spent
    again = FrameBudget(tokens)
    process(again, PREFACE + SETTINGS + PING, 0.0)
    assert again.is_spent, "a client that connects again has no new tokens"
    later = FrameBudget(tokens, free_settings=2)
    process(later, PREFACE + SETTINGS + PING * TOKENS_PER_SECOND, 2.0)
    assert not later.is_spent, "time restores them"


def test_connections_of_a_device_use_up_its_tokens_as_well_as_their_own() -> None:
    device = FrameTokens(connections=2)
    assert device.is_full
    for _ in range(2):
        budget = FrameBudget(FrameTokens(device=device))
        assert process(budget, PREFACE + SETTINGS + PING * (MAX_TOKENS - 11))
        assert not budget.is_spent
    other = FrameBudget(FrameTokens(device=device), free_settings=1)
    process(other, PREFACE + SETTINGS + PING * 2)
    other.answered()
    process(other, PING * 2)
    assert not other.is_spent, "an answered request restored the device's tokens"
    process(other, PING * 10)
    assert other.is_spent, "the device has none left, though the connection has"
    later = FrameBudget(FrameTokens(device=device), free_settings=1)
    process(later, PREFACE + SETTINGS + PING, 100.0)
    process(later, PING * TOKENS_PER_SECOND, 101.0)
    assert not later.is_spent, "time restores them"
    assert not device.is_full
    device.refill(1e6)
    assert device.is_full


@given(
    some.lists(
        some.sampled_from([PING, REQUEST, RESET, UPDATE, frame.DataFrame(1, bytes(300)).serialize()]), max_size=60
    ),
    some.data(),
)
def test_the_split_of_octets_does_not_matter(frames: list[bytes], cuts: some.DataObject) -> None:
    """The tokens do not depend on how the octets arrive."""
    data = PREFACE + SETTINGS + b"".join(frames)
    whole, cut, at = FrameBudget(), FrameBudget(), 0
    process(whole, data)
    while at < len(data):
        size = cuts.draw(some.integers(1, 40))
        process(cut, data[at : at + size])
        at += size
    rest = PING * (2 * MAX_TOKENS)
    assert process(whole, rest) == process(cut, rest)


@given(some.binary(max_size=2000))
def test_junk_is_charged(junk: bytes) -> None:
    budget = FrameBudget()
    assert process(budget, junk) == len(junk) or budget.fault is not None


def test_a_connection_is_in_a_head_while_its_block_or_a_frame_other_than_data_is_incomplete() -> None:
    budget = fresh()
    assert not budget.is_in_head
    for data, is_in_head in (
        (REQUEST[:4], True),
        (REQUEST[4:], False),
        (frame.HeadersFrame(3, b"\x82").serialize(), True),
        (frame.ContinuationFrame(3, b"\x84", flags=["END_HEADERS"]).serialize(), False),
        (PING[:-1], True),
        (PING[-1:], False),
        (frame.DataFrame(1, bytes(1000)).serialize()[:-1], False),
    ):
        assert process(budget, data) == len(data)
        assert budget.is_in_head is is_in_head


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (PREFACE + PING, ErrorCodes.PROTOCOL_ERROR),
        (PREFACE + SETTINGS + b"\0\0\x06\x04\x01\0\0\0\0" + bytes(6), ErrorCodes.FRAME_SIZE_ERROR),
        (PREFACE + SETTINGS + PING * 2 * MAX_TOKENS, ErrorCodes.ENHANCE_YOUR_CALM),
    ],
    ids=["no settings first", "acknowledgement with a payload", "flood"],
)
def test_a_fault_ends_the_connection_with_the_code_that_the_rfc_demands(data: bytes, code: ErrorCodes) -> None:
    budget = FrameBudget()
    process(budget, data)
    assert budget.fault is code
    assert budget.is_spent is (code is ErrorCodes.ENHANCE_YOUR_CALM)
    process(budget, SETTINGS)
    assert budget.fault is code
