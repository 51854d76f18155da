"""The ClientHello parser: ClientHellos of a real TLS library and made ones, in any pieces and records."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.proxy.client_hello import (
    MAX_HELLO,
    ClientHello,
    HelloError,
    HelloReader,
    hides_server_name,
    looks_like_tls,
)


def real_hello(
    name: str | None, alpn: list[str] | None = None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> bytes:
    """What OpenSSL says first."""
    context = ssl.create_default_context()
    context.maximum_version = newest
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def server_name(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    return 0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names))


GREASE = (0x3A3A, b"\0")
ECH = (0xFE0D, bytes(200))


def hello_message(extensions: Iterable[tuple[int, bytes]], suites: bytes = b"\x1a\x1a\x13\x01") -> bytes:
    packed = b"".join(kind.to_bytes(2, "big") + vector(2, data) for kind, data in extensions)
    body = b"\x03\x03" + bytes(32) + vector(1, bytes(32)) + vector(2, suites) + vector(1, b"\0") + vector(2, packed)
    return b"\x01" + vector(3, body)


def records(message: bytes, size: int = 16384) -> bytes:
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)


def read(data: bytes, sizes: Iterable[int] = ()) -> ClientHello | str | None:
    reader, position = HelloReader(), 0
    try:
        for size in [*sizes, len(data)]:
            hello = reader.feed(data[position : position + size])
            position += size
            if hello is not None:
                return hello
    except HelloError:
        return "refused"
    return None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            real_hello("www.Example.org", ["h2", "http/1.1"]),
            ClientHello("www.example.org", ("h2", "http/1.1"), ech=False, can_resume=True),
        ),
        (real_hello("bücher.example"), ClientHello("xn--bcher-kva.example", (), ech=False, can_resume=True)),
        (real_hello(None), ClientHello(None, (), ech=False, can_resume=True)),
        (real_hello("old.example", newest=ssl.TLSVersion.TLSv1_2), ClientHello("old.example", (), False)),
        (
            records(hello_message([GREASE, server_name(b"a.example"), (0x4A4A, b"")])),
            ClientHello("a.example", (), False),
        ),
        (records(hello_message([GREASE, server_name(b"a.example"), ECH])), ClientHello("a.example", (), True)),
        (records(hello_message([server_name(b"a.example:8443")])), ClientHello("a.example", (), False)),
        (records(hello_message([])), ClientHello(None, (), False)),
        (records(hello_message([server_name(b"a.example"), (45, b"\x01\0")])), ClientHello("a.example", (), False)),
        (records(hello_message([(45, b"\x02\0\x01")])), ClientHello(None, (), ech=False, can_resume=True)),
        (
            records(hello_message([(21, bytes(60_000)), server_name(b"far.example")])),
            ClientHello("far.example", (), False),
        ),
        (records(b"\x01" + vector(3, hello_message([])[4:-2])), ClientHello(None, (), False)),
    ],
    ids=[
        *[
            "modern",
            "idn",
            "no SNI",
            "TLS 1.2",
            "GREASE",
            "ECH",
            "host and port",
            "empty list",
            "no DHE",
            "resumes",
            "60 kB",
        ],
        "no extensions",
    ],
)
def test_reads(data: bytes, expected: ClientHello) -> None:
    assert read(data) == expected
    assert read(data, [1] * min(len(data), 3000)) == expected
    message = b"".join(_contents(data))
    for size in (1, 7, 100):
        assert read(records(message, size)) == expected


def _contents(data: bytes) -> Iterable[bytes]:
    while data:
        length = int.from_bytes(data[3:5], "big")
        yield data[5 : 5 + length]
        data = data[5 + length :]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x02\x00\x00\x10" + bytes(16),
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff" + bytes(10),
        b"\x15\x03\x01\x00\x02\x02\x28",
        records(b"\x02" + vector(3, bytes(50))),
        records(b"\x01" + (MAX_HELLO + 1).to_bytes(3, "big") + bytes(100)),
        records(hello_message([server_name(b"a.example"), server_name(b"b.example")])),
        records(hello_message([server_name(b"a.example", b"b.example")])),
        records(hello_message([server_name(b"a.example", kind=1)])),
        records(hello_message([server_name(b"a\0.example")])),
        records(hello_message([server_name(b"a .example")])),
        records(hello_message([server_name(b" a.example")])),
        records(hello_message([server_name(b"")])),
        records(hello_message([server_name("é.example".encode())])),
        records(hello_message([(0, b"\x00")])),
        records(hello_message([(16, vector(2, vector(1, b"h2")) + b"x")])),
        records(hello_message([(16, vector(2, b"\x03h2"))])),
        records(hello_message([(16, b"\0")])),
        records(b"\x01" + vector(3, b"\x03\x03" + bytes(32))),
        records(b"\x01" + vector(3, hello_message([])[4:-2] + vector(2, b"\0\x0a"))),
        records(hello_message([], suites=b"\x13")),
        records(hello_message([], suites=b"")),
        records(hello_message([])[:-1] + b"\x05"),
        records(hello_message([server_name(b"a.example")]), 10)[:15] + b"\x17\x03\x03\x00\x01x",
    ],
)
def test_refuses(data: bytes) -> None:
    assert read(data) == "refused"
    assert read(data, [1] * len(data)) == "refused"


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 400), max_size=30),
    st.integers(1, 500),
    st.sampled_from([None, "a.example", "x" * 60 + ".example"]),
)
def test_pieces_and_records_make_no_difference(sizes: list[int], record: int, name: str | None) -> None:
    extensions = [GREASE, (16, vector(2, vector(1, b"h2"))), ECH] + ([server_name(name.encode())] if name else [])
    data = records(hello_message(extensions), record)
    assert read(data, sizes) == ClientHello(name, ("h2",), True)


REAL = real_hello("www.example.org", ["h2"])


@given(st.integers(0, len(REAL) - 1), st.binary(min_size=1, max_size=4), st.lists(st.integers(1, 200), max_size=10))
def test_damaged_hellos_are_read_the_same_in_any_pieces(position: int, damage: bytes, sizes: list[int]) -> None:
    data = REAL[:position] + damage + REAL[position + len(damage) :]
    assert read(data, sizes) == read(data)


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=10))
def test_garbage_is_refused_or_waits(data: bytes, sizes: list[int]) -> None:
    assert read(data, sizes) == read(data)


def test_every_truncation_waits_for_more() -> None:
    assert {read(REAL[:end]) for end in range(len(REAL))} == {None}


@pytest.mark.parametrize(
    ("data", "verdict"), [(b"", None), (b"\x16", None), (b"\x16\x03", True), (b"\x16\x02", False), (b"GET", False)]
)
def test_first_bytes(data: bytes, verdict: bool | None) -> None:
    assert looks_like_tls(data) is verdict


@pytest.mark.parametrize(
    ("sni", "ech", "hides"),
    [
        ("cloudflare-ech.com", True, True),
        ("public.tls-ech.dev", True, True),
        ("news.example", True, False),  # GREASE: nearly every hello of Chromium
        ("notcloudflare-ech.com", True, False),
        ("cloudflare-ech.com", False, False),
        (None, True, False),
    ],
)
def test_hides_server_name(sni: str | None, ech: bool, hides: bool) -> None:
    assert hides_server_name(ClientHello(sni, (), ech)) is hides


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20)), max_size=12), st.data())
def test_a_hello_that_is_cut_or_changed_never_breaks_the_reader(
    extensions: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    """In one piece, which is read the short way, and byte by byte, which is not: the same comes of both."""
    raw = bytearray(records(hello_message(extensions)))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] = data.draw(st.integers(0, 255))
    whole, pieces = read(bytes(raw)), read(bytes(raw), [1] * len(raw))
    assert whole == pieces or (whole == "refused" and pieces is None) or (pieces == "refused" and whole is None)
