"""Parsing of upstream answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dnslib
import pytest

from hedgerow.dns import wire
from hedgerow.dns.upstreams import responses
from hedgerow.dns.wire import Malformed

from ..test_wire import check_only_malformed


def test_response_must_match_its_question() -> None:
    question = b"\x01a\0\0\1\0\1"
    record = dnslib.DNSRecord.question("A.").reply()
    record.add_answer(dnslib.RR("A.", dnslib.QTYPE.A, rdata=dnslib.A("192.0.2.1"), ttl=60))
    packed = record.pack()
    assert responses.parse_response(packed, question).answers[0].ttl == 60
    for wrong in (b"\x01b\0\0\1\0\1", b"\x01a\0\0\x1c\0\1", b"\x01a\0\0\1\0\3"):
        with pytest.raises(Malformed):
            responses.parse_response(packed, wrong)


@pytest.mark.shared
def test_packets_are_parsed_or_malformed(shared_data: Path) -> None:
    lines = (shared_data / "dns" / "fuzz-packets-a.jsonl").read_text().splitlines()
    assert len(lines) == 4877
    read = 0
    for line in lines:
        data = bytes.fromhex(json.loads(line)["hex"])
        check_only_malformed(data)
        read += is_well_formed_response(data)
    assert read > 100  # or the check says nothing about good packets


@pytest.mark.shared
def test_name_is_the_same_with_known_pointers(shared_data: Path) -> None:
    lines = (shared_data / "dns" / "fuzz-packets-a.jsonl").read_text().splitlines()
    for data in [bytes.fromhex(json.loads(line)["hex"]) for line in lines[::10]]:
        known: dict[int, bytes] = {}
        for at in range(12, min(len(data), 400)):
            assert name_at(data, at, known) == name_at(data, at, None)


def name_at(data: bytes, at: int, known: dict[int, bytes] | None) -> tuple[bytes, int] | None:
    try:
        return wire.read_name(data, at, known)
    except Malformed:
        return None


def is_well_formed_response(data: bytes) -> bool:
    try:
        name, end = wire.read_name(data, 12)
        responses.parse_response(data, name.lower() + data[end : end + 4])
    except Malformed:
        return False
    return True


@pytest.mark.shared
def test_svcb_vectors_of_rfc_9460(shared_data: Path) -> None:
    """RFC 9460, appendix D: what is read is all that was written."""
    text = (shared_data / "dns" / "svcb_test_vectors.generic").read_text()
    vectors = re.findall(r"^\\# \d+ \((.*?)^\)", text, re.DOTALL | re.MULTILINE)
    assert len(vectors) >= 5
    for vector in vectors:
        rdata = bytes.fromhex(re.sub(r";.*", "", vector))
        target, params = responses.parse_svcb(rdata)
        assert target + b"".join(wire.option_bytes(key, value) for key, value in params) == rdata


QUESTION = b"\1q\7example\0\0\1\0\1"
ALIAS, ADDRESS, SERVICE = b"\0\5\0\1", b"\0\1\0\1", b"\0\x41\0\1"


def response(records: list[bytes]) -> bytes:
    return b"\0\1\x81\x80\0\1" + len(records).to_bytes(2) + b"\0\0\0\0" + QUESTION + b"".join(records)


def parsed(*records: bytes) -> responses.Response:
    return responses.parse_response(response(list(records)), QUESTION)


def record(rtype: bytes, rdata: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + rtype + bytes(4) + len(rdata).to_bytes(2) + rdata


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ([record(ADDRESS, bytes(4))] * 512, [record(ADDRESS, bytes(4))] * 513),
        ([record(ALIAS, b"\1%c\0" % n) for n in range(32)], [record(ALIAS, b"\1%c\0" % n) for n in range(33)]),
        ([record(SERVICE, b"\0\1\0\0\4\4\0" + bytes(1024))], [record(SERVICE, b"\0\1\0\0\4\4\4" + bytes(1028))]),
        (
            [record(SERVICE, b"\0\1\0\0\5\x1f\0" + bytes(0x1F00))],
            [record(SERVICE, b"\0\1\0\0\5\x1f\xfa" + bytes(0x1FFA))],
        ),
    ],
)
def test_responses_that_are_slow_to_judge_are_refused(good: list[bytes], bad: list[bytes]) -> None:
    """A stranger's own nameserver chooses these bytes, and each name and address in them is judged while everybody
    waits.
    """
    assert len(responses.parse_response(response(good), QUESTION).answers) == len(good)
    with pytest.raises(Malformed):
        responses.parse_response(response(bad), QUESTION)


ADDRESS_6, TEXT, MAIL = b"\0\x1c\0\1", b"\0\x10\0\1", b"\0\x0f\0\1"
GOOD = response([record(ADDRESS, bytes(4))])


@pytest.mark.parametrize(
    "data",
    [
        GOOD + b"x",
        GOOD[:-1],
        GOOD[:11],
        GOOD[:2] + b"\1" + GOOD[3:],  # a query
        GOOD[:2] + b"\x89" + GOOD[3:],  # another opcode
        GOOD[:5] + b"\2" + GOOD[6:],  # two questions
        response([record(ADDRESS, bytes(5))]),
        response([record(ADDRESS_6, bytes(4))]),
        response([record(ALIAS, b"\1c\0x")]),
        response([record(MAIL, b"\0\1\1c")]),
        response([record(SERVICE, b"\0\1")]),
        response([record(SERVICE, b"\0\1\xc0\x0c")]),  # a target must not be compressed (RFC 9460, section 2.2)
        response([record(SERVICE, b"\0\1\1a\xc0\x02")]),
        response([record(SERVICE, b"\0\1\xc0\x10\0\1\0\x08" + b"\5other\0" * 2)]),
        response([record(SERVICE, b"\0\1\0\0\1\0")]),
        response([record(SERVICE, b"\0\1\0\0\1\0\3h2")]),
        response([record(SERVICE, b"\0\1\0" + wire.option_bytes(2, b"") + wire.option_bytes(1, b"\2h2"))]),
    ],
)
def test_broken_responses_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        responses.parse_response(data, QUESTION)


def test_records_of_another_class_are_left_out() -> None:
    found = parsed(record(ADDRESS, bytes(4)), record(ADDRESS[:2] + b"\0\3", b"evil"))
    assert (len(found.answers), found.is_whole) == (1, False)
    assert parsed(record(ADDRESS, bytes(4))).is_whole


def test_rdata_is_expanded_for_another_message() -> None:
    found = parsed(record(MAIL, b"\0\1\1m\xc0\x0e"), record(TEXT, b"\2hi"))
    assert [responses.expand_rdata(found.data, each) for each in found.answers] == [b"\0\1\1m\7example\0", b"\2hi"]


@pytest.mark.parametrize(
    ("opt", "rcode", "error"),
    [
        (b"", 3, None),
        (wire.opt_bytes(16, False), 19, None),
        (wire.opt_bytes(0, False, wire.option_bytes(10, bytes(8)) + wire.option_bytes(15, b"\0\x11text")), 3, 17),
        (wire.opt_bytes(0, False, wire.option_bytes(15, b"")), 3, None),
        (wire.opt_bytes(0, False, wire.option_bytes(15, b"\x11") + wire.option_bytes(15, b"\0\x16")), 3, 22),
    ],
)
def test_the_opt_record_tells_more_of_the_rcode_and_why(opt: bytes, rcode: int, error: int | None) -> None:
    head = b"\0\1\x81\x83\0\1\0\0\0\0" + (b"\0\1" if opt else b"\0\0")
    found = responses.parse_response(head + QUESTION + opt, QUESTION)
    assert (found.rcode, responses.extended_error(found)) == (rcode, error)


@pytest.mark.parametrize(
    ("data", "refuses"),
    [
        (b"\0\1\x80\1" + bytes(8), True),  # FORMERR, without the question
        (b"\0\1\x80\4\0\1" + bytes(6) + QUESTION, True),  # NOTIMP
        (b"\0\1\x80\1" + bytes(6) + b"\0\1" + wire.opt_bytes(0, False), False),  # by EDNS: it refuses something else
        (b"\0\1\x80\2" + bytes(8), False),
        (b"\0\1\0\1" + bytes(8), False),
        (b"\0\1\x80\1", False),
    ],
)
def test_old_servers_refuse_edns(data: bytes, refuses: bool) -> None:
    assert responses.refuses_edns(data) is refuses


@pytest.mark.parametrize(("flags", "is_cut"), [(b"\x81\x80", False), (b"\x83\x80", True)])
def test_an_answer_tells_that_it_was_cut(flags: bytes, is_cut: bool) -> None:
    assert responses.is_truncated(GOOD[:2] + flags + GOOD[4:]) is is_cut


def test_services_hint_at_the_addresses_of_their_names_only() -> None:
    four, six = bytes((192, 0, 2, 1)), bytes(15) + b"\1"
    hints = wire.option_bytes(1, b"\2h2") + wire.option_bytes(4, four * 2) + wire.option_bytes(6, six)
    other = record(SERVICE, b"\0\1\0" + wire.option_bytes(4, b"evil"), b"\5other\0")
    found = parsed(record(SERVICE, b"\0\1\0" + hints), other, record(ADDRESS, bytes(4)))
    assert responses.address_hints(found, {QUESTION[:-4]}) == (four, four, six)
    assert responses.address_hints(parsed(record(ADDRESS, bytes(4))), {QUESTION[:-4]}) == ()


def test_addresses_are_shown_as_text() -> None:
    four, six = bytes((192, 0, 2, 1)), b"\x20\1" + bytes(13) + b"\7"
    found = parsed(record(ALIAS, b"\1c\0"), record(ADDRESS, four), record(ADDRESS_6, six))
    assert list(responses.address_texts(found)) == ["192.0.2.1", "2001::7"]
