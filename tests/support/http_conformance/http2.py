"""Cases of HTTP/2 and HPACK from a client's side, after the sections of RFC 9113 and RFC 7541 that h2spec also follows.

A connection error passes with GOAWAY or a closed connection, a stream error with RST_STREAM or one of these, each with
a code that the RFC allows where there is one.
"""

from __future__ import annotations

import contextlib
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from http_conformance.messages import HELLO
from http_conformance.outcome import Outcome
from http_conformance.proxies import Proxy
from http_conformance.wire import ByteOrigin, inspected

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
PROTOCOL_ERROR, INTERNAL, FLOW_CONTROL, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
CALM, INADEQUATE = 11, 12
SECONDS = 10.0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def block(host: str, *more: tuple[str, str], drop: str = "", method: str = "GET", path: str = "/a") -> bytes:
    """A header block that leaves the decoder's table as it was."""
    fields = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
    fields = [each for each in fields if each[0] != drop]
    encoder = Encoder()
    return encoder.encode([*fields, *more], huffman=False)


def literal(name: bytes, value: bytes) -> bytes:
    """A literal field without indexing, in whose octets nothing is corrected."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


@dataclass(slots=True)
class Seen:
    """What a client saw."""

    goaway: int | None = None  # the code of the first one
    resets: dict[int, int] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    pongs: list[bytes] = field(default_factory=list)
    acknowledged: int = 0
    is_closed: bool = False

    def __str__(self) -> str:
        parts = [
            f"GOAWAY {self.goaway}" if self.goaway is not None else "",
            f"RST_STREAM {self.resets}" if self.resets else "",
        ]
        parts += [f"status {self.statuses}" if self.statuses else "", "closed" if self.is_closed else ""]
        return ", ".join(each for each in parts if each) or "nothing"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`kind` is connection, stream, answer, limit, pong or settings; `codes` are those that are allowed."""

    kind: str
    codes: tuple[int, ...] = ()
    stream: int = 1

    def is_met(self, seen: Seen) -> bool:
        match self.kind:
            case "connection":
                return seen.is_closed if seen.goaway is None else seen.goaway in (*self.codes, CALM) or not self.codes
            case "stream":
                is_refused = 400 <= seen.statuses.get(self.stream, 0) < 600
                reset = seen.resets.get(self.stream)
                return is_refused or reset in self.codes or (reset is None and self._is_connection_error(seen))
            case "answer":
                return 200 <= seen.statuses.get(self.stream, 0) < 600
            case "limit":  # each of the streams up to this one is answered, or refused as one too many
                codes = set(seen.resets.values())
                decided = seen.statuses.keys() | seen.resets.keys()
                is_served = codes <= set(self.codes) and len(decided) == (self.stream + 1) // 2 and bool(seen.statuses)
                return is_served and seen.goaway is None and not seen.is_closed
            case "pong":
                return b"hedgerow" in seen.pongs
            case _:
                return seen.acknowledged >= 2

    def _is_connection_error(self, seen: Seen) -> bool:
        return seen.goaway in (*self.codes, PROTOCOL_ERROR, CALM) if seen.goaway is not None else seen.is_closed


def connection(*codes: int) -> Wanted:
    return Wanted("connection", codes or (PROTOCOL_ERROR,))


def stream(*codes: int) -> Wanted:
    return Wanted("stream", codes or (PROTOCOL_ERROR,))


ANSWER = Wanted("answer")


