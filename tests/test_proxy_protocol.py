"""The header of the PROXY protocol, version 2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hedgerow.proxy_protocol import MAX_OCTETS, ProxyHeader, ProxyProtocolError, parse_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + b"\xd4\x31\0\x35"
SIX = bytes.fromhex("20010db8000000000000000000000007" * 2) + b"\xd4\x31\0\x35"
MAPPED = (bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])) * 2 + b"\xd4\x31\0\x35"


def header(command: int, family: int, body: bytes, size: int | None = None) -> bytes:
    return SIGNATURE + bytes((command, family)) + (len(body) if size is None else size).to_bytes(2) + body


@pytest.mark.parametrize(
    ("data", "client", "size"),
    [
        (header(0x21, 0x11, FOUR), "192.0.2.7", 28),
        (header(0x21, 0x12, FOUR) + b"query", "192.0.2.7", 28),
        (header(0x21, 0x21, SIX), "2001:db8::7", 52),
        (header(0x21, 0x22, MAPPED), "192.0.2.7", 52),
        (header(0x21, 0x11, FOUR + b"\x04\0\x03abc"), "192.0.2.7", 34),  # an extension
        (header(0x20, 0x00, b""), None, 16),  # a health check
        (header(0x20, 0x11, FOUR), None, 28),
        (header(0x21, 0x00, b"\x04\0\x03abc"), None, 22),  # an unknown family
        (header(0x21, 0x31, bytes(216)), None, 232),  # a Unix socket
    ],
)
def test_headers(data: bytes, client: str | None, size: int) -> None:
    assert parse_header(data) == ProxyHeader(client, size)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SIGNATURE,
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 53\r\n",
        header(0x11, 0x11, FOUR),  # version 1
        header(0x22, 0x11, FOUR),  # an unknown command
        header(0x21, 0x11, FOUR)[:-1],
        header(0x21, 0x11, FOUR[:8]),
        header(0x21, 0x21, FOUR),
        header(0x21, 0x11, bytes(MAX_OCTETS)),
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse_header(data)


@given(some.binary(max_size=80), some.integers(0, 255), some.integers(0, 255), some.integers(0, 90))
def test_any_octets_are_a_header_or_an_error(body: bytes, command: int, family: int, size: int) -> None:
    for data in (body, header(command, family, body, size)):
        try:
            assert parse_header(data).size <= len(data)
        except ProxyProtocolError:
            pass
