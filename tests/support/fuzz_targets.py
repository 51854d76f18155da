"""Parsers that meet strangers' bytes, each as a function of bytes for a fuzzer, with seeds.

A target must return, or raise one of its declared errors, which is how it refuses. Anything else is a finding: another exception, a failed
assertion, or more time or memory than the fuzzer's limits.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hpack
import hyperframe.frame
from dnslib import EDNS0, PTR, QTYPE, RR, DNSLabel, DNSRecord, EDNSOption

from hedgerow.app.control.rdap import parse_bootstrap, parse_registration
from hedgerow.blocklists import archives, formats
from hedgerow.blocklists.decompression import UnpackError
from hedgerow.blocklists.names import parse_host
from hedgerow.dns import wire
from hedgerow.dns.server.doh3 import ControlReader, Http3Error, frame, parse_request
from hedgerow.dns.server.http2_codec import Http2Codec
from hedgerow.dns.server.http_codec import Http1Codec, HttpClientError, HttpCodec
from hedgerow.dns.upstreams import responses
from hedgerow.frame_budget import FrameBudget
from hedgerow.network import discovery, radius
from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision
from hedgerow.policies.reading.holidays import days_of_calendar
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.proxy import http_head, page_forms
from hedgerow.proxy.client_hello import ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.pages.translations import choose_language
from hedgerow.proxy.scanners import pictures
from hedgerow.proxy.scanners.body import BodyScan
from hedgerow.proxy.scanners.page_text import PageFacts, PageLabel, TextDecoder, TextExtractor, detect_charset
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.words import PhraseMatcher, parse_phrases
from hedgerow.proxy.sign_in import parse_basic

QUESTION = b"\x03www\x07example\x00\x00\x01\x00\x01"
PIECES = (1, 7, 64, 1 << 20)
"""Sizes of the pieces in which a stream arrives."""


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """A parser under test. `refuses` are the errors that it declares, `seeds` are inputs to start from."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refuses: tuple[type[BaseException], ...] = ()

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(*self.refuses):
            self.run(data)


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut a stream into pieces. The first octet chooses their size, so that a fuzzer tries all sizes."""
    size = PIECES[data[0] % len(PIECES)] if data else 1
    for start in range(1, len(data), size):
        yield data[start : start + size]


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


def http_request(data: bytes) -> None:
    reader = http_head.HeadReader()
    head = next((found for piece in pieces(data) if (found := reader.feed(piece)) is not None), None)
    if head is not None:
        target = http_head.parse_target(head.target)
        sent = http_head.forward_head(head, target.path, str(target.authority))
        assert sent.endswith(b"\r\n\r\n")
        assert b"\r\n\r\n" not in sent[:-4]


def client_hello(data: bytes) -> None:
    reader = HelloReader()
    for piece in pieces(data):
        looks_like_tls(piece)
        if (hello := reader.feed(piece)) is not None:
            assert isinstance(hello, ClientHello)
            return


def frame_budget(data: bytes) -> None:
    budget, taken = FrameBudget(), 0
    for number, piece in enumerate(pieces(data)):
        taken += budget.take(piece, number / 10)
    assert 0 <= taken <= len(data)


def doh3(data: bytes) -> None:
    """The first octet chooses a request or a unidirectional stream."""
    if data[:1] == b"\0":
        parse_request(0, data[1:])
        return
    reader = ControlReader()
    for at in range(1, len(data), 7):
        reader.feed(2, data[at : at + 7], ends=False)


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


def scanned_body(data: bytes) -> None:
    """Scan a body. Its first octets choose the content coding and the media type."""
    first = data[:2].ljust(2, b"\0")
    coding = ("", "gzip", "br", "zstd", "deflate", "gzip, br")[first[0] % 6]
    media = ("text/html", "application/octet-stream", "application/zip", "text/xml", "", "application/msword")[first[1] % 6]
    rules = ScanRules(ContentRules(page_limit=50, files=("executables", "archives", "torrents", "macros"), everywhere=True))
    scan = BodyScan(Head("https://a.example/x", media, encoding=coding, is_document=True), rules, in_worker=True)
    for start in range(2, len(data), 4096):
        scan.feed(data[start : start + 4096])
        while scan.is_busy:
            scan.go_on()
    scan.end()
    assert scan.refusal is None or isinstance(scan.refusal, Decision)


def page_text(data: bytes) -> None:
    facts = PageFacts()
    decoder, extractor = TextDecoder(detect_charset(data[:1024], "")), TextExtractor(facts)
    length = 0
    for piece in pieces(data):
        length += len(extractor.feed(decoder.feed(piece)))
    length += len(extractor.feed(decoder.feed(b"", last=True), last=True))
    assert length <= 20 * len(data) + 64
    assert len(facts.description) <= 20_000
    assert facts.label in PageLabel


def picture(data: bytes) -> None:
    """Read a picture up to what the network gets. Whatever Pillow raises refuses it, as the scanner's process does."""
    try:
        frames = list(pictures.frames_of(data))
    except Exception:
        return
    assert len(frames) <= 3
    for each in frames:
        assert (each.mode, each.size) == ("RGB", (256, 256))
        look = pictures.Look(each)
        assert look.is_like(look)


