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


def record(rtype: bytes, rdata: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + rtype + bytes(4) + len(rdata).to_bytes(2) + rdata


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ([record(ADDRESS, bytes(4))] * 512, [record(ADDRESS, bytes(4))] * 513),
        ([record(ALIAS, b"\1%c\0" % n) for n in range(32)], [record(ALIAS, b"\1%c\0" % n) for n in range(33)]),
        ([record(SERVICE, b"\0\1\0\0\4\4\0" + bytes(1024))], [record(SERVICE, b"\0\1\0\0\4\4\4" + bytes(1028))]),
        ([record(SERVICE, b"\0\1\0\0\5\x1f\0" + bytes(0x1F00))], [record(SERVICE, b"\0\1\0\0\5\x1f\xfa" + bytes(0x1FFA))]),
    ],
)
def test_responses_that_are_slow_to_judge_are_refused(good: list[bytes], bad: list[bytes]) -> None:
    """A stranger's own nameserver chooses these bytes, and each name and address in them is judged while everybody waits."""
    assert len(responses.parse_response(response(good), QUESTION).answers) == len(good)
    with pytest.raises(Malformed):
        responses.parse_response(response(bad), QUESTION)
