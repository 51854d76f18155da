"""What is an answer to our question for a name, and what is not; the laboratory asks a real responder."""

from __future__ import annotations

from dnslib import PTR, QTYPE, RR, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.network.discovery import parse_mdns_name

ASKED = DNSRecord.question("12.50.168.192.in-addr.arpa", "PTR")
QUESTION = ASKED.pack()


def answer(name: str, *, about: str = "12.50.168.192.in-addr.arpa", same_id: bool = True) -> bytes:
    reply = ASKED.reply() if same_id else DNSRecord.question("12.50.168.192.in-addr.arpa", "PTR").reply()
    reply.add_answer(RR(about, QTYPE.PTR, rdata=PTR(name), ttl=10))
    return bytes(reply.pack())


def test_names() -> None:
    assert parse_mdns_name(answer("lunas-phone.local"), QUESTION) == "lunas-phone"
    assert parse_mdns_name(answer("lunas-phone.lan"), QUESTION) == "", "no name of this protocol"
    assert parse_mdns_name(answer("x.local", about="13.50.168.192.in-addr.arpa"), QUESTION) == "", "about another address"
    other = answer("x.local", same_id=False)
    assert parse_mdns_name(other, QUESTION) == "" or other[:2] == QUESTION[:2]


@given(st.binary(max_size=200))
def test_nonsense_is_no_name(data: bytes) -> None:
    assert parse_mdns_name(QUESTION[:2] + data, QUESTION) == "" or b"local" in data