def phrase_list(data: bytes) -> None:
    phrases, _problems = parse_phrases(data.decode("utf-8", "replace"), "fuzz")
    if phrases:
        PhraseMatcher(phrases).find("a page with text")


def list_lines(data: bytes) -> None:
    lines = data.decode("utf-8", "replace").splitlines()
    formats.detect(lines)
    for name in (*(known.name for known in formats.FORMATS), "urls", "expressions"):
        known = formats.format_named(name)
        assert known is not None
        parsed = known.parse(lines, 1, "fuzz")
        assert all(parse_host(host) == host for host in parsed.hosts), (name, parsed.hosts)


def list_archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        packed, text = Path(folder, "packed"), Path(folder, "text")
        packed.write_bytes(data)
        archives.unpack(packed, text)
        assert text.stat().st_size <= archives.MIN_CHECKED_BYTES + archives.MAX_RATIO * len(data)


def registration(data: bytes) -> None:
    day = parse_registration(data, "example.net", 20_000)
    assert day is None or 0 < day <= 20_001


def calendar(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for _day in days_of_calendar(Path(file.name)):
            pass


def mdns_answer(data: bytes) -> None:
    name = discovery.parse_mdns_name(data, MDNS_QUERY)
    assert name == name.lower()


def leases(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (discovery.parse_dnsmasq, discovery.parse_isc, discovery.parse_kea):
        parse(text)


def radius_report(data: bytes) -> None:
    head = b"\x04\x01" + (20 + len(data)).to_bytes(2)
    radius.parse_accounting(head + hashlib.md5(head + bytes(16) + data + b"secret").digest() + data, b"secret")


def block_page_forms(data: bytes) -> None:
    url, note = page_forms.parse_ask_form(data, "a.example", "https://a.example/")
    assert parse_host(urlsplit(url).hostname or "") == "a.example"
    assert note.isprintable()
    page_forms.accepts_ticket(b"k" * 32, page_forms.read_ticket(data), "a.example", "mia", 0.0)  # type: ignore[arg-type]
    page_forms.parse_code(data)
    text = data.decode("latin-1")
    page_forms.parse_poll_count(text)
    choose_language(text)
    parse_basic(text)


def host_name(data: bytes) -> None:
    host = parse_host(data.decode("utf-8", "replace"))
    assert host is None or parse_host(host) == host


def policy_file(data: bytes) -> None:
    parse_policy(data, None)


def _answer(*zone: str) -> bytes:
    """Return an answer without its identifier, flags and question: the counts of the other sections, and their records."""
    made = DNSRecord.question("www.example").reply()
    for line in zone:
        made.add_answer(*RR.fromZone(line))
    made.add_auth(*RR.fromZone("example. 60 IN SOA ns.example. root.example. 1 2 3 4 5"))
    made.add_ar(EDNS0(udp_len=1232, opts=[EDNSOption(15, b"\0\6no")]))
    message = bytes(made.pack())
    return message[6:12] + message[12 + len(QUESTION) :]


def _hello(name: str) -> bytes:
    host = name.encode()
    server_name = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    extensions = struct.pack("!HH", 0, len(server_name)) + server_name + b"\x00\x10\x00\x05\x00\x03\x02h2"
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\x00\x02\x13\x01" + b"\x01\0" + struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


def _http2() -> bytes:
    names = [(":method", "POST"), (":scheme", "https"), (":authority", "dns.example"), (":path", "/dns-query"),
             ("content-type", "application/dns-message")]  # fmt: skip
    head = hyperframe.frame.HeadersFrame(1, hpack.Encoder().encode(names), flags=["END_HEADERS"])
    frames = [hyperframe.frame.SettingsFrame(0), head, hyperframe.frame.DataFrame(1, bytes(30), flags=["END_STREAM"]),
              hyperframe.frame.PingFrame(0, b"12345678"), hyperframe.frame.RstStreamFrame(1)]  # fmt: skip
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frame.serialize() for frame in frames)


def _pictures() -> Iterator[bytes]:
    """Yield a picture of each format that Pillow writes here, two of them moving, one turned, one clear."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    shades = [Image.linear_gradient("L").resize((120, 100)).rotate(90 * turn).convert("RGB") for turn in range(3)]
    clear = shades[0].convert("RGBA")
    clear.putalpha(shades[1].convert("L"))
    moving = {"save_all": True, "append_images": shades[1:], "duration": 50}
    written: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("JPEG", shades[0], {"exif": exif, "progressive": True}), ("PNG", clear, {}), ("PNG", shades[0].convert("P"), {"transparency": 3}),
        ("GIF", shades[0], moving), ("WEBP", shades[0], moving), ("AVIF", clear, {}), ("BMP", shades[0], {}),
    )  # fmt: skip
    for name, image, options in written:
        out = io.BytesIO()
        with contextlib.suppress(KeyError, OSError):  # a format that this Pillow can't write
            image.save(out, name, **options)
            yield out.getvalue()


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml", '<Types><Default ContentType="application/vnd.ms-word.document.macroEnabled.main+xml"/></Types>'
        )
        archive.writestr("adult/domains", "a.example\n")
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        content = b"a.example\nb.example\n"
        member = tarfile.TarInfo("adult/domains")
        member.size, member.pax_headers = len(content), {"comment": "x" * 50}
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


_LISTS = (
    b"# hosts\n0.0.0.0 a.example\n127.0.0.1 b.example c.example\n",
    b"[Adblock Plus 2.0]\n||a.example^$third-party,domain=b.example\n@@||c.example/x*y|\n/ads[0-9]+/$dnstype=A\n"
    b"||d.example^$dnsrewrite=NOERROR;A;1.2.3.4\n",
    b"address=/a.example/0.0.0.0\nserver=/b.example/\nlocal=/c.example/\n",
    b'local-zone: "a.example" always_nxdomain\nlocal-data: "b.example A 0.0.0.0"\n',
    b"$TTL 60\n@ SOA localhost. root.localhost. 1 1 1 1 1\na.example CNAME .\n*.b.example CNAME .\n32.4.3.2.1.rpz-ip CNAME .\n",
    b"full:a.example @ads\nregexp:^b[0-9]+\\.example$\nkeyword:casino\ninclude:other\n",
    b"1.2.3.4\n10.0.0.0/8\n2001:db8::/32\n1.1.1.1-1.1.1.9\n",
    b"*.a.example\nb.example\n(^|\\.)c\\.example$\n",
)
_REGISTRATION = (
    b'{"objectClassName":"domain","ldhName":"EXAMPLE.net",'
    b'"events":[{"eventAction":"registration","eventDate":"2015-05-03T10:20:30.5+02:00"}]}'
)
_CALENDAR = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20261224\r\nDTEND;VALUE=DATE:20261227\r\n"
    b"RRULE:FREQ=YEARLY;COUNT=3\r\nSUMMARY:Holidays\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
_PAGE = (
    "<html><head><meta charset=utf-8><title>x</title><style>a{}</style></head><body>Win m&#111;ney &amp; caſino ﷺ</body></html>".encode()
)
_POLICY = (
    b"network: {lan: [192.0.2.0/24], timezone: Europe/Lisbon, country: PT}\n"
    b"people:\n  mia: {age: 9, devices: [tablet], bedtime: {school-nights: '20:30-07:00'}"
    b", block: [roblox, 'a.example/x'], allow: [b.example]}\n"
    b"devices:\n  tablet: {mac: '00:00:5e:00:53:01'}\n"
)
_STREAM = b"\2"  # the pieces' size
MDNS_QUERY = DNSRecord.question("7.2.0.192.in-addr.arpa", "PTR").pack()


def _mdns_answer() -> bytes:
    answer = DNSRecord.parse(MDNS_QUERY).reply()
    answer.add_answer(RR(DNSLabel("7.2.0.192.in-addr.arpa"), QTYPE.PTR, rdata=PTR("Tablet.local"), ttl=10))
    return bytes(answer.pack())


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
        (_answer("www.example. 60 IN CNAME a.example.", "a.example. 60 IN A 192.0.2.1"), _answer("www.example. 60 IN HTTPS 1 . alpn=h2")),
        (wire.Malformed,),
    ),
    "http-request": FuzzTarget(
        http_request,
        (_STREAM + b"GET http://a.example:8080/x?y HTTP/1.1\r\nHost: a.example\r\nTE: x\r\nContent-Length: 0\r\n\r\n",),
        (http_head.HeadError,),
    ),
    "client-hello": FuzzTarget(client_hello, (_STREAM + _hello("www.a.example"),), (HelloError,)),
    "radius": FuzzTarget(radius_report, (b"\x28\6\0\0\0\1\1\5mia\x08\6\x0a\0\0\1\x1f\x1302-00-5E-00-53-01",), (ValueError,)),
    "frame-budget": FuzzTarget(frame_budget, (_STREAM + _http2(),)),
    "doh-http1": FuzzTarget(
        lambda data: doh(Http1Codec, data),
        (
            _STREAM
            + b"GET /dns-query?dns=AAAB HTTP/1.1\r\nHost: x\r\n\r\nPOST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        ),
        (HttpClientError,),
    ),
    "doh-http2": FuzzTarget(lambda data: doh(Http2Codec, data), (_STREAM + _http2(),), (HttpClientError,)),
    "doh-http3": FuzzTarget(
        doh3,
        (
            b"\0" + frame(1, b"\0\0\xd1\xd7\x51\x02/x\x50\x01h") + frame(0x21, b"grease") + frame(0, b"body"),
            b"\1\0" + frame(4, b"\6\x60\0") + frame(0x0D, b"\1"),
        ),
        (Http3Error,),
    ),
    "body": FuzzTarget(
        scanned_body,
        (
            b"\0\0" + _PAGE,
            b"\1\0" + gzip.compress(_PAGE),
            b"\0\2" + _zip(),
            b"\0\5\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            b"\0\1MZ" + bytes(80),
        ),
    ),
    "page-text": FuzzTarget(page_text, (_STREAM + _PAGE,)),
    "phrase-list": FuzzTarget(phrase_list, (b"#listcategory: 'x'\n< casino ><20>\n<win>,<money><-30>\n.Include<x>\n",)),
    "list-lines": FuzzTarget(list_lines, _LISTS),
    "list-archive": FuzzTarget(list_archive, (_zip(), _tar(), gzip.compress(_LISTS[0])), (UnpackError,)),
    "calendar": FuzzTarget(calendar, (_CALENDAR,), (ValueError,)),
    "registration": FuzzTarget(registration, (_REGISTRATION,), (ValueError,)),
    "rdap-servers": FuzzTarget(parse_bootstrap, (b'{"services": [[["net"], ["https://rdap.example/"]]]}',), (ValueError,)),
    "mdns-answer": FuzzTarget(mdns_answer, (_mdns_answer(),)),
    "leases": FuzzTarget(
        leases,
        (
            b"1790000000 00:00:5e:00:53:01 192.0.2.7 tablet 01:00\nduid 00:01\n",
            b'lease 192.0.2.7 { ends 4 2026/11/26 10:00:00; hardware ethernet 00:00:5e:00:53:01; client-hostname "tablet"; }',
            b"address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state\n192.0.2.7,00:00:5e:00:53:01,,3600,1790000000,1,0,0,tablet,0\n",
        ),
    ),
    "block-page-forms": FuzzTarget(
        block_page_forms,
        (
            b"url=https%3A%2F%2Fa.example%2Fx&note=please&ticket=1790000000-abc&code=1234&times=3",
            b"Basic bWlhOnB3",
            b"pt-BR,pt;q=0.9,*;q=0.1",
        ),
    ),
    "host-name": FuzzTarget(host_name, (b"WWW.b\xc3\xbccher.example.", b"xn--bcher-kva.example", b"[2001:db8::1]", b"192.0.2.1")),
    "policy-file": FuzzTarget(policy_file, (_POLICY,), (PolicyError,)),
}
"""The targets by name; `picture` only where the extra `pictures` is installed."""
if find_spec("PIL") is not None:
    TARGETS["picture"] = FuzzTarget(picture, tuple(_pictures()))
