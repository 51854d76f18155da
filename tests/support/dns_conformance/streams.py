"""Connections: DNS over TCP, TLS and HTTPS after the RFCs."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator

import httpx
from http_conformance.http2 import Resource, run_cases
from http_conformance.outcome import Outcome

from dns_conformance.messages import Answer, answered, edns, parse, query, read_framed
from dns_conformance.servers import HOME, Resolver

PATIENCE = 10.0
_MESSAGE = {"content-type": "application/dns-message"}
_PADDING, _PADDING_BLOCK = b"\0\x0c\0\0", 468


def framed(data: bytes, number: int = 0x04D2) -> bytes:
    return len(data).to_bytes(2) + number.to_bytes(2) + data[2:]


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection((HOME, port), PATIENCE) as sock:
        yield sock


@contextlib.contextmanager
def secured(port: int, alpn: str) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    with connected(port) as sock, context.wrap_socket(sock, suppress_ragged_eofs=True) as secure:
        yield secure


def _many_at_once(sock: socket.socket) -> bool:
    """Fifty queries in one segment; the answers may come in any order (RFC 7766, section 6.2.1.1)."""
    names = ("news.example", "bank.example", "no-such-name.example", "games.example")
    sock.sendall(b"".join(framed(query(names[number % 4]), number) for number in range(50)))
    return sorted(int.from_bytes(read_framed(sock)[:2]) for _ in range(50)) == list(range(50))


def _octet_by_octet(sock: socket.socket) -> bool:
    for octet in framed(query()):
        sock.sendall(bytes((octet,)))
    return answered(_read(sock))


def _one_after_the_other(sock: socket.socket) -> bool:
    for number in range(5):
        sock.sendall(framed(query(), number))
        if not answered(_read(sock)):
            return False
    return True


def _half_closed(sock: socket.socket) -> bool:
    sock.sendall(framed(query()))
    sock.shutdown(socket.SHUT_WR)
    return answered(_read(sock))


def _padded(sock: socket.socket) -> bool:
    sock.sendall(framed(edns(_PADDING)))
    return len(read_framed(sock)) % _PADDING_BLOCK == 0


def _not_padded(sock: socket.socket) -> bool:
    sock.sendall(framed(edns()))
    return 12 not in _read(sock).options


def _keepalive(sock: socket.socket) -> bool:
    sock.sendall(framed(edns(b"\0\x0b\0\0")))
    return 11 in _read(sock).options


def _read(sock: socket.socket) -> Answer:
    return parse(read_framed(sock))


STREAM_CASES: tuple[tuple[str, str, str, Callable[[socket.socket], bool]], ...] = (
    ("tcp", "many queries at once", "7766 6.2.1.1", _many_at_once),
    ("tcp", "query octet by octet", "7766 8", _octet_by_octet),
    ("tcp", "queries one after the other", "7766 6.2.1", _one_after_the_other),
    ("tcp", "client that has closed its side", "7766 6.2.4", _half_closed),
    ("dot", "many queries at once", "7858 3.3", _many_at_once),
    ("dot", "queries one after the other", "7858 3.4", _one_after_the_other),
    ("dot", "padding of answers to padded queries", "8467 4.1", _padded),
    ("dot", "no padding of others", "7830 4", _not_padded),
    ("dot", "keepalive", "7828 3.2.1", _keepalive),
)


def _post(client: httpx.Client, data: bytes, path: str = "/dns-query", **headers: str) -> httpx.Response:
    return client.post(path, content=data, headers=_MESSAGE | headers)


def _get(client: httpx.Client, data: bytes, path: str = "/dns-query") -> httpx.Response:
    return client.get(path, params={"dns": base64.urlsafe_b64encode(data).rstrip(b"=").decode()})


def _is_answer(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "")
    return response.status_code == 200 and kind == _MESSAGE["content-type"] and answered(parse(response.content))


def _lifetime(response: httpx.Response) -> bool:
    """Freshness never exceeds the shortest TTL (RFC 8484, section 5.1)."""
    age = re.search(r"max-age=(\d+)", response.headers.get("cache-control", ""))
    return (
        _is_answer(response)
        and age is not None
        and int(age[1]) <= min(ttl for _, _, ttl, _ in parse(response.content).records)
    )


DOH_CASES: tuple[tuple[str, str, Callable[[httpx.Client], httpx.Response], Callable[[httpx.Response], bool]], ...] = (
    ("POST", "8484 4.1", lambda client: _post(client, query()), _is_answer),
    ("GET", "8484 4.1", lambda client: _get(client, query()), _is_answer),
    ("HTTP/2", "8484 5.2", lambda client: _post(client, query()), lambda response: response.http_version == "HTTP/2"),
    ("lifetime of an answer", "8484 5.1", lambda client: _get(client, query()), _lifetime),
    (
        "name that does not exist",
        "8484 4.2.1",
        lambda client: _get(client, query("no-such-name.example")),
        lambda response: response.status_code == 200,
    ),
    (
        "other media type",
        "8484 4.1",
        lambda client: client.post("/dns-query", content=query(), headers={"content-type": "text/plain"}),
        lambda response: response.status_code == 415,
    ),
    (
        "other path",
        "9110 15.5.5",
        lambda client: _post(client, query(), "/elsewhere"),
        lambda response: response.status_code == 404,
    ),
    (
        "other method",
        "9110 15.5.6",
        lambda client: client.delete("/dns-query"),
        lambda response: response.status_code in (405, 501, 400),
    ),
    (
        "GET without a query",
        "8484 4.1",
        lambda client: client.get("/dns-query"),
        lambda response: response.status_code == 400,
    ),
    (
        "GET with other octets",
        "8484 4.1",
        lambda client: client.get("/dns-query?dns=!!"),
        lambda response: response.status_code == 400,
    ),
    (
        "POST without a message",
        "8484 4.1",
        lambda client: _post(client, b"abc"),
        lambda response: response.status_code == 400,
    ),
)


def run_streams(resolver: Resolver) -> Iterator[Outcome]:
    """Run all cases over the transports that the resolver serves."""
    for transport, case, section, run in STREAM_CASES:
        try:
            port = resolver.ports[transport]
            with secured(port, "dot") if transport == "dot" else connected(port) as sock:
                passed, seen = run(sock), "a wrong answer"
        except (OSError, EOFError) as error:
            passed, seen = False, repr(error)
        yield Outcome(f"connections, {transport.upper()}", case, section, passed, seen)
    with httpx.Client(
        base_url=f"https://{HOME}:{resolver.ports['doh']}", http2=True, verify=False, trust_env=False, timeout=PATIENCE
    ) as client:
        for case, section, send, judge in DOH_CASES:
            try:
                response = send(client)
                passed, seen = judge(response), f"{response.status_code} {response.headers.get('content-type')}"
            except httpx.HTTPError as error:
                passed, seen = False, repr(error)
            yield Outcome("DNS over HTTPS", case, section, passed, seen)


def run_http2(resolver: Resolver) -> Iterator[Outcome]:
    """HTTP/2 frames to the server of DNS over HTTPS."""
    encoded = base64.urlsafe_b64encode(query()).rstrip(b"=").decode()
    resource = Resource(
        f"{HOME}:{resolver.ports['doh']}",
        path=f"/dns-query?dns={encoded}",
        target="/dns-query",
        fields=tuple(_MESSAGE.items()),
        body=query(),
    )
    yield from run_cases("HTTP/2 frames of DNS over HTTPS", resource, lambda: secured(resolver.ports["doh"], "h2"))
