"""DNS: queries, answers, the transports of HTTP, and multicast answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import hpack
import hyperframe.frame
from aioquic._buffer import Buffer
from aioquic.quic.packet import pull_quic_header
from dnslib import EDNS0, PTR, QTYPE, RR, DNSLabel, DNSRecord, EDNSOption
from h2.exceptions import ProtocolError

from fuzz_targets.target import STREAM, FuzzTarget, Shape, pieces
from hedgerow.dns import wire
from hedgerow.dns.server.doh import read_query
from hedgerow.dns.server.http2_codec import Http2Codec
from hedgerow.dns.server.http_codec import MESSAGE_TYPE, DohRequest, Http1Codec, HttpClientError, HttpCodec
from hedgerow.dns.server.stream import QueryFramer
from hedgerow.dns.upstreams import responses
from hedgerow.frame_budget import FrameBudget
from hedgerow.hpack_codec import FastDecoder
from hedgerow.network import discovery

QUESTION = b"\x03www\x07example\x00\x00\x01\x00\x01"


def dns_query(data: bytes) -> None:
    query = wire.parse_query(data)
    if query.cacheable:
        again = wire.query_of(query.key)
        assert (again.host, again.key) == (query.host, query.key)
    assert query.limit >= 512
    wire.forwarded_mac(data)


def dns_response(data: bytes) -> None:
    """Read an answer whose header and question fit, since anything else is refused at once."""
    message = b"\x00\x01\x81\x80\x00\x01" + data[:6].ljust(6, b"\0") + QUESTION + data[6:]
    response = responses.parse_response(message, QUESTION)
    list(responses.address_texts(response))
    responses.address_hints(response, {QUESTION[:-4]})
    responses.extended_error(response)
    for record in (*response.answers, *response.authority):
        responses.expand_rdata(message, record)


def frame_budget(data: bytes) -> None:
    budget, taken = FrameBudget(), 0
    for number, piece in enumerate(pieces(data)):
        taken += budget.take(piece, number / 10)
    assert 0 <= taken <= len(data)


def doh(make: Callable[[Callable[[bytes], object]], HttpCodec], data: bytes) -> None:
    written = bytearray()
    codec = make(written.extend)
    for number, piece in enumerate(pieces(data)):
        codec.feed(piece)
        requests = codec.receive(number / 10)
        while requests or codec.has_more:
            for request in requests:
                codec.respond(request, 200, [("content-type", "application/dns-message")], bytes(40))
            requests = codec.receive(number / 10)
    assert len(written) < 65536 + 100 * len(data)


def mdns_answer(data: bytes) -> None:
    name = discovery.parse_mdns_name(data[:4096], MDNS_QUERY)  # as much as is received
    assert name == name.lower()


def _answer(*zone: str) -> bytes:
    """Return an answer without its identifier, flags and question: the counts of the other sections, and
    their records.
    """
    made = DNSRecord.question("www.example").reply()
    for line in zone:
        made.add_answer(*RR.fromZone(line))
    made.add_auth(*RR.fromZone("example. 60 IN SOA ns.example. root.example. 1 2 3 4 5"))
    made.add_ar(EDNS0(udp_len=1232, opts=[EDNSOption(15, b"\0\6no")]))
    message = bytes(made.pack())
    return message[6:12] + message[12 + len(QUESTION) :]


def _http2() -> bytes:
    names = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "dns.example"),
        (":path", "/dns-query"),
        ("content-type", "application/dns-message"),
    ]
    head = hyperframe.frame.HeadersFrame(1, hpack.Encoder().encode(names), flags=["END_HEADERS"])
    frames = [
        hyperframe.frame.SettingsFrame(0),
        head,
        hyperframe.frame.DataFrame(1, bytes(30), flags=["END_STREAM"]),
        hyperframe.frame.PingFrame(0, b"12345678"),
        hyperframe.frame.RstStreamFrame(1),
    ]
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frame.serialize() for frame in frames)


MDNS_QUERY = DNSRecord.question("7.2.0.192.in-addr.arpa", "PTR").pack()


def _mdns_answer() -> bytes:
    answer = DNSRecord.parse(MDNS_QUERY).reply()
    answer.add_answer(RR(DNSLabel("7.2.0.192.in-addr.arpa"), QTYPE.PTR, rdata=PTR("Tablet.local"), ttl=10))
    return bytes(answer.pack())


def dns_stream(data: bytes) -> None:
    framer = QueryFramer()
    for piece in pieces(data):
        framer.feed(piece)
        while (query := framer.next_query()) is not None:
            assert len(query) <= len(data)


def doh_request(data: bytes) -> None:
    """Read the query of a request, whose path the octets are."""
    read_query(DohRequest(1, "GET", data.decode("latin-1"), MESSAGE_TYPE))
    read_query(DohRequest(1, "POST", "/dns-query", MESSAGE_TYPE, bytearray(data)))


def quic_header(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        pull_quic_header(Buffer(data=data[:0xFFFF]), host_cid_length=8)


TARGETS: dict[str, FuzzTarget] = {
    "dns-query": FuzzTarget(
        dns_query,
        (
            bytes(DNSRecord.question("www.example", "AAAA").pack()),
            b"\0\1\1\0\0\1\0\0\0\0\0\1\0\0\2\0\1\0\0\x29\4\xd0\0\0\x80\0\0\x0a\xfd\xe9\0\6\0\0\x5e\0\x53\1",
        ),
        (wire.Malformed,),
    ),
    "dns-response": FuzzTarget(
        dns_response,
        (
            _answer("www.example. 60 IN CNAME a.example.", "a.example. 60 IN A 192.0.2.1"),
            _answer("www.example. 60 IN HTTPS 1 . alpn=h2"),
        ),
        (wire.Malformed,),
    ),
    "frame-budget": FuzzTarget(frame_budget, (STREAM + _http2(),)),
    "doh-http1": FuzzTarget(
        lambda data: doh(Http1Codec, data),
        (
            STREAM + b"GET /dns-query?dns=AAAB HTTP/1.1\r\nHost: x\r\n\r\nPOST /dns-query HTTP/1.1\r\nHost:"
            b" x\r\nContent-Length: 3\r\n\r\nabc",
        ),
        (HttpClientError,),
    ),
    "doh-http2": FuzzTarget(lambda data: doh(Http2Codec, data), (STREAM + _http2(),), (HttpClientError,)),
    "hpack": FuzzTarget(
        lambda data: FastDecoder().decode_fields(data),
        (hpack.Encoder().encode([(":method", "GET"), (":path", "/x"), ("accept", "text/html"), ("cookie", "a=b")]),),
        (ProtocolError,),
        grown=(Shape(b"", b"\x20", b"\x82"), Shape(b"", b"\x40\x01a\x01b", b""), Shape(b"", b"\x00\x00\x00", b"")),
    ),
    "dns-stream": FuzzTarget(
        dns_stream,
        (STREAM + b"\0\x1d\0\1\1\0\0\1\0\0\0\0\0\0" + QUESTION + b"\0\2",),
        grown=(Shape(b"\0", b"\0\0", b""),),
    ),
    "doh-request": FuzzTarget(
        doh_request, (b"/dns-query?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlAAABAAE&x=%20", b"/mia/dns-query")
    ),
    "quic-header": FuzzTarget(quic_header, (b"\xc0\0\0\0\1\x08abcdefgh\x08abcdefgh\0\x41\0" + bytes(64),)),
    "mdns-answer": FuzzTarget(mdns_answer, (_mdns_answer(),)),
}
