"""Parsers of the wire format: golden bytes, and no input raises anything but Malformed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.dns import wire
from hedgerow.dns.upstreams import responses
from hedgerow.dns.wire import Malformed

labels = st.binary(min_size=1, max_size=63)
names = st.lists(labels, max_size=6).map(lambda parts: b"".join(bytes((len(part),)) + part for part in parts) + b"\0")
short_names = names.filter(lambda name: len(name) <= 255)


def query(name: bytes, qtype: int = 1, flags: bytes = b"\x01\x00", opt: bytes = b"") -> bytes:
    return (
        b"\xab\xcd" + flags + b"\0\1\0\0\0\0" + (b"\0\1" if opt else b"\0\0") + name + qtype.to_bytes(2) + b"\0\1" + opt
    )


@given(short_names, st.integers(0, 65535))
def test_question_is_parsed(name: bytes, qtype: int) -> None:
    read = wire.parse_query(query(name, qtype))
    assert (read.name, read.qtype, read.end) == (name.lower(), qtype, 12 + len(name) + 4)


@given(st.binary(max_size=120))
def test_any_octets_are_a_query_or_malformed(data: bytes) -> None:
    check_only_malformed(data)


@given(short_names, st.data())
def test_mutated_queries_are_queries_or_malformed(name: bytes, data: st.DataObject) -> None:
    message = bytearray(query(name, opt=wire.opt_bytes(0, False, wire.option_bytes(10, b"12345678"))))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    check_only_malformed(bytes(message[: data.draw(st.integers(0, len(message)))]))


def check_only_malformed(data: bytes) -> None:
    for parse in (wire.parse_query, lambda message: responses.parse_response(message, message[12:-4] or b"\0\0\1\0\1")):
        try:
            parse(data)
        except Malformed:
            pass


@given(short_names)
def test_dots_and_capitals_in_labels_are_escaped(name: bytes) -> None:
    host = wire.host_of(name.lower())
    assert host == host.lower()
    assert host.count(".") == max(0, label_count(name) - 1)


def label_count(name: bytes) -> int:
    at = count = 0
    while name[at]:
        at += 1 + name[at]
        count += 1
    return count


@given(st.lists(st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=6).map(".".join))
def test_host_round_trips_through_wire_form(host: str) -> None:
    assert wire.host_of(wire.name_of(host)) == host


@pytest.mark.parametrize(
    ("message", "at"),
    [
        (b"\0" * 12 + b"\xc0\x0c", 12),  # to itself
        (b"\0" * 12 + b"\xc0\x0e\xc0\x0c", 12),  # forward
        (b"\0" * 12 + b"\x03ab\xc0\x0c" + b"x" * 12 + b"\0", 15),  # to a name that runs over the pointer
        (b"\0" * 12 + b"\x01a\xc0\x0c", 14 - 2),  # a loop through a label
        (b"\0" * 12 + b"\xc0\x02", 12),  # into the header
        (b"\0" * 12 + b"\x41a\0", 12),  # a label type that is none
        (b"\0" * 12 + b"\x05abc", 12),  # cut short
        (b"\0" * 12 + (b"\x3f" + b"a" * 63) * 4 + b"\0", 12),  # 257 octets
        (b"", 0),
    ],
)
def test_malformed_names(message: bytes, at: int) -> None:
    with pytest.raises(Malformed):
        wire.read_name(message, at)


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good + b"x",
        lambda good: good[:-1],
        lambda good: good[:4] + b"\0\0" + good[6:],
        lambda good: good[:4] + b"\0\2" + good[6:],
        lambda good: good[:6] + b"\0\1" + good[8:],
        # only for a transfer of changes
        lambda good: good[:8] + b"\0\1" + good[10:] + wire.record_bytes(b"\1a\0", wire.SOA, 0, b""),
        lambda good: good + wire.opt_bytes(0, False),  # not counted
        lambda good: good[:10] + b"\0\2" + good[12:] + wire.opt_bytes(0, False) * 2,
        lambda good: good[:10] + b"\0\1" + good[12:] + wire.opt_bytes(0, False, b"\0\x0a\0\x08abc"),
        # its owner must be the root (RFC 6891, 6.1.2)
        lambda good: good[:10] + b"\0\1" + good[12:] + b"\1a" + wire.opt_bytes(0, False),
        lambda good: good[:10] + b"\0\1" + good[12:] + b"\xc0\x0c" + wire.opt_bytes(0, False)[1:],
        lambda good: good[:12] + b"\xc0\x0c\0\1\0\1",
        lambda good: good[:12] + b"\x05ab\0\0\1\0\1",  # a label that runs over the end of the name
        lambda good: good[:11],
        lambda good: good[:10] + b"\0\1" + good[12:] + b"\0\0\1",
        lambda good: good[:10] + b"\0\1" + good[12:] + wire.record_bytes(b"\0", wire.A, 0, bytes(4))[:-1],
        lambda good: good[:10] + b"\0\1" + good[12:] + wire.opt_bytes(0, False, b"\0\x0a"),
    ],
)
def test_malformed_queries(damage: object) -> None:
    with pytest.raises(Malformed):
        wire.parse_query(damage(query(b"\x01a\0")))  # type: ignore[operator]


def test_a_name_that_a_known_pointer_makes_too_long_is_refused() -> None:
    """It is refused as it is where nothing is known of the pointer's target."""
    message = bytes(12) + (b"\x3f" + b"a" * 63) * 3 + b"\0" + b"\x3f" + b"b" * 63 + b"\xc0\x0c"
    at = len(message) - 66
    known: dict[int, bytes] = {}
    assert wire.read_name(message, len(message) - 2, known) == (message[12:205], len(message))
    for names in (known, None):
        with pytest.raises(Malformed, match="longer than 255 octets"):
            wire.read_name(message, at, names)


