"""The question whether a server is a proxy, over HTTP/2: browsers use proxies that speak nothing else for CONNECT
(RFC 9113, section 8.5).
"""

from __future__ import annotations

import asyncio

from hedgerow.hpack_codec import FastDecoder, FastEncoder

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# types and flags of frames (RFC 9113, section 6)
_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4
_ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 4, 8, 0x20
_MOST_OCTETS, _MOST_FRAMES = 1 << 14, 20
TLS_HANDSHAKE = b"\x16\x03"
"""The type and the first byte of the version of a ServerHello's record (RFC 8446, section 5.1)."""


async def is_http2_proxy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: str, opening: bytes
) -> bool:
    """Ask for a tunnel to `place`, and send the `opening` of a handshake if there is one.

    Raises OSError, EOFError, ValueError and `ProtocolError`.
    """
    fields = FastEncoder().encode([(b":method", b"CONNECT"), (b":authority", place.encode())])
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, _END_HEADERS, 1, fields))
    decoder = FastDecoder()
    for _ in range(_MOST_FRAMES):
        kind, flags, stream, payload = await _read_frame(reader)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif stream == 1 and kind == _HEADERS:
            said = dict(decoder.decode_fields(_block(flags, payload)))
            status = said.get(b":status", b"")
            if status == b"407" or said.keys() & {b"proxy-authenticate", b"proxy-agent"}:
                return True
            if b"connect" in said.get(b"allow", b"").lower():
                return True
            if status == b"200":
                writer.write(_frame(_DATA, 0, 1, opening))
            elif not status.startswith(b"1"):
                return False
        elif stream == 1 and kind in (_DATA, _RST_STREAM):
            return kind == _DATA and payload.startswith(TLS_HANDSHAKE)
    return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3])
    if length > _MOST_OCTETS:
        raise ValueError("longer than any frame that was agreed on")
    return head[3], head[4], int.from_bytes(head[5:]) & 0x7FFF_FFFF, await reader.readexactly(length)


def _block(flags: int, payload: bytes) -> bytes:
    """Return the fields of a HEADERS frame without padding and priority. Raises ValueError."""
    if not flags & _END_HEADERS or not payload:
        raise ValueError("no short answer")
    start, end = 0, len(payload)
    if flags & _PADDED:
        start, end = 1, end - payload[0]
    return payload[start + (5 if flags & _PRIORITY else 0) : end]