@dataclass(frozen=True, slots=True)
class Http2Case:
    name: str
    section: str
    frames: bytes
    wanted: Wanted
    preface: bytes = PREFACE + settings()


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked for: a GET of `path`, and a POST of `body` with these `fields` to `target`."""

    host: str
    path: str = "/a"
    target: str = "/a"
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b"abc"

    def get(self, *more: tuple[str, str], drop: str = "", path: str | None = None) -> bytes:
        """Return the fields of a GET."""
        return block(self.host, *more, drop=drop, path=self.path if path is None else path)

    def post(self, *more: tuple[str, str]) -> bytes:
        """Return the HEADERS of a POST, on the first stream."""
        fields = block(self.host, *self.fields, *more, method="POST", path=self.target)
        return frame(HEADERS, END_HEADERS, 1, fields)


def cases(resource: Resource) -> Iterator[Http2Case]:
    """The cases for one resource."""
    host, body = resource.host, resource.body
    get = resource.get()
    asked = frame(HEADERS, END_HEADERS | END_STREAM, 1, get)
    posted = resource.post()
    yield Http2Case("a GET", "9113 8.1", asked, ANSWER)
    yield Http2Case("a POST with DATA", "9113 8.1", posted + frame(DATA, END_STREAM, 1, body), ANSWER)
    yield Http2Case(
        "a POST with its length",
        "9113 8.1.1",
        resource.post(("content-length", str(len(body)))) + frame(DATA, END_STREAM, 1, body),
        ANSWER,
    )
    yield Http2Case(
        "trailers",
        "9113 8.1",
        posted
        + frame(DATA, 0, 1, body)
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, Encoder().encode([("x-sum", "1")])),
        ANSWER,
    )
    yield Http2Case(
        "HEADERS with padding",
        "9113 6.2",
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\3" + get + bytes(3)),
        ANSWER,
    )
    yield Http2Case(
        "HEADERS with a priority",
        "9113 6.2",
        frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, bytes(4) + b"\x10" + get),
        ANSWER,
    )
    yield Http2Case(
        "HEADERS in two frames",
        "9113 6.10",
        frame(HEADERS, END_STREAM, 1, get[:5]) + frame(CONTINUATION, END_HEADERS, 1, get[5:]),
        ANSWER,
    )
    yield Http2Case(
        "HEADERS in many frames",
        "9113 6.10",
        frame(HEADERS, END_STREAM, 1, get[:2])
        + b"".join(frame(CONTINUATION, 0, 1, get[at : at + 1]) for at in range(2, 12))
        + frame(CONTINUATION, END_HEADERS, 1, get[12:]),
        ANSWER,
    )
    yield Http2Case("PING is answered", "9113 6.7", frame(PING, 0, 0, b"hedgerow"), Wanted("pong"))
    yield Http2Case("SETTINGS are acknowledged", "9113 6.5.3", settings((3, 100)), Wanted("settings"))
    yield Http2Case("an unknown frame is ignored", "9113 5.5", frame(0x77, 0, 0, b"abc") + asked, ANSWER)
    yield Http2Case("an unknown setting is ignored", "9113 6.5.2", settings((0x99, 1)) + asked, ANSWER)
    yield Http2Case("undefined flags are ignored", "9113 4.1", frame(PING, 0x16, 0, b"hedgerow"), Wanted("pong"))
    yield Http2Case(
        "a reserved bit is ignored", "9113 4.1", frame(HEADERS, END_HEADERS | END_STREAM, 1 | 1 << 31, get), ANSWER
    )
    yield Http2Case("PRIORITY on an idle stream", "9113 5.1", frame(PRIORITY, 0, 3, bytes(4) + b"\x10") + asked, ANSWER)
    yield Http2Case(
        "PRIORITY on a closed stream", "9113 5.1", asked + frame(PRIORITY, 0, 1, bytes(4) + b"\x10"), ANSWER
    )
    yield Http2Case(
        "WINDOW_UPDATE of a half-closed stream",
        "9113 5.1",
        asked + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 5)),
        ANSWER,
    )
    yield Http2Case(
        "a small window",
        "9113 6.9.2",
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 65535)) + asked,
        ANSWER,
        PREFACE + settings((4, 1)),
    )
    yield Http2Case("no preface", "9113 3.4", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", connection(), b"")
    yield Http2Case(
        "an invalid preface", "9113 3.4", asked, connection(), b"INVALID PREFACE\r\n\r\nSM\r\n\r\n" + settings()
    )
    yield Http2Case("a first frame that is not SETTINGS", "9113 3.4", asked, connection(), PREFACE)
    yield Http2Case("DATA on stream 0", "9113 6.1", frame(DATA, END_STREAM, 0, b"abc"), connection())
    yield Http2Case("DATA on an idle stream", "9113 5.1", frame(DATA, END_STREAM, 1, b"abc"), connection())
    yield Http2Case("DATA after the end", "9113 5.1", asked + frame(DATA, END_STREAM, 1, b"abc"), stream(STREAM_CLOSED))
    yield Http2Case(
        "DATA with too much padding", "9113 6.1", posted + frame(DATA, END_STREAM | PADDED, 1, b"\x09abc"), connection()
    )
    yield Http2Case(
        "more DATA than the length",
        "9113 8.1.1",
        resource.post(("content-length", "1")) + frame(DATA, END_STREAM, 1, body),
        stream(),
    )
    yield Http2Case(
        "less DATA than the length",
        "9113 8.1.1",
        resource.post(("content-length", str(len(body) + 9)))
        + frame(DATA, 0, 1, body[:1])
        + frame(DATA, END_STREAM, 1, body[1:]),
        stream(),
    )
    yield Http2Case("HEADERS on stream 0", "9113 6.2", frame(HEADERS, END_HEADERS | END_STREAM, 0, get), connection())
    yield Http2Case(
        "HEADERS on an even stream", "9113 5.1.1", frame(HEADERS, END_HEADERS | END_STREAM, 2, get), connection()
    )
    yield Http2Case(
        "HEADERS on a lower stream",
        "9113 5.1.1",
        frame(HEADERS, END_HEADERS | END_STREAM, 5, get) + frame(HEADERS, END_HEADERS | END_STREAM, 3, get),
        connection(PROTOCOL_ERROR, STREAM_CLOSED),
    )
    yield Http2Case(
        "HEADERS after the end",
        "9113 5.1",
        asked + frame(HEADERS, END_HEADERS | END_STREAM, 1, get),
        stream(STREAM_CLOSED, PROTOCOL_ERROR),
    )
    yield Http2Case(
        "HEADERS with too much padding",
        "9113 6.2",
        frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xff" + get),
        connection(),
    )
    yield Http2Case(
        "HEADERS that depend on themselves",
        "9113 5.3.1",
        frame(HEADERS, END_HEADERS | END_STREAM | WITH_PRIORITY, 1, b"\0\0\0\1\x10" + get),
        Wanted("stream", (PROTOCOL_ERROR,)),
    )
    yield Http2Case(
        "trailers without the end",
        "9113 8.1",
        posted + frame(DATA, 0, 1, body) + frame(HEADERS, END_HEADERS, 1, Encoder().encode([("x-sum", "1")])),
        stream(),
    )
    yield Http2Case(
        "another frame before the end of HEADERS",
        "9113 6.10",
        frame(HEADERS, END_STREAM, 1, get[:5]) + frame(PING, 0, 0, b"hedgerow"),
        connection(),
    )
    yield Http2Case(
        "an unknown frame before the end of HEADERS",
        "9113 5.5",
        frame(HEADERS, END_STREAM, 1, get[:5]) + frame(0x77, 0, 0, b"abc"),
        connection(),
    )
    yield Http2Case(
        "HEADERS of another stream before the end",
        "9113 4.3",
        frame(HEADERS, END_STREAM, 1, get[:5]) + frame(HEADERS, END_HEADERS | END_STREAM, 3, get),
        connection(),
    )
    yield Http2Case("CONTINUATION without HEADERS", "9113 6.10", frame(CONTINUATION, END_HEADERS, 1, get), connection())
    yield Http2Case(
        "CONTINUATION on stream 0",
        "9113 6.10",
        frame(HEADERS, END_STREAM, 1, get[:5]) + frame(CONTINUATION, END_HEADERS, 0, get[5:]),
        connection(),
    )
    yield Http2Case(
        "CONTINUATION after the end of HEADERS",
        "9113 6.10",
        asked + frame(CONTINUATION, END_HEADERS, 1, b""),
        connection(PROTOCOL_ERROR, STREAM_CLOSED),
    )
    yield Http2Case("PRIORITY on stream 0", "9113 6.3", frame(PRIORITY, 0, 0, bytes(4) + b"\x10"), connection())
    yield Http2Case(
        "PRIORITY of a wrong size", "9113 6.3", posted + frame(PRIORITY, 0, 1, bytes(3)), stream(FRAME_SIZE)
    )
    yield Http2Case(
        "PRIORITY that depends on itself", "9113 5.3.1", posted + frame(PRIORITY, 0, 1, b"\0\0\0\1\x10"), stream()
    )
    yield Http2Case("RST_STREAM on stream 0", "9113 6.4", frame(RST_STREAM, 0, 0, bytes(4)), connection())
    yield Http2Case("RST_STREAM on an idle stream", "9113 5.1", frame(RST_STREAM, 0, 1, bytes(4)), connection())
    yield Http2Case(
        "RST_STREAM of a wrong size", "9113 6.4", posted + frame(RST_STREAM, 0, 1, bytes(3)), connection(FRAME_SIZE)
    )
    yield Http2Case("SETTINGS on a stream", "9113 6.5", frame(SETTINGS, 0, 1, bytes(6)), connection())
    yield Http2Case("SETTINGS of a wrong size", "9113 6.5", frame(SETTINGS, 0, 0, bytes(5)), connection(FRAME_SIZE))
    yield Http2Case(
        "an acknowledgement with settings", "9113 6.5", frame(SETTINGS, ACK, 0, bytes(6)), connection(FRAME_SIZE)
    )
    yield Http2Case("ENABLE_PUSH other than 0 and 1", "9113 6.5.2", settings((2, 2)), connection())
    yield Http2Case("INITIAL_WINDOW_SIZE too large", "9113 6.5.2", settings((4, 1 << 31)), connection(FLOW_CONTROL))
    yield Http2Case("MAX_FRAME_SIZE too small", "9113 6.5.2", settings((5, 16383)), connection())
    yield Http2Case("MAX_FRAME_SIZE too large", "9113 6.5.2", settings((5, 1 << 24)), connection())
    yield Http2Case(
        "PUSH_PROMISE of a client", "9113 8.4", frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + get), connection()
    )
    yield Http2Case("PING on a stream", "9113 6.7", frame(PING, 0, 1, bytes(8)), connection())
    yield Http2Case("PING of a wrong size", "9113 6.7", frame(PING, 0, 0, bytes(7)), connection(FRAME_SIZE))
    yield Http2Case("GOAWAY on a stream", "9113 6.8", frame(GOAWAY, 0, 1, bytes(8)), connection())
    yield Http2Case(
        "WINDOW_UPDATE of 0 on the connection", "9113 6.9", frame(WINDOW_UPDATE, 0, 0, bytes(4)), connection()
    )
    yield Http2Case(
        "WINDOW_UPDATE of 0 on a stream", "9113 6.9", posted + frame(WINDOW_UPDATE, 0, 1, bytes(4)), stream()
    )
    yield Http2Case(
        "WINDOW_UPDATE of a wrong size", "9113 6.9", frame(WINDOW_UPDATE, 0, 0, bytes(3)), connection(FRAME_SIZE)
    )
    yield Http2Case(
        "WINDOW_UPDATE on an idle stream", "9113 5.1", frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 5)), connection()
    )
    yield Http2Case(
        "a window beyond its limit",
        "9113 6.9.1",
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1)),
        connection(FLOW_CONTROL),
    )
    yield Http2Case(
        "a stream's window beyond its limit",
        "9113 6.9.1",
        posted + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", (1 << 31) - 1)),
        stream(FLOW_CONTROL),
    )
    yield Http2Case(
        "a frame larger than MAX_FRAME_SIZE",
        "9113 4.2",
        posted + frame(DATA, END_STREAM, 1, bytes(300_000)),
        stream(FRAME_SIZE),
    )
    yield Http2Case(
        "HEADERS larger than MAX_FRAME_SIZE",
        "9113 4.2",
        frame(HEADERS, END_HEADERS | END_STREAM, 1, get + bytes(300_000)),
        connection(FRAME_SIZE),
    )
    for name, octets in {
        "an index that does not exist": b"\xff\xff\xff\x0f",
        "index 0": b"\x80",
        "an integer that is too large": b"\xff" + b"\xff" * 12,
        "a table larger than allowed": get + b"\x3f\xe1\xff\xff\x7f",
        "a size of the table after a field": get + b"\x3f\xe1\x1f",
        "a Huffman code with EOS": get + b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff",
        "Huffman padding longer than 7 bits": get + b"\0\x01a\x84\x1c\x64\xff\xff",
        "a string that is cut off": get + b"\0\x7f",
    }.items():
        yield Http2Case(
            f"HPACK: {name}", "7541", frame(HEADERS, END_HEADERS | END_STREAM, 1, octets), connection(COMPRESSION)
        )
    for name, more in {
        "a field in capitals": literal(b"X-Odd", b"1"),
        "a pseudo-header that does not exist": literal(b":odd", b"1"),
        "a response's pseudo-header": literal(b":status", b"200"),
        "Connection": literal(b"connection", b"keep-alive"),
        "Transfer-Encoding": literal(b"transfer-encoding", b"chunked"),
        "TE other than trailers": literal(b"te", b"gzip"),
        "a second :method": literal(b":method", b"GET"),
        "a second :path": literal(b":path", b"/"),
        "a second :scheme": literal(b":scheme", b"https"),
        "a pseudo-header after a field": literal(b"x-a", b"1") + literal(b":path", b"/"),
        "a line break in a value": literal(b"x-odd", b"a\r\nb: c"),
        "a NUL in a value": literal(b"x-odd", b"a\0b"),
        "a space in a name": literal(b"x odd", b"1"),
        "white space around a value": literal(b"x-odd", b" a "),
        "a colon in a name": literal(b"x:odd", b"1"),
    }.items():
        yield Http2Case(name, "9113 8.2", frame(HEADERS, END_HEADERS | END_STREAM, 1, get + more), stream())
    for missing in (":method", ":scheme", ":path"):
        yield Http2Case(
            f"no {missing}",
            "9113 8.3.1",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, resource.get(drop=missing)),
            stream(),
        )
    yield Http2Case(
        "an empty :path", "9113 8.3.1", frame(HEADERS, END_HEADERS | END_STREAM, 1, resource.get(path="")), stream()
    )
    yield Http2Case(
        "another :authority than Host",
        "9113 8.3.1",
        frame(HEADERS, END_HEADERS | END_STREAM, 1, resource.get(("host", "other.example"))),
        stream(),
    )
    yield Http2Case(
        "a user name in :authority",
        "9113 8.3.1",
        frame(HEADERS, END_HEADERS | END_STREAM, 1, block("user@" + host, path=resource.path)),
        stream(),
    )
    yield Http2Case(
        "a pseudo-header in trailers",
        "9113 8.1",
        posted + frame(HEADERS, END_HEADERS | END_STREAM, 1, Encoder().encode([(":path", "/")])),
        stream(),
    )
    yield Http2Case(
        "CONNECT",
        "9113 8.5",
        frame(HEADERS, END_HEADERS | END_STREAM, 1, Encoder().encode([(":method", "CONNECT"), (":authority", host)])),
        stream(PROTOCOL_ERROR, REFUSED, CANCEL),
    )
    yield Http2Case(
        "150 requests at once",
        "9113 5.1.2",
        b"".join(frame(HEADERS, END_HEADERS | END_STREAM, number, get) for number in range(1, 301, 2)),
        Wanted("limit", (REFUSED,), 299),
    )


type Connect = Callable[[], AbstractContextManager[ssl.SSLSocket]]


def run_http2_cases(proxy: Proxy, origin: ByteOrigin) -> Iterator[Outcome]:
    """HTTP/2 frames in a tunnel that the proxy decrypts."""

    def connect() -> AbstractContextManager[ssl.SSLSocket]:
        origin.say(HELLO)
        return inspected(proxy.address, proxy.source, proxy.host, origin.port, proxy.authority, "h2")

    yield from run_cases("HTTP/2 frames", Resource(f"{proxy.host}:{origin.port}"), connect)


def run_cases(area: str, resource: Resource, connect: Connect) -> Iterator[Outcome]:
    """Run all cases, each in a connection of its own."""
    for case in cases(resource):
        seen = Seen()
        try:
            with connect() as client:
                _watch(client, case, seen)
        except OSError:
            seen.is_closed = True
        yield Outcome(area, case.name, case.section, case.wanted.is_met(seen), str(seen))


def _watch(client: ssl.SSLSocket, case: Http2Case, seen: Seen) -> None:
    with contextlib.suppress(OSError):
        client.sendall(case.preface + case.frames)
    decoder, received, ends = Decoder(), b"", time.monotonic() + SECONDS
    while time.monotonic() < ends and not case.wanted.is_met(seen):
        client.settimeout(max(0.05, ends - time.monotonic()))
        try:
            piece = client.recv(65536)
        except TimeoutError:
            return
        except OSError:
            seen.is_closed = True
            return
        if not piece:
            seen.is_closed = True
            return
        received += piece
        while len(received) >= 9 and len(received) >= 9 + int.from_bytes(received[:3]):
            size = int.from_bytes(received[:3])
            _note(
                seen,
                decoder,
                received[3],
                received[4],
                int.from_bytes(received[5:9]) & 0x7FFFFFFF,
                received[9 : 9 + size],
            )
            received = received[9 + size :]


def _note(seen: Seen, decoder: Decoder, kind: int, flags: int, number: int, payload: bytes) -> None:
    match kind:
        case 7:
            seen.goaway = int.from_bytes(payload[4:8]) if seen.goaway is None else seen.goaway
        case 3:
            seen.resets[number] = int.from_bytes(payload)
        case 6 if flags & ACK:
            seen.pongs.append(payload)
        case 4 if flags & ACK:
            seen.acknowledged += 1
        case 1:
            with contextlib.suppress(HPACKError, KeyError, ValueError):
                fields = {str(name): str(value) for name, value in decoder.decode(payload)}
                if not fields[":status"].startswith("1"):
                    seen.statuses[number] = int(fields[":status"])
        case _:
            pass
