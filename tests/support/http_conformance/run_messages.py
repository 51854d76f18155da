"""Run the cases of HTTP/1.1 messages: as a proxy's client, in a decrypted tunnel, and over HTTP/2 in front."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from small_internet.authority import server_context
from small_internet.whole import SmallInternet

from http_conformance.messages import ANSWERS, HELLO, REQUESTS, AnswerCase, RequestCase
from http_conformance.outcome import Outcome
from http_conformance.proxies import HOST, Proxy
from http_conformance.wire import ANSWER_SECONDS, ByteOrigin, Reply, connected, converse, inspected


@contextlib.contextmanager
def byte_origins(net: SmallInternet) -> Iterator[tuple[ByteOrigin, ByteOrigin]]:
    """An origin of plain HTTP and one of HTTPS, both of `HOST`."""
    address = net.address_of(HOST)
    plain, secure = ByteOrigin(address), ByteOrigin(address, server_context(net.authority.leaf(HOST, address)))
    try:
        yield plain, secure
    finally:
        plain.close()
        secure.close()


def run_explicit(proxy: Proxy, origin: ByteOrigin) -> Iterator[Outcome]:
    """Plain HTTP by absolute URLs."""
    host = f"{proxy.host}:{origin.port}".encode()

    def ask(request: bytes, method: str) -> Reply:
        with connected(proxy.address, proxy.source) as client:
            return converse(client, request.replace(b"{host}", host), method=method)

    yield from _run("plain HTTP", ask, origin, REQUESTS)


def run_inspected(proxy: Proxy, origin: ByteOrigin) -> Iterator[Outcome]:
    """HTTP/1.1 in a tunnel that the proxy decrypts."""
    host = f"{proxy.host}:{origin.port}".encode()

    def ask(request: bytes, method: str) -> Reply:
        request = request.replace(b"http://{host}", b"").replace(b"{host}", host)
        try:
            with inspected(proxy.address, proxy.source, proxy.host, origin.port, proxy.authority) as client:
                return converse(client, request, method=method)
        except OSError:
            return Reply(0, is_closed=True)

    yield from _run("HTTPS", ask, origin, tuple(case for case in REQUESTS if not case.explicit))


def run_http2(proxy: Proxy, origin: ByteOrigin) -> Iterator[Outcome]:
    """HTTP/2 in a tunnel that the proxy decrypts, in front of an origin of HTTP/1.1."""
    host = f"{proxy.host}:{origin.port}"

    def ask(_request: bytes, method: str) -> Reply:
        try:
            with inspected(proxy.address, proxy.source, proxy.host, origin.port, proxy.authority, "h2") as client:
                return _ask_http2(client, host, method)
        except OSError:
            return Reply(0, is_closed=True)

    yield from _run("HTTP/2 in front", ask, origin, ())


def _run(
    area: str, ask: Callable[[bytes, str], Reply], origin: ByteOrigin, requests: tuple[RequestCase, ...]
) -> Iterator[Outcome]:
    for case in ANSWERS:
        yield _run_answer(area, ask, origin, case)
    for request in requests:
        yield _run_request(area, ask, origin, request)


def _run_answer(area: str, ask: Callable[[bytes, str], Reply], origin: ByteOrigin, case: AnswerCase) -> Outcome:
    origin.say(case.answer, stays=case.stays)
    reply = ask(case.method.encode() + b" http://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n", case.method)
    return Outcome(area, f"answer: {case.name}", case.section, case.check(reply), str(reply))


def _run_request(area: str, ask: Callable[[bytes, str], Reply], origin: ByteOrigin, case: RequestCase) -> Outcome:
    origin.say(HELLO)
    reply = ask(case.request, case.method)
    passed = case.check(reply) and case.heard(bytes(origin.heard))
    seen = str(reply) if not case.check(reply) else f"the origin heard {bytes(origin.heard[-60:])!r}"
    return Outcome(area, f"request: {case.name}", case.section, passed, seen)


def _ask_http2(client: ssl.SSLSocket, host: str, method: str) -> Reply:
    """One request over HTTP/2."""
    connection = H2Connection(H2Configuration(header_encoding="latin-1"))
    connection.initiate_connection()
    connection.send_headers(
        1, [(":method", method), (":scheme", "https"), (":authority", host), (":path", "/a")], end_stream=True
    )
    client.sendall(connection.data_to_send())
    client.settimeout(ANSWER_SECONDS)
    status, fields, body = 0, tuple[tuple[str, str], ...](), b""
    try:
        while data := client.recv(65536):
            for event in connection.receive_data(data):
                match event:
                    case ResponseReceived():
                        named = [(str(name), str(value)) for name, value in event.headers]
                        status, fields = int(dict(named)[":status"]), tuple(named[1:])
                    case DataReceived():
                        body += event.data
                    case StreamEnded():
                        return Reply(status, fields, body, is_whole=True)
                    case StreamReset() | ConnectionTerminated():
                        return Reply(status, fields, body)
                    case _:
                        pass
            client.sendall(connection.data_to_send())
    except (OSError, ProtocolError):
        pass
    return Reply(status, fields, body, is_closed=True)
