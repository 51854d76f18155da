"""Parser of the TLS ClientHello (RFC 8446, section 4.1.2; RFC 6066 for the server name). Pure.

Only what a filter needs is kept. The message may be split over any number of records and segments. Unknown extensions
and GREASE values (RFC 8701) are skipped.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache

from hedgerow.blocklists.names import parse_host
from hedgerow.values import value_dataclass

MAX_HELLO = 64 * 1024
_MAX_RECORD = 16 * 1024
_HANDSHAKE = 0x16
_PORT = re.compile(r":[0-9]{1,5}$")  # some clients add the port to the name; servers ignore it, and so must a filter
_SERVER_NAME, _ALPN, _PSK_MODES = 0, 16, 45
_PSK_DHE_KE = 1  # RFC 8446, section 4.2.9
_ENCRYPTED_HELLO = frozenset({0xFE0D, 0xFFCE})  # ECH (RFC 9849) and its forerunner ESNI
_read_header = struct.Struct("!HH").unpack_from  # an extension's type and length

_PUBLIC_NAMES = ("cloudflare-ech.com", "tls-ech.dev", "defo.ie")
"""Public names of ECH providers: Cloudflare's, and those of two public tests. The list is not complete."""

ACCESS_DENIED_ALERT = bytes((0x15, 3, 3, 0, 2, 2, 49))
"""A TLS record with the fatal alert access_denied (RFC 8446, section 6.2)."""

NO_PROTOCOL_ALERT = bytes((0x15, 3, 3, 0, 2, 2, 120))
"""A TLS record with the fatal alert no_application_protocol (RFC 7301, section 3.2)."""


class HelloError(Exception):
    """The client's fault: this is not a ClientHello."""


@value_dataclass(frozen=True, slots=True)
class ClientHello:
    """The fields that a filter needs.

    `sni` is canonical or None. `ech`: another ClientHello may be encrypted inside, or GREASE.

    `can_resume`: the client can use a ticket of TLS 1.3.
    """

    sni: str | None
    alpn: tuple[str, ...]
    ech: bool
    can_resume: bool = False


def hides_server_name(hello: ClientHello) -> bool:
    """Return True if the SNI is a name that all sites of an ECH provider share.

    With a real name in the SNI, ECH is only GREASE.
    """
    return hello.ech and hello.sni is not None and f".{hello.sni}".endswith(_PUBLIC_SUFFIXES)


_PUBLIC_SUFFIXES = tuple(f".{name}" for name in _PUBLIC_NAMES)


def looks_like_tls(data: bytes) -> bool | None:
    """Return True if this may be the start of a TLS connection, or None while there are too few bytes."""
    if not data:
        return None
    if data[0] != _HANDSHAKE:
        return False
    return None if len(data) < 2 else data[1] == 3


@dataclass(slots=True, eq=False, repr=False)
class HelloReader:
    """Reader of records until the ClientHello is complete.

    The work is linear in the bytes, however small the pieces.
    """

    _records: bytearray = field(default_factory=bytearray)
    _message: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> ClientHello | None:
        """Return the ClientHello, or None while bytes are missing.

        Raises HelloError as soon as no continuation could be valid.
        """
        if not self._records and not self._message and len(data) > 9 and data[:2] == b"\x16\x03" and data[5] == 1:
            length = data[3] << 8 | data[4]
            if len(data) >= 5 + length and 4 + int.from_bytes(data[6:9], "big") == length <= _MAX_RECORD:
                return _parse(data[9 : 5 + length])  # the usual case: one record in one piece
        self._records += data
        position = self._take_records()
        del self._records[:position]
        message = self._message
        if message and message[0] != 1:
            raise HelloError("the first message is not a ClientHello")
        if len(message) < 4:
            return None
        length = int.from_bytes(message[1:4], "big")
        if length > MAX_HELLO:
            raise HelloError("the ClientHello is too long")
        return None if len(message) < 4 + length else _parse(bytes(message[4 : 4 + length]))

    def _take_records(self) -> int:
        """Move the contents of whole records into the message; returns the number of bytes used."""
        records, position = self._records, 0
        while len(records) >= position + 5 and len(self._message) <= MAX_HELLO + 4:
            length = int.from_bytes(records[position + 3 : position + 5], "big")
            if records[position] != _HANDSHAKE or records[position + 1] != 3 or not 0 < length <= _MAX_RECORD:
                raise HelloError("this is not a TLS handshake record")
            if len(records) < position + 5 + length:
                break
            self._message += records[position + 5 : position + 5 + length]
            position += 5 + length
        if records and position == 0 and records[0] != _HANDSHAKE:
            raise HelloError("this is not TLS")
        return position


def _parse(body: bytes) -> ClientHello:
    """Parse the message without its header. Written out by hand, since this runs for every tunnel."""
    try:
        position = 35 + body[34]  # legacy_version, random and session id
        suites = body[position] << 8 | body[position + 1]
        position += 2 + suites
        methods = body[position]
        position += 1 + methods
        if body[34] > 32 or not suites or suites % 2 or not methods or position > len(body):
            raise HelloError("the session id, cipher suites or compression methods are malformed")
        if position == len(body):
            return ClientHello(None, (), False)
        if position + 2 + (body[position] << 8 | body[position + 1]) != len(body):
            raise HelloError("the extensions do not end with the message")
        return _read_extensions(body, position + 2)
    except (IndexError, struct.error):
        raise HelloError("a field of the ClientHello runs past its end") from None


def _read_extensions(body: bytes, position: int) -> ClientHello:
    """Parse the extensions from `position` to the end. Raises HelloError or struct.error."""
    places, count, end = dict[int, int](), 0, len(body)
    while position < end:
        kind, length = _read_header(body, position)
        places[kind] = position
        position += 4 + length
        count += 1
    if position > end or len(places) < count:
        raise HelloError("an extension runs past the end or occurs twice")
    return ClientHello(
        _parse_server_name(_content(body, places[_SERVER_NAME])) if _SERVER_NAME in places else None,
        _parse_alpn(_content(body, places[_ALPN])) if _ALPN in places else (),
        not _ENCRYPTED_HELLO.isdisjoint(places),
        _PSK_MODES in places and _PSK_DHE_KE in _content(body, places[_PSK_MODES])[1:],
    )


def _content(body: bytes, position: int) -> bytes:
    """Return the content of the extension at `position`."""
    return body[position + 4 : position + 4 + (body[position + 2] << 8 | body[position + 3])]


@lru_cache(4096)
def _parse_server_name(data: bytes) -> str:
    """Return the only host_name of the list.

    Anything that is not a host name is refused, since nothing could judge it.
    """
    if (
        len(data) < 5
        or data[2]
        or int.from_bytes(data[:2], "big") != len(data) - 2
        or int.from_bytes(data[3:5], "big") != len(data) - 5
    ):
        raise HelloError("the server name is not one host name")
    text = _PORT.sub("", data[5:].decode("ascii", "replace"))
    host = parse_host(text) if " " not in text else None
    if host is None:
        raise HelloError("the server name is not one host name")
    return host


@lru_cache(256)
def _parse_alpn(data: bytes) -> tuple[str, ...]:
    if len(data) < 2 or int.from_bytes(data[:2], "big") != len(data) - 2:
        raise HelloError("the ALPN list does not have its stated length")
    position, protocols = 2, list[str]()
    while position < len(data):
        end = position + 1 + data[position]
        if end > len(data):
            raise HelloError("an ALPN protocol runs past the end")
        protocols.append(data[position + 1 : end].decode("latin-1"))
        position = end
    return tuple(protocols)
