"""Cases of HTTP/1.1 messages: what an origin answers, and what a client sends (RFC 9110, RFC 9112).

A case passes if what the RFC demands or allows happens. Where it allows both to repair and to refuse, either passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from http_conformance.wire import Reply

type ReplyCheck = Callable[[Reply], bool]
type HeardCheck = Callable[[bytes], bool]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


def hello(reply: Reply) -> bool:
    """The whole body arrived."""
    return reply.status == 200 and reply.body == b"hello" and reply.is_whole


def refused(reply: Reply) -> bool:
    """The client got an error, or can tell that something is missing."""
    return reply.status == 0 or reply.status >= 500 or not reply.is_whole


def either(reply: Reply) -> bool:
    return hello(reply) or refused(reply)


def cut(reply: Reply) -> bool:
    return reply.status >= 500 or not reply.is_whole


def status(*wanted: int) -> ReplyCheck:
    return lambda reply: reply.status in wanted


def has(name: str, value: str, also: ReplyCheck = hello) -> ReplyCheck:
    return lambda reply: also(reply) and value in (reply.get(name) or "").lower()


def lacks(name: str, also: ReplyCheck = hello) -> ReplyCheck:
    return lambda reply: also(reply) and reply.get(name) is None


@dataclass(frozen=True, slots=True)
class AnswerCase:
    """An origin says `answer` to a GET or another `method`."""

    name: str
    section: str
    answer: bytes
    check: ReplyCheck
    method: str = "GET"
    stays: bool = False


ANSWERS = (
    AnswerCase("a length", "9112 6.2", HELLO, hello),
    AnswerCase("chunks", "9112 7.1", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", hello),
    AnswerCase(
        "chunk extensions",
        "9112 7.1.1",
        OK + b'Transfer-Encoding: chunked\r\n\r\n5;a=b;c="d e"\r\nhello\r\n0;l\r\n\r\n',
        hello,
    ),
    AnswerCase(
        "sizes of chunks with zeros, in capitals",
        "9112 7.1",
        OK + b"Transfer-Encoding: Chunked\r\n\r\n0005\r\nhello\r\n0\r\n\r\n",
        hello,
    ),
    AnswerCase(
        "trailers", "9112 7.1.2", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", hello
    ),
    AnswerCase("a body to the end of the connection", "9112 6.3 (8)", OK + b"\r\nhello", hello),
    AnswerCase("HTTP/1.0 to the end of the connection", "9112 9.3", b"HTTP/1.0 200 OK\r\n\r\nhello", hello),
    AnswerCase(
        "equal lengths in two fields",
        "9112 6.3 (5)",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        hello,
    ),
    AnswerCase("equal lengths in one field", "9112 6.3 (5)", OK + b"Content-Length: 5, 5\r\n\r\nhello", hello),
    AnswerCase(
        "different lengths", "9112 6.3 (5)", OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello!!", refused
    ),
    AnswerCase("a negative length", "9112 6.3 (5)", OK + b"Content-Length: -5\r\n\r\nhello", refused),
    AnswerCase("a length with a plus", "9110 8.6", OK + b"Content-Length: +5\r\n\r\nhello", refused),
    AnswerCase("a length in hexadecimal", "9110 8.6", OK + b"Content-Length: 0x5\r\n\r\nhello", refused),
    AnswerCase("an empty length", "9110 8.6", OK + b"Content-Length:\r\n\r\nhello", either),
    AnswerCase("a huge length", "9110 8.6", OK + b"Content-Length: 99999999999999999999999\r\n\r\nhello", cut),
    AnswerCase(
        "chunks beside a length",
        "9112 6.3 (3)",
        OK + b"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        lambda reply: hello(reply) and reply.get("content-length") in (None, "5"),
    ),
    AnswerCase(
        "chunks beside a length, connection reused",
        "9112 6.3 (3)",
        OK + b"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        hello,
        stays=True,
    ),
    AnswerCase(
        "chunked twice", "9112 6.1", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", refused
    ),
    AnswerCase(
        "gzip and chunks, not asked for",
        "9112 6.1",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        lambda reply: refused(reply) or "gzip" in (reply.get("transfer-encoding") or ""),
    ),
    AnswerCase("an unknown transfer coding", "9112 6.1", OK + b"Transfer-Encoding: x-odd\r\n\r\nhello", refused),
    AnswerCase("identity", "9112 A.2", OK + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", either),
    AnswerCase(
        "chunks in HTTP/1.0",
        "9112 6.1",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        either,
    ),
    AnswerCase(
        "a bad size of a chunk", "9112 7.1", OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", cut
    ),
    AnswerCase(
        "a negative size of a chunk",
        "9112 7.1",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        cut,
    ),
    AnswerCase(
        "a huge size of a chunk",
        "9112 7.1",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 24 + b"\r\nhello\r\n0\r\n\r\n",
        cut,
    ),
    AnswerCase(
        "no line end after a chunk", "9112 7.1", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n", cut
    ),
    AnswerCase("chunks cut off", "9112 8", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", cut),
    AnswerCase("a body shorter than its length", "9112 8", OK + b"Content-Length: 50\r\n\r\nhello", cut),
    AnswerCase("more than its length", "9112 6.3", OK + b"Content-Length: 5\r\n\r\nhello and more", hello),
    AnswerCase("204 with a length", "9110 8.6", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", status(204)),
    AnswerCase("204 with a body", "9110 15.3.5", b"HTTP/1.1 204 No Content\r\n\r\nhello", status(204)),
    AnswerCase(
        "304 with a length",
        "9110 15.4.5",
        b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n',
        status(304),
    ),
    AnswerCase(
        "205 with a body", "9110 15.3.6", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", status(205)
    ),
    AnswerCase("HEAD with a length", "9110 9.3.2", OK + b"Content-Length: 5\r\n\r\n", status(200), method="HEAD"),
    AnswerCase("HEAD with a body all the same", "9110 9.3.2", HELLO, status(200), method="HEAD"),
    AnswerCase(
        "HEAD with chunks", "9110 9.3.2", OK + b"Transfer-Encoding: chunked\r\n\r\n", status(200), method="HEAD"
    ),
    AnswerCase("100 before the answer", "9110 15.2", b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, hello),
    AnswerCase(
        "103 before the answer", "8297", b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" + HELLO, hello
    ),
    AnswerCase(
        "102 and 103 before the answer",
        "9110 15.2",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + HELLO,
        hello,
    ),
    AnswerCase("an unknown 1xx", "9110 15.2", b"HTTP/1.1 199 Odd\r\n\r\n" + HELLO, either),
    AnswerCase(
        "101 that nobody asked for",
        "9110 15.2.2",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
        status(502),
    ),
    AnswerCase("an unknown status", "9110 15", b"HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello", status(299)),
    AnswerCase(
        "a status out of range", "9110 15", b"HTTP/1.1 799 Odd\r\nContent-Length: 5\r\n\r\nhello", status(799, 502, 0)
    ),
    AnswerCase("a status of two digits", "9112 4", b"HTTP/1.1 20 Odd\r\nContent-Length: 5\r\n\r\nhello", refused),
    AnswerCase("no reason", "9112 4", b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", hello),
    AnswerCase(
        "a reason that is no text", "9112 4", b"HTTP/1.1 200 \xe9\xff\r\nContent-Length: 5\r\n\r\nhello", either
    ),
    AnswerCase(
        "a field that is no text", "9110 5.5", OK + b"X-Name: caf\xe9 \xff\r\nContent-Length: 5\r\n\r\nhello", hello
    ),
    AnswerCase("white space before the colon", "9112 5.1", OK + b"X-Odd : 1\r\nContent-Length: 5\r\n\r\nhello", either),
    AnswerCase(
        "a length with white space before the colon",
        "9112 5.1",
        OK + b"Content-Length : 3\r\nContent-Length: 5\r\n\r\nhello",
        either,
    ),
    AnswerCase("a folded field", "9112 5.2", OK + b"X-Long: one\r\n two\r\nContent-Length: 5\r\n\r\nhello", either),
    AnswerCase("bare line feeds", "9112 2.2", OK.replace(b"\r\n", b"\n") + b"Content-Length: 5\n\nhello", either),
    AnswerCase(
        "a bare CR in a field",
        "9112 2.2",
        OK + b"X-Odd: a\rb\r\nContent-Length: 5\r\n\r\nhello",
        lambda reply: refused(reply) or (hello(reply) and "\r" not in (reply.get("x-odd") or "")),
    ),
    AnswerCase(
        "a NUL in a field",
        "9110 5.5",
        OK + b"X-Odd: a\0b\r\nContent-Length: 5\r\n\r\nhello",
        lambda reply: refused(reply) or (hello(reply) and "\0" not in (reply.get("x-odd") or "")),
    ),
    AnswerCase("a field without a name", "9112 5", OK + b": x\r\nContent-Length: 5\r\n\r\nhello", either),
    AnswerCase("no HTTP at all", "9112 4", b"SSH-2.0-OpenSSH_9.9\r\n", refused),
    AnswerCase("HTTP/0.9", "9112 2", b"hello", refused),
    AnswerCase("HTTP/2.0 in the status line", "9112 2.3", b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", either),
    AnswerCase("nothing", "9112 9.5", b"", status(502, 503, 504)),
    AnswerCase(
        "a head of 60 kB", "9110 5.4", OK + b"X-Long: " + b"y" * 60_000 + b"\r\nContent-Length: 5\r\n\r\nhello", either
    ),
    AnswerCase(
        "1,000 fields",
        "9110 5.4",
        OK + b"".join(b"X-%d: y\r\n" % each for each in range(1000)) + b"Content-Length: 5\r\n\r\nhello",
        hello,
    ),
    AnswerCase(
        "a field that Connection names",
        "9110 7.6.1",
        OK + b"Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 5\r\n\r\nhello",
        lacks("x-hop"),
    ),
    AnswerCase(
        "Connection names what belongs to the message",
        "9110 7.6.1",
        OK + b"Connection: Content-Length, X-Hop\r\nContent-Length: 5\r\n\r\nhello",
        lambda reply: hello(reply) and "-" not in (reply.get("connection") or "").replace("keep-alive", ""),
    ),
    AnswerCase(
        "Keep-Alive", "9110 7.6.1", OK + b"Keep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello", lacks("keep-alive")
    ),
    AnswerCase(
        "Proxy-Connection", "9110 7.6.1", OK + b"Proxy-Connection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", hello
    ),
    AnswerCase("Connection: close", "9112 9.6", OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", hello),
    AnswerCase(
        "several Set-Cookie",
        "9110 5.3",
        OK + b"Set-Cookie: a=1\r\nSet-Cookie: b=2, 3\r\nContent-Length: 5\r\n\r\nhello",
        lambda reply: (
            hello(reply) and [value for name, value in reply.fields if name == "set-cookie"] == ["a=1", "b=2, 3"]
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class RequestCase:
    """A client sends `request`, in which {host} stands for host and port; in a tunnel the absolute URL becomes a path.

    `check` judges the answer, `heard` what arrived at the origin, if anything did. `explicit`: it means something to a
    proxy only.
    """

    name: str
    section: str
    request: bytes
    check: ReplyCheck
    heard: HeardCheck = lambda _: True
    explicit: bool = False
    method: str = "GET"


GET = b"GET http://{host}/a HTTP/1.1\r\nHost: {host}\r\n"
POST = b"POST http://{host}/a HTTP/1.1\r\nHost: {host}\r\n"


def bad(reply: Reply) -> bool:
    """A refusal by the proxy."""
    return 400 <= reply.status < 600 or (reply.status == 0 and reply.is_closed)


def bad_or_hello(reply: Reply) -> bool:
    return bad(reply) or hello(reply)


def one(*pieces: bytes) -> HeardCheck:
    """One request arrived, which has these pieces."""
    return lambda heard: heard.count(b" HTTP/1.1\r\n") == 1 and all(each in heard for each in pieces)


def without(*pieces: bytes) -> HeardCheck:
    return lambda heard: not any(each.lower() in heard.lower() for each in pieces)


def nothing(heard: bytes) -> bool:
    return not heard


REQUESTS = (
    RequestCase("a GET", "9110 9.3.1", GET + b"\r\n", hello, one(b"GET /a HTTP/1.1")),
    RequestCase("a POST with a length", "9112 6.2", POST + b"Content-Length: 3\r\n\r\nabc", hello, one(b"abc")),
    RequestCase(
        "a POST in chunks",
        "9112 7.1",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        hello,
        one(b"abc"),
    ),
    RequestCase("an empty line before the request", "9112 2.2", b"\r\n" + GET + b"\r\n", hello, one()),
    RequestCase("HTTP/1.0", "9112 2.3", b"GET http://{host}/a HTTP/1.0\r\nHost: {host}\r\n\r\n", hello),
    RequestCase("no Host", "9112 3.2", b"GET http://{host}/a HTTP/1.1\r\n\r\n", status(400), nothing),
    RequestCase("two Host fields", "9112 3.2", GET + b"Host: other.example\r\n\r\n", status(400), nothing),
    RequestCase(
        "another Host than the URL",
        "9112 3.2.2",
        b"GET http://{host}/a HTTP/1.1\r\nHost: other.example\r\n\r\n",
        bad_or_hello,
        without(b"other.example"),
        explicit=True,
    ),
    RequestCase(
        "an invalid Host",
        "9112 3.2",
        b"GET http://{host}/a HTTP/1.1\r\nHost: a b\r\n\r\n",
        lambda reply: bad(reply) or hello(reply),
        without(b"a b"),
    ),
    RequestCase(
        "lengths that differ",
        "9112 6.3",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        status(400),
        nothing,
    ),
    RequestCase(
        "a length beside chunks",
        "9112 6.3",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        bad_or_hello,
        lambda heard: not heard or b"content-length" not in heard.lower() or b"transfer-encoding" not in heard.lower(),
    ),
    RequestCase(
        "a length that is no number", "9112 6.3", POST + b"Content-Length: abc\r\n\r\nabc", status(400), nothing
    ),
    RequestCase("a negative length", "9112 6.3", POST + b"Content-Length: -1\r\n\r\nabc", status(400), nothing),
    RequestCase("a length with a plus", "9110 8.6", POST + b"Content-Length: +3\r\n\r\nabc", status(400), nothing),
    RequestCase(
        "a coding other than chunked at the end",
        "9112 6.3",
        POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
        status(400, 501),
        nothing,
    ),
    RequestCase(
        "an unknown coding",
        "9112 6.1",
        POST + b"Transfer-Encoding: x-odd, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        status(400, 501),
        nothing,
    ),
    RequestCase(
        "a coding that hides chunked",
        "9112 6.1",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        status(400, 501),
        nothing,
    ),
    RequestCase(
        "chunks in HTTP/1.0",
        "9112 6.1",
        b"POST http://{host}/a HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        bad,
    ),
    RequestCase(
        "a bad size of a chunk",
        "9112 7.1",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        status(400),
    ),
    RequestCase(
        "a size of a chunk with a bare LF",
        "9112 7.1",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        status(400),
    ),
    RequestCase(
        "no line end after a chunk",
        "9112 7.1",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        status(400),
    ),
    RequestCase(
        "a huge size of a chunk",
        "9112 7.1",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 24 + b"\r\nabc",
        status(400, 413),
    ),
    RequestCase(
        "trailers",
        "9112 7.1.2",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        hello,
        one(b"abc"),
    ),
    RequestCase("white space before the colon", "9112 5.1", GET + b"X-Odd : 1\r\n\r\n", status(400), nothing),
    RequestCase(
        "a folded field", "9112 5.2", GET + b"X-Long: one\r\n two\r\n\r\n", bad_or_hello, without(b"one\r\n two")
    ),
    RequestCase(
        "a field before any name",
        "9112 2.2",
        b"GET http://{host}/a HTTP/1.1\r\n X: y\r\nHost: {host}\r\n\r\n",
        bad,
        nothing,
    ),
    RequestCase("a NUL in a field", "9110 5.5", GET + b"X-Odd: a\0b\r\n\r\n", bad_or_hello, without(b"\0")),
    RequestCase("a bare CR in a field", "9112 2.2", GET + b"X-Odd: a\rb\r\n\r\n", bad_or_hello, without(b"a\rb")),
    RequestCase("a bare LF", "9112 2.2", GET.replace(b"\r\n", b"\n") + b"\n", bad_or_hello),
    RequestCase("a field without a name", "9112 5", GET + b": x\r\n\r\n", bad, nothing),
    RequestCase("a name that is no token", "9110 5.1", GET + b"X(Odd): x\r\n\r\n", bad, nothing),
    RequestCase(
        "two spaces in the request line",
        "9112 3",
        b"GET  http://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n",
        bad_or_hello,
    ),
    RequestCase(
        "a space in the target", "9112 3", b"GET http://{host}/a b HTTP/1.1\r\nHost: {host}\r\n\r\n", bad, nothing
    ),
    RequestCase(
        "a method that is no token", "9110 9.1", b"G(T http://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n", bad, nothing
    ),
    RequestCase("an unknown method", "9110 9.1", b"ODD http://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n", bad_or_hello),
    RequestCase(
        "an unknown version", "9110 2.5", b"GET http://{host}/a HTTP/3.7\r\nHost: {host}\r\n\r\n", bad, nothing
    ),
    RequestCase("no version", "9112 3", b"GET http://{host}/a\r\nHost: {host}\r\n\r\n", bad),
    RequestCase("the preface of HTTP/2", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad, nothing),
    RequestCase(
        "a user name in the URL",
        "9110 4.2.4",
        b"GET http://ana:secret@{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n",
        hello,
        one(b"GET /a HTTP/1.1"),
        explicit=True,
    ),
    RequestCase(
        "a fragment in the URL",
        "9110 7.1",
        b"GET http://{host}/a#b HTTP/1.1\r\nHost: {host}\r\n\r\n",
        bad_or_hello,
        explicit=True,
    ),
    RequestCase(
        "the scheme in capitals",
        "9110 4.2.3",
        b"GET HTTP://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n",
        hello,
        one(),
        explicit=True,
    ),
    RequestCase(
        "another scheme",
        "9110 4.2",
        b"GET gopher://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n",
        bad,
        nothing,
        explicit=True,
    ),
    RequestCase(
        "a path alone to a proxy", "9112 3.2.2", b"GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n", bad_or_hello, explicit=True
    ),
    RequestCase(
        "OPTIONS * in the absolute form",
        "9112 3.2.4",
        b"OPTIONS http://{host} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        bad_or_hello,
        explicit=True,
    ),
    RequestCase(
        "TRACE that goes no further",
        "9110 7.6.2",
        b"TRACE http://{host}/a HTTP/1.1\r\nHost: {host}\r\nMax-Forwards: 0\r\n\r\n",
        status(200, 405, 501),
        nothing,
        method="TRACE",
    ),
    RequestCase(
        "OPTIONS that goes no further",
        "9110 7.6.2",
        b"OPTIONS http://{host}/a HTTP/1.1\r\nHost: {host}\r\nMax-Forwards: 0\r\n\r\n",
        status(200, 204, 405, 501),
        nothing,
    ),
    RequestCase(
        "Max-Forwards counts down",
        "9110 7.6.2",
        b"OPTIONS http://{host}/a HTTP/1.1\r\nHost: {host}\r\nMax-Forwards: 5\r\n\r\n",
        hello,
        lambda heard: b"max-forwards: 4" in heard.lower(),
    ),
    RequestCase("Max-Forwards of a GET is left alone", "9110 7.6.2", GET + b"Max-Forwards: 0\r\n\r\n", hello, one()),
    RequestCase(
        "Via is added", "9110 7.6.3", GET + b"\r\n", hello, lambda heard: b"\r\nvia:" in heard.lower(), explicit=True
    ),
    RequestCase(
        "Via is continued",
        "9110 7.6.3",
        GET + b"Via: 1.0 before\r\n\r\n",
        hello,
        lambda heard: b"1.0 before," in heard,
        explicit=True,
    ),
    RequestCase(
        "Via in the answer",
        "9110 7.6.3",
        GET + b"\r\n",
        lambda reply: hello(reply) and reply.get("via") is not None,
        explicit=True,
    ),
    RequestCase(
        "a field that Connection names",
        "9110 7.6.1",
        GET + b"Connection: X-Hop\r\nX-Hop: 1\r\n\r\n",
        hello,
        without(b"x-hop: 1"),
    ),
    *(
        RequestCase(
            f"Connection names {name}",
            "9110 7.6.1",
            POST + f"Content-Length: 3\r\nConnection: {name}\r\n\r\nabc".encode(),
            hello,
            lambda heard: b"connection:" not in heard.lower() and heard.endswith(b"abc"),
        )
        for name in ("Content-Length", "Host", "close, content-length", "Transfer-Encoding")
    ),
    *(
        RequestCase(
            f"{name} with an underscore",
            "3875 4.1.18",
            POST + f"Content-Length: 3\r\n{name}: {value}\r\n\r\nabc".encode(),
            bad_or_hello,
            without(name.encode()),
        )
        for name, value in (("Content_Length", "40"), ("Transfer_Encoding", "chunked"), ("Keep_Alive", "300"))
    ),
    RequestCase(
        "Proxy-Authorization",
        "9110 11.7.2",
        GET + b"Proxy-Authorization: Basic YTpi\r\n\r\n",
        bad_or_hello,
        without(b"proxy-authorization"),
    ),
    RequestCase(
        "Proxy-Connection",
        "9110 7.6.1",
        GET + b"Proxy-Connection: keep-alive\r\n\r\n",
        hello,
        without(b"proxy-connection"),
    ),
    RequestCase("Keep-Alive", "9110 7.6.1", GET + b"Keep-Alive: 300\r\n\r\n", hello, without(b"keep-alive: 300")),
    RequestCase("TE", "9110 10.1.4", GET + b"TE: gzip\r\nConnection: TE\r\n\r\n", hello, without(b"te: gzip")),
    RequestCase(
        "an upgrade to HTTP/2",
        "9110 7.8",
        GET + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        hello,
        without(b"upgrade: h2c"),
    ),
    RequestCase(
        "Expect: 100-continue", "9110 10.1.1", POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", hello
    ),
    RequestCase(
        "Expect: 100-continue, and an origin that wants no body",
        "9110 10.1.1",
        POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        lambda reply: hello(reply) and (reply.get("connection") or "").lower() == "close",
        one(b"100-continue"),
    ),
    RequestCase(
        "an unknown Expect",
        "9110 10.1.1",
        GET + b"Expect: the-impossible\r\n\r\n",
        lambda reply: reply.status == 417 or hello(reply),
    ),
    RequestCase(
        "1,000 fields",
        "9110 5.4",
        GET + b"".join(b"X-%d: y\r\n" % each for each in range(1000)) + b"\r\n",
        hello,
        one(b"X-999: y"),
    ),
    RequestCase(
        "a URL of 8,000 octets",
        "9110 4.1",
        b"GET http://{host}/" + b"a" * 8000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
        hello,
        one(),
    ),
    RequestCase(
        "a URL of 30,000 octets",
        "9110 4.1",
        b"GET http://{host}/" + b"a" * 30_000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
        lambda reply: hello(reply) or reply.status == 414,
    ),
    RequestCase(
        "a URL of 100,000 octets",
        "9110 4.1",
        b"GET http://{host}/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
        lambda reply: hello(reply) or reply.status in {400, 414, 431},
    ),
    RequestCase(
        "a head of 200 kB",
        "9110 5.4",
        GET + b"X-Long: " + b"y" * 200_000 + b"\r\n\r\n",
        lambda reply: hello(reply) or reply.status in {400, 413, 431},
    ),
    RequestCase(
        "a second request in the body of the first",
        "9112 11.2",
        POST + b"Content-Length: 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other.example\r\n\r\n",
        hello,
        lambda heard: heard.count(b" HTTP/1.1\r\n") == 2,
    ),
)
