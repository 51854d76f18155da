"""Options that answers carry by transport: padding over encrypted ones, and how long an idle connection is
kept open.
"""

from __future__ import annotations

import asyncio

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_internet import SmallInternet

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import PADDING_BLOCK, pad, wants_padding
from hedgerow.policies.model import Decision, Reason, Verdict

from .conftest import running

COOKIE, PADDING = dnslib.EDNSOption(10, b"12345678"), dnslib.EDNSOption(12, bytes(31))


def query(*options: dnslib.EDNSOption, edns: bool = True, name: str = "casino.example") -> bytes:
    question = dnslib.DNSRecord.question(name)
    question.header.id = 7  # the same in each process that collects these tests
    if edns:
        question.add_ar(dnslib.EDNS0(udp_len=1232, opts=list(options)))
    return bytes(question.pack())


def answer(data: bytes, what: str = "gambling") -> bytes:
    asked = wire.parse_query(data, "dot")
    return answers.message(asked, answers.blocked(asked, Decision(Verdict.BLOCK, Reason.CATEGORY, what)))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (query(PADDING), True),
        (query(COOKIE, PADDING), True),
        (query(dnslib.EDNSOption(12, b"")), True),
        (query(COOKIE), False),
        (query(), False),
        (query(edns=False), False),
        (query(dnslib.EDNSOption(10, b"\0\x0c\0\x04abcd")), False),
    ],
)
def test_padding_is_detected(data: bytes, wanted: bool) -> None:
    assert wants_padding(data) is wanted


def test_a_reverse_look_up_without_edns_wants_no_padding() -> None:
    """Its type is the number of the option."""
    assert not wants_padding(bytes(dnslib.DNSRecord.question("7.2.0.192.in-addr.arpa", "PTR").pack()))


@given(st.binary(max_size=100))
def test_junk_raises_nothing(data: bytes) -> None:
    wants_padding(data)
    pad(data)


@pytest.mark.parametrize("size", range(1, 60))
def test_padding_keeps_the_answer(size: int) -> None:
    """The text of an extended error may look like the beginning of an OPT record."""
    plain = answer(query(PADDING), "x" * size)
    longer = pad(plain)
    assert len(longer) % PADDING_BLOCK == 0
    before, after = dnslib.DNSRecord.parse(plain), dnslib.DNSRecord.parse(longer)
    assert after.rr == before.rr
    options = [(option.code, option.data) for rr in after.ar for option in rr.rdata]
    assert options[:-1] == [(option.code, option.data) for rr in before.ar for option in rr.rdata]
    assert options[-1][0] == 12
    assert not any(options[-1][1])


def test_answer_without_room_is_not_padded() -> None:
    without = answer(query(edns=False))
    assert pad(without) == without
    full = b"\xff" * 65_510 + wire.opt_bytes(0, dnssec=False)
    assert pad(full) == full


@pytest.mark.parametrize(("transport", "is_padded"), [("dot", True), ("doh", True), ("doq", True), ("tcp", False)])
@pytest.mark.parametrize("name", ["adult.example", "news.example"])
def test_only_encrypted_transports_are_padded(
    internet: SmallInternet, transport: str, is_padded: bool, name: str
) -> None:
    """The answer may come at once, later, or from the cache."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            here = server.server.responder
            for options, wanted in (((PADDING,), is_padded), ((PADDING,), is_padded), ((), False)):
                known = here.client_for("127.0.0.1", "127.0.0.1", b"")
                assert known is not None
                later: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
                message = here.answer(known, query(*options, name=name), transport, later.set_result)
                if not isinstance(message, bytes):
                    message = await later
                assert message is not None
                assert (len(message) % PADDING_BLOCK == 0) is wanted
                assert len(dnslib.DNSRecord.parse(message).rr) == 1

    asyncio.run(main())


KEEPALIVE = dnslib.EDNSOption(11, b"")


@pytest.mark.parametrize(
    ("options", "seconds", "told"),
    [
        ((KEEPALIVE,), 15.0, True),
        ((COOKIE, KEEPALIVE), 15.0, True),
        ((KEEPALIVE, PADDING), 15.0, True),
        ((KEEPALIVE,), 0.0, False),  # over a transport where it must not be sent
        ((dnslib.EDNSOption(11, b"\0\1"),), 15.0, False),  # a client has no value to give
        ((COOKIE,), 15.0, False),
        ((dnslib.EDNSOption(10, b"\0\x0b\0\0abcd"),), 15.0, False),
    ],
)
@pytest.mark.parametrize("name", ["adult.example", "news.example"])
def test_idle_time_is_told_to_clients_that_ask(
    internet: SmallInternet, options: tuple[dnslib.EDNSOption, ...], seconds: float, told: bool, name: str
) -> None:
    """RFC 7828. The answer may come at once, later, or from the cache."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            here = server.server.responder
            for _ in range(2):
                known = here.client_for("127.0.0.1", "127.0.0.1", b"")
                assert known is not None
                later: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
                message = here.answer(known, query(*options, name=name), "dot", later.set_result, seconds)
                if not isinstance(message, bytes):
                    message = await later
                assert message is not None
                found = [
                    bytes(option.data)
                    for rr in dnslib.DNSRecord.parse(message).ar
                    for option in rr.rdata
                    if option.code == 11
                ]
                assert found == ([b"\0\x96"] if told else [])
                assert len(message) % PADDING_BLOCK == 0 or PADDING not in options

    asyncio.run(main())
