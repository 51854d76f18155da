"""Read a TLS ClientHello (RFC 8446, section 4.1.2; RFC 6066 for the server name): bytes in, a `ClientHello` out.

Only what a filter needs is kept. The message may be split over any number of records and segments. Unknown extensions and GREASE
values (RFC 8701) are stepped over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hedgerow.blocklists.names import parse_host

MAX_HELLO = 64 * 1024
_MAX_RECORD = 16 * 1024
_HANDSHAKE = 0x16
_PORT = re.compile(r":[0-9]{1,5}$")  # some clients write host and port here; servers look past it, and so must a filter
_SERVER_NAME, _ALPN = 0, 16
_ENCRYPTED_HELLO = frozenset({0xFE0D, 0xFFCE})  # ECH (RFC 9849) and its forerunner ESNI

_PUBLIC_NAMES = ("cloudflare-ech.com", "tls-ech.dev", "defo.ie")
"""What providers show in place of the host that ECH hides: Cloudflare's, and those of two public tests. The list is not complete."""

ACCESS_DENIED_ALERT = bytes((0x15, 3, 3, 0, 2, 2, 49))
"""A TLS record with the fatal alert access_denied (RFC 8446, section 6.2)."""


class HelloError(Exception):
    """The client's fault: this is not a ClientHello."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says first. `sni` is canonical or None; `ech` says that another hello may be hidden inside (or GREASE is)."""

    sni: str | None
    alpn: tuple[str, ...]
    ech: bool


def hides_behind(hello: ClientHello) -> bool:
    """Whether a name that all sites of a provider share stands where the host’s should. With the real name ECH is but GREASE."""
    return hello.ech and hello.sni is not None and f".{hello.sni}".endswith(_PUBLIC_SUFFIXES)


_PUBLIC_SUFFIXES = tuple(f".{name}" for name in _PUBLIC_NAMES)


def looks_like_tls(data: bytes) -> bool | None:
    """Whether this may be the start of a TLS connection; None while there are too few bytes to say."""
    if not data:
        return None
    if data[0] != _HANDSHAKE:
        return False
    return None if len(data) < 2 else data[1] == 3


class HelloReader:
    """Collects records until the ClientHello is complete. Work is linear in the bytes, however small the pieces are."""

    __slots__ = ("_message", "_records")

    def __init__(self) -> None:
        self._records = bytearray()
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """The hello, or None while bytes are missing. Raises HelloError as soon as no continuation could make it right."""
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
        """Move the contents of whole records into the message; returns how many bytes were used."""
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


class _Fields:
    """Reads the length-prefixed vectors that TLS is made of; running past the end is a HelloError."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self.data):
            raise HelloError("a field of the ClientHello runs past its end")
        part, self.position = self.data[self.position : end], end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    @property
    def left(self) -> bool:
        return self.position < len(self.data)


def _parse(body: bytes) -> ClientHello:
    fields = _Fields(body)
    fields.take(2 + 32)  # legacy_version, random
    if len(fields.vector(1)) > 32:
        raise HelloError("the session id is too long")
    suites = fields.vector(2)
    if not suites or len(suites) % 2 or not fields.vector(1):
        raise HelloError("no cipher suite or compression method is offered")
    extensions = _parse_extensions(fields.vector(2)) if fields.left else {}
    if fields.left:
        raise HelloError("bytes follow the extensions")
    sni = _parse_server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else None
    alpn = _parse_alpn(extensions[_ALPN]) if _ALPN in extensions else ()
    return ClientHello(sni, alpn, not _ENCRYPTED_HELLO.isdisjoint(extensions))


def _parse_extensions(data: bytes) -> dict[int, bytes]:
    fields, extensions = _Fields(data), dict[int, bytes]()
    while fields.left:
        kind = fields.number(2)
        if kind in extensions:
            raise HelloError("an extension stands there twice")
        extensions[kind] = fields.vector(2)
    return extensions


def _parse_server_name(data: bytes) -> str:
    """The one host_name of the list. A name that is none is refused: nothing could judge it."""
    names = _Fields(_whole(data, 2))
    kind, raw = names.number(1), names.vector(2)
    text = _PORT.sub("", raw.decode("ascii", "replace"))
    host = parse_host(text) if kind == 0 and " " not in text else None
    if host is None or names.left:
        raise HelloError("the server name is not one host name")
    return host


def _parse_alpn(data: bytes) -> tuple[str, ...]:
    fields, protocols = _Fields(_whole(data, 2)), list[str]()
    while fields.left:
        protocols.append(fields.vector(1).decode("latin-1"))
    return tuple(protocols)


def _whole(data: bytes, size: int) -> bytes:
    """The vector that fills `data` to its end."""
    fields = _Fields(data)
    vector = fields.vector(size)
    if fields.left:
        raise HelloError("bytes follow a list")
    return vector
