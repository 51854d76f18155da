"""Answers of upstreams: read as they are, or malformed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dnslib
import pytest

from hedgerow.dns import responses, wire
from hedgerow.dns.wire import Malformed

from .test_wire import check_only_malformed


def test_a_response_must_answer_the_question_asked() -> None:
    question = b"\x01a\0\0\1\0\1"
    record = dnslib.DNSRecord.question("A.").reply()
    record.add_answer(dnslib.RR("A.", dnslib.QTYPE.A, rdata=dnslib.A("192.0.2.1"), ttl=60))
    packed = record.pack()
    assert responses.parse_response(packed, question).answers[0].ttl == 60
    for wrong in (b"\x01b\0\0\1\0\1", b"\x01a\0\0\x1c\0\1", b"\x01a\0\0\1\0\3"):
        with pytest.raises(Malformed):
            responses.parse_response(packed, wrong)


@pytest.mark.shared
def test_real_and_mutated_packets_are_read_or_malformed(shared_data: Path) -> None:
    lines = (shared_data / "dns" / "fuzz-packets-a.jsonl").read_text().splitlines()
    assert len(lines) == 4877
    read = 0
    for line in lines:
        data = bytes.fromhex(json.loads(line)["hex"])
        check_only_malformed(data)
        read += is_well_formed_response(data)
    assert read > 100  # or the check says nothing about good packets


def is_well_formed_response(data: bytes) -> bool:
    try:
        name, end = wire.read_name(data, 12)
        responses.parse_response(data, name.lower() + data[end : end + 4])
    except Malformed:
        return False
    return True


@pytest.mark.shared
def test_svcb_vectors_of_the_rfc(shared_data: Path) -> None:
    """RFC 9460, appendix D: what is read is all that was written."""
    text = (shared_data / "dns" / "svcb_test_vectors.generic").read_text()
    vectors = re.findall(r"^\\# \d+ \((.*?)^\)", text, re.DOTALL | re.MULTILINE)
    assert len(vectors) >= 5
    for vector in vectors:
        rdata = bytes.fromhex(re.sub(r";.*", "", vector))
        target, params = responses.parse_svcb(rdata)
        assert target + b"".join(wire.option_bytes(key, value) for key, value in params) == rdata
