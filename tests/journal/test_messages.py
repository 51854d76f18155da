"""Messages as lines of JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.journal.messages import (
    LINE_LIMIT,
    TEXT_LIMIT,
    CounterDelta,
    DeviceSeen,
    GaugeLevel,
    MalformedMessage,
    WorkerHello,
    decode,
    encode,
    may_be_recorded,
)
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
WHEN = st.floats(0, 2**39)
NAMES = st.builds(DeviceId, TEXT)
MESSAGES = st.one_of(
    st.builds(
        Observation,
        WHEN,
        NAMES,
        st.none() | TEXT,
        TEXT,
        st.sampled_from(RequestKind),
        st.sampled_from(Verdict),
        st.sampled_from(Reason),
        TEXT,
        TEXT,
        TEXT,
        TEXT,
        st.integers(1, 2**39),
    ),
    st.builds(AccessRequest, WHEN, NAMES, st.none() | TEXT, TEXT, TEXT, TEXT, TEXT),
    st.builds(CounterDelta, TEXT, st.lists(TEXT, max_size=4).map(tuple), st.floats(0, 1e15)),
    st.builds(GaugeLevel, TEXT, st.lists(TEXT, max_size=4).map(tuple), st.floats(-1e15, 1e15)),
    st.builds(DeviceSeen, WHEN, NAMES, TEXT, st.none() | TEXT, st.none() | TEXT, TEXT, TEXT),
    st.builds(WorkerHello, TEXT, TEXT),
)


@given(MESSAGES)
def test_encoding_and_decoding_returns_the_message(message):
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == message


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_else(data):
    try:
        decode(data)
    except MalformedMessage:
        pass


OBSERVATION = {
    "when": 1.0,
    "device": "d",
    "person": None,
    "profile": "p",
    "kind": "dns",
    "verdict": "block",
    "reason": "rule",
}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"observation": {}, "hello": {}}',
        b'{"unknown": {}}',
        b'{"hello": {"worker": 1, "role": "dns"}}',
        b'{"hello": {"worker": "a"}}',
        b'{"counter": {"name": "x", "value": -1}}',
        b'{"counter": {"name": "x", "value": NaN}}',
        b'{"gauge": {"name": "x", "value": Infinity}}',
        json.dumps({"observation": OBSERVATION | {"when": 1e300}}).encode(),
        json.dumps({"observation": OBSERVATION | {"when": -5}}).encode(),
        json.dumps({"observation": OBSERVATION | {"count": 0}}).encode(),
        json.dumps({"observation": OBSERVATION | {"count": 2**70}}).encode(),
        json.dumps({"observation": OBSERVATION | {"verdict": "maybe"}}).encode(),
        b"[" * 5000,
        b'{"hello": {"worker": "' + b"a" * LINE_LIMIT + b'", "role": "dns"}}',
    ],
)
def test_malformed(line):
    with pytest.raises(MalformedMessage):
        decode(line)


def test_the_template_of_the_malformed_observations_is_valid():
    assert isinstance(decode(json.dumps({"observation": OBSERVATION}).encode()), Observation)


def test_a_long_url_is_cut():
    asked = AccessRequest(1.0, DeviceId("d"), None, "example.com", "https://example.com/" + "ä" * 100_000)
    line = encode(asked)
    assert len(line) < LINE_LIMIT
    decoded = decode(line)
    assert isinstance(decoded, AccessRequest)
    assert decoded.url == asked.url[:TEXT_LIMIT]


def test_decisions_about_lifelines_may_not_be_recorded():
    seen = Observation(1.0, DeviceId("d"), None, "p", RequestKind.DNS, Verdict.ALLOW, Reason.LIFELINE)
    assert not may_be_recorded(seen)
    assert may_be_recorded(CounterDelta("hedgerow_dns_cache_hits_total"))