@pytest.mark.parametrize("host", ["a..b", ".a", "x" * 64 + ".example", ".".join(["x" * 50] * 5)])
def test_a_text_that_is_no_host_has_no_wire_form(host: str) -> None:
    with pytest.raises(ValueError, match="not a domain name"):
        wire.name_of(host)


@pytest.mark.parametrize(("host", "name"), [("", b"\0"), ("Www.example", b"\3www\7example\0")])
def test_hosts_have_a_wire_form(host: str, name: bytes) -> None:
    assert wire.name_of(host) == name
    assert wire.host_of(name) == host.lower()


def test_labels_are_found_and_unusual_octets_escaped() -> None:
    assert list(wire.label_starts(b"\3www\7example\0")) == [0, 4]
    assert wire.host_of(b"\5a.b c\7example\0") == "a\\046b\\032c.example"


@pytest.mark.parametrize(
    ("size", "transport", "limit"),
    [
        (None, "udp", 512),
        (512, "udp", 512),
        (1231, "udp", 512),
        (1232, "udp", 1232),
        (4096, "udp", 1232),
        (None, "tcp", 65535),
        (512, "doh", 65535),
    ],
)
def test_answers_have_room_by_transport_and_what_the_client_takes(size: int | None, transport: str, limit: int) -> None:
    opt = b"" if size is None else b"\0\0\x29" + size.to_bytes(2) + bytes(6)
    assert wire.parse_query(query(b"\1a\0", opt=opt), transport).limit == limit


def test_the_octets_behind_a_name_tell_its_suffix() -> None:
    opt = wire.opt_bytes(0, True, wire.option_bytes(10, bytes(8)))
    assert wire.parse_query(query(b"\1a\0", opt=opt)).suffix_key == b"\0\1\0\1" + opt[:15]
    assert wire.parse_query(query(b"\1a\0")).suffix_key == b"\0\1\0\1"


@pytest.mark.parametrize(("owner", "name"), [(b"\xc0\x0c", b"\1a\0"), (b"\0", b"\0"), (b"\1B\xc0\x0c", b"\1b\1a\0")])
def test_records_are_found_with_their_owner_in_full(owner: bytes, name: bytes) -> None:
    message = query(b"\1a\0")
    whole = message + wire.record_bytes(owner, wire.A, 60, bytes(4))
    record = wire.read_record(whole, len(message), b"\1a\0")
    assert (record.owner, record.rtype, record.ttl, whole[record.start : record.end]) == (name, wire.A, 60, bytes(4))
    assert (record.begin, record.end) == (len(message), len(whole))


def test_a_transfer_of_changes_names_the_version_that_the_client_has() -> None:
    """RFC 1995, section 3."""
    version = wire.record_bytes(b"\xc0\x0c", wire.SOA, 0, b"\0\0" + bytes(20))
    whole = query(b"\1a\0", wire.IXFR)
    read = wire.parse_query(whole[:8] + b"\0\1" + whole[10:] + version)
    assert (read.host, read.qtype, read.cacheable) == ("a", wire.IXFR, False)


@pytest.mark.parametrize(
    "more",
    [
        [wire.record_bytes(b"\0", wire.A, 0, bytes(4))],
        [wire.opt_bytes(0, False), wire.record_bytes(b"\0", wire.A, 0, bytes(4))],
        [b"\0\0\x29\x04\xd0\0\1\0\0\0\0"],  # EDNS version 1
        # not the first option
        [wire.opt_bytes(0, False, wire.option_bytes(10, bytes(8)) + wire.EDE_OPTION_PREFIX + b"\0")],
    ],
)
def test_queries_with_unusual_records_are_not_cached(more: list[bytes]) -> None:
    plain = query(b"\1a\0")
    read = wire.parse_query(plain[:10] + len(more).to_bytes(2) + plain[12:] + b"".join(more))
    assert (read.host, read.cacheable) == ("a", False)


@pytest.mark.parametrize(
    ("content", "can_read"),
    [
        (b"", True),
        (b"\0\x0f", True),
        (b"\0", False),
        (b"\0\x0fA text", False),
    ],
)
def test_an_empty_extended_error_asks_for_structured_ones(content: bytes, can_read: bool) -> None:
    opt = wire.opt_bytes(0, False, wire.option_bytes(wire.EXTENDED_ERROR, content))
    assert bool(wire.parse_query(query(b"\1a\0", opt=opt)).shape & wire.STRUCTURED_SHAPE) is can_read


@pytest.mark.parametrize("opt", [b"", wire.opt_bytes(0, False), wire.opt_bytes(0, True)])
@pytest.mark.parametrize("transport", ["udp", "tcp", "doh"])
def test_a_key_tells_the_query_but_its_id(opt: bytes, transport: str) -> None:
    asked = wire.parse_query(query(b"\3www\1a\0", opt=opt), transport)
    assert wire.query_of(asked.key)._replace(data=asked.data) == asked


def test_key_ignores_case_and_cookies_but_not_shape() -> None:
    def key(
        name: bytes = b"\x03WwW\x01a\0",
        qtype: int = 1,
        flags: bytes = b"\x01\0",
        opt: bytes = b"",
        transport: str = "udp",
    ) -> bytes:
        read = wire.parse_query(query(name, qtype, flags, opt), transport)
        assert read.cacheable
        return read.key

    plain = key()
    assert key(b"\x03www\x01A\0") == plain
    assert key(opt=wire.opt_bytes(0, False)) == key(opt=wire.opt_bytes(0, False, wire.option_bytes(10, b"8 octets")))
    shapes = [
        plain,
        key(flags=b"\0\0"),
        key(flags=b"\x01\x10"),
        key(flags=b"\x01\x20"),
        *(key(transport=transport) for transport in ("tcp", "dot", "doh", "doq")),
        key(qtype=65),
        key(qtype=97),
    ]
    shapes += [
        key(opt=wire.opt_bytes(0, True)),
        key(opt=wire.opt_bytes(0, False)),
        key(opt=b"\0\0\x29\x02\x00\0\0\0\0\0\0"),
    ]
    assert len(set(shapes)) == len(shapes)


@given(st.data())
def test_raw_look_up_finds_only_equal_questions(data: st.DataObject) -> None:
    """If mutated octets still find the entry, parsing them gives the entry's question or fails."""
    cookie = wire.opt_bytes(0, data.draw(st.booleans()), wire.option_bytes(10, b"12345678"))
    good = query(
        data.draw(short_names),
        data.draw(st.sampled_from([1, 28, 65, 97])),
        opt=data.draw(st.sampled_from([b"", cookie])),
    )
    known = wire.parse_query(good)
    suffixes = {known.suffix_key: known.suffix}
    message = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        message[data.draw(st.integers(2, len(message) - 1))] = data.draw(st.sampled_from([0, 1, 41, 65, 97, 192, 255]))
    sent = bytes(message[: data.draw(st.integers(len(message) - 3, len(message)))])
    end = sent.find(0, 12) + 1  # as `datagrams` and `streams` do
    if sent[2:end].lower() + suffixes.get(sent[end : end + 13], b"") == known.key:
        name, at = wire.read_name(sent, 12)
        assert (name.lower(), sent[at : at + 4]) == (known.name, good[known.end - 4 : known.end])
        try:
            read = wire.parse_query(sent)
        except Malformed:
            return
        assert (read.key, read.end) == (known.key, known.end)


@pytest.mark.parametrize("flags", [b"\x03\x00", b"\x05\x00", b"\x01\x40", b"\x01\x01", b"\x01\x41"])
def test_queries_with_unusual_flags_are_not_cached(flags: bytes) -> None:
    assert not wire.parse_query(query(b"\x01a\0", flags=flags)).cacheable


@given(
    short_names,
    st.integers(0, 65535),
    st.sampled_from([b"\x01\x00", b"\x01\x10", b"\x01\x30"]),
    st.sampled_from([None, False, True]),
    st.sampled_from(["udp", "tcp", "dot", "doh", "doq"]),
)
def test_key_can_be_turned_back_into_a_query(
    name: bytes, qtype: int, flags: bytes, dnssec: bool | None, transport: str
) -> None:
    opt = b"" if dnssec is None else wire.opt_bytes(0, dnssec)
    asked = wire.parse_query(query(name, qtype, flags, opt), transport)
    assert wire.query_of(asked.key)._replace(data=asked.data) == asked


@given(st.binary(max_size=120))
def test_forwarded_mac_is_valid_or_none(data: bytes) -> None:
    for packet in (
        data,
        query(b"\0", opt=wire.opt_bytes(0, False, data)),
        query(b"\0", opt=wire.opt_bytes(0, False, b"\xfd\xe9\0" + data)),
    ):
        said = wire.forwarded_mac(packet)
        assert said is None or re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", said)


def test_forwarded_mac_is_found_among_other_options() -> None:
    mac = bytes.fromhex("02005e005301")
    cookie, other = wire.option_bytes(10, bytes(8)), wire.option_bytes(65_001, mac + b"\0")
    reported = wire.option_bytes(65_001, mac)
    assert wire.forwarded_mac(query(b"\1a\0", opt=wire.opt_bytes(0, True, cookie + reported))) == "02:00:5e:00:53:01"
    assert wire.forwarded_mac(query(b"\1a\0", opt=wire.opt_bytes(0, True, other + reported))) is None
    assert wire.forwarded_mac(query(b"\1a\0")) is None
    assert wire.forwarded_mac(b"no query") is None
