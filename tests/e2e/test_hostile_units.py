"""One message that is made to cost a lot, sent over and over by one device: no process falls silent, and another device
goes on.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
from hyperframe import frame
from small_internet import SmallInternet
from small_internet.clients import DnsAnswer, HttpAnswer, curl, kdig
from small_internet.family import COMPUTER, LAPTOP, TABLET, say
from small_internet.running import Hedgerow, network_section, parse_address, running_hedgerow, wait_until

NOTEBOOK = "127.0.0.5"
"""One that sent no frames of its own, so that its allowance of them is whole."""
PEOPLE = f"""
people:
  mia: {{age: 9, devices: [mia-tablet, mia-computer, mia-notebook], block: ["www.school.example/*video*watch*", "www.school.example/*a*b"]}}
  tom: {{age: 17, devices: [tom-laptop]}}
devices:
  mia-tablet: {{ip: {TABLET}}}
  mia-computer: {{ip: {COMPUTER}, trusts_ca: true}}
  mia-notebook: {{ip: {NOTEBOOK}, trusts_ca: true}}
  tom-laptop: {{ip: {LAPTOP}}}
"""  # noqa: E501
HTTP2_HOST = "forum.example"
ROLES = ("dns", "gate", "inspector")
SENDERS, TIMES = 3, 3
UNFINISHED = b"/unfinished"
"""Path of the answer after which the origin waits until the other side closes, for up to 20 s."""


class HostileOrigin:
    """A server of plain HTTP on `port` that answers each connection with the octets `answers` has for the path."""

    def __init__(self, server: socket.socket) -> None:
        self.server = server
        self.port: int = server.getsockname()[1]
        self.answers: dict[bytes, bytes] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
                head += piece
            path = head.split(b" ")[1]
            client.sendall(self.answers[path])
            if path == UNFINISHED:
                client.recv(1)


class Http2Origin(HostileOrigin):
    """A server over TLS that sends the octets `frames` after its SETTINGS to each client, once the client has sent a
    request.
    """

    def __init__(self, server: socket.socket, tls: ssl.SSLContext) -> None:
        super().__init__(server)
        self.frames = b""
        self._tls = tls

    def answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(20)
            with self._tls.wrap_socket(client, server_side=True) as secured:
                heard = b""
                while b"\x01\x05\x00\x00\x00\x01" not in heard:  # HEADERS of stream 1, which ends with them
                    heard += secured.recv(65536)
                secured.sendall(frame.SettingsFrame(0).serialize() + self.frames)
                while secured.recv(65536):
                    pass


@contextlib.contextmanager
def served(origin: HostileOrigin) -> Iterator[None]:
    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=origin.answer, args=(origin.server.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve)
    with origin.server:
        thread.start()
        yield
        origin.server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def origin() -> Iterator[HostileOrigin]:
    serving = HostileOrigin(socket.create_server(("127.0.0.1", 0), backlog=64))
    with served(serving):
        yield serving


@pytest.fixture(scope="module")
def http2_origin(whole_internet: SmallInternet) -> Iterator[Http2Origin]:
    leaf = whole_internet.authority.leaf(HTTP2_HOST)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(leaf.certificate, leaf.key)
    tls.set_alpn_protocols(["h2"])
    serving = Http2Origin(socket.create_server((whole_internet.address_of(HTTP2_HOST), 0), backlog=64), tls)
    with served(serving):
        yield serving


@pytest.fixture(scope="module")
def family(whole_internet: SmallInternet, origin: HostileOrigin, http2_origin: Http2Origin) -> Iterator[Hedgerow]:
    network = network_section(whole_internet, lan=("127.0.0.0/24",)).replace(
        "ports: [", f"ports: [{origin.port}, {http2_origin.port}, "
    )
    policy, authority = network + "  country: GB\n  new_sites_days: 0\n" + PEOPLE, whole_internet.authority.root
    with running_hedgerow(policy, options=["--doh", "127.0.0.1:0"], upstream_authority=authority) as running:
        yield running


def assert_harmless(family: Hedgerow, internet: SmallInternet, attack: Callable[[], object]) -> None:
    """Assert that `attack`, in several threads and several times in each, leaves every process alive, and another
    device served.
    """
    before, served, answers = {role: family.pids(role) for role in ROLES}, list[int](), list[DnsAnswer | None]()
    url = internet.url("games.example", scheme="http")

    def repeat() -> None:
        for _ in range(TIMES):
            attack()

    senders = [threading.Thread(target=repeat) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        served.append(curl(url, proxy=family.proxy, source=LAPTOP).status)
        answers.append(kdig(family.dns, "games.example", source=LAPTOP))
    for sender in senders:
        sender.join()
    assert {role: family.pids(role) for role in ROLES} == before, family.stderr[-3000:]
    assert set(served) <= {200}, served
    assert None not in answers
    assert "Traceback" not in family.stderr


@pytest.mark.parametrize("repeated", ["video", "a"])
def test_long_urls_under_rules_of_many_stars(family: Hedgerow, whole_internet: SmallInternet, repeated: str) -> None:
    url = whole_internet.url("www.school.example", "/" + repeated * (31_000 // len(repeated)), scheme="http")
    assert_harmless(family, whole_internet, lambda: curl(url, proxy=family.proxy, source=TABLET))


def block_of_fields(unit: bytes, frames: int = 62, size: int = 16_384) -> bytes:
    """Return one block of fields as HTTP/2 frames."""
    pieces: list[frame.Frame] = [frame.HeadersFrame(1, unit * (size // len(unit)), flags=["END_STREAM"])]
    pieces += [frame.ContinuationFrame(1, unit * (size // len(unit))) for _ in range(frames)]
    pieces += [frame.ContinuationFrame(1, REQUEST, flags=["END_HEADERS"])]
    return b"".join(each.serialize() for each in pieces)


REQUEST = b"\x82\x84\x87\x41\x01x"  # GET, /, https, and an authority
HTTP2_UNITS = {
    "a megabyte of table size updates": block_of_fields(b"\x20"),
    "a frame of table size updates": block_of_fields(b"\x20", frames=0),
    "a megabyte of empty fields": block_of_fields(b"\x00\x00\x00"),
    "fields from the table": block_of_fields(
        b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 3000, frames=0, size=7006
    ),
    "empty CONTINUATION": block_of_fields(b"\x20", frames=0) + frame.ContinuationFrame(1).serialize() * 60_000,
    "empty DATA": (
        frame.HeadersFrame(1, REQUEST, flags=["END_HEADERS"]).serialize() + frame.DataFrame(1).serialize() * 60_000
    ),
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame.SettingsFrame(0).serialize()


def send_over_tls(client: socket.socket, data: bytes) -> bytes:
    """Send HTTP/2 frames after the preface, and return what is answered until the connection ends."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    answer = b""
    with context.wrap_socket(client, server_hostname="www.school.example") as tls, contextlib.suppress(OSError):
        tls.sendall(PREFACE + data)
        while piece := tls.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize("kind", HTTP2_UNITS)
def test_http2_frames_to_the_resolver(family: Hedgerow, whole_internet: SmallInternet, kind: str) -> None:
    found = re.search(r" doh=(\S+)", family.ready_line)
    assert found is not None
    address = parse_address(found[1])

    def send() -> None:
        with contextlib.suppress(OSError), socket.create_connection(address, 20, (TABLET, 0)) as client:
            send_over_tls(client, HTTP2_UNITS[kind])

    assert_harmless(family, whole_internet, send)


@pytest.mark.parametrize("kind", HTTP2_UNITS)
def test_http2_frames_to_the_inspector(family: Hedgerow, whole_internet: SmallInternet, kind: str) -> None:
    """A device that has sent too many frames gets no connection for a while."""
    name, connected = b"www.school.example:443", list[bool]()

    def connect(then: Callable[[socket.socket], object]) -> bool:
        answer = b""
        with contextlib.suppress(OSError), socket.create_connection(family.proxy, 20, (COMPUTER, 0)) as client:
            client.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name, name))
            answer = client.recv(4096)
            if answer:
                then(client)
        assert not answer or answer.startswith(b"HTTP/1.1 200")
        return bool(answer)

    wait_until(lambda: connect(socket.socket.close), 60, "what it sent before is forgiven")
    assert_harmless(
        family,
        whole_internet,
        lambda: connected.append(connect(lambda client: send_over_tls(client, HTTP2_UNITS[kind]))),
    )
    assert any(connected)


LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"
REST = LAST.partition(b"\r\n")[2]
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html><head>"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
RESPONSES = {
    "100 Continue": (b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000 + LAST, 502),
    "early hints": ((b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a.css>\r\n" * 50 + b"\r\n") * 3000 + LAST, 502),
    "malformed ones": (b"HTTP/1.1 199\r\nContent-Length: 1\r\n\r\n" * 100_000 + LAST, 502),
    "fields of an early hint": (b"HTTP/1.1 103 Early Hints\r\n" + b"a:b\r\n" * 12_000 + b"\r\n" + LAST, 502),
    "fields": (b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 50_000 + REST, 502),
    "folded lines": (b"HTTP/1.1 200 OK\r\nA: b\r\n" + b" c\r\n" * 50_000 + REST, 502),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\n" + b"a:b\r\n" * 50_000 + b"\r\n", 502),
    "folded trailers": (CHUNKED + b"1\r\na\r\n0\r\na: b\r\n" + b" c\r\n" * 50_000 + b"\r\n", 502),
    "chunks of one octet": (CHUNKED + b"1\r\na\r\n" * 200_000 + b"0\r\n\r\n", 200),
    "chunks with extensions": (CHUNKED + b"1;\x80\r\na\r\n" * 200_000 + b"0\r\n\r\n", 200),
    "a tag of one name": (PAGE + b"<meta " + b"a" * 61_000 + b">", 200),
    "a charset of spaces": (PAGE + b"<meta charset=" + b" " * 61_000 + b">", 200),
}


@pytest.mark.parametrize("kind", RESPONSES)
def test_http1_responses(family: Hedgerow, whole_internet: SmallInternet, origin: HostileOrigin, kind: str) -> None:
    response, expected = RESPONSES[kind]
    path, statuses = f"/{list(RESPONSES).index(kind)}", list[int]()
    origin.answers[path.encode()] = response
    url = origin.url(path)
    assert_harmless(
        family, whole_internet, lambda: statuses.append(curl(url, proxy=family.proxy, source=TABLET, timeout=60).status)
    )
    assert set(statuses) == {expected}
    if kind in {"100 Continue", "early hints", "malformed ones"}:
        assert "warning: a request failed: the site sends too many informational responses" in family.stderr


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Early Hints\r\n"])
def test_too_many_fields_are_refused_before_the_head_ends(
    family: Hedgerow, origin: HostileOrigin, start: bytes
) -> None:
    origin.answers[UNFINISHED] = start + b"a:b\r\n" * 1_100
    assert curl(origin.url(UNFINISHED.decode()), proxy=family.proxy, source=TABLET, timeout=15).status == 502


def test_a_switch_of_protocols_after_many_informational_responses(
    family: Hedgerow, whole_internet: SmallInternet, origin: HostileOrigin
) -> None:
    origin.answers[b"/switch"] = (
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000 + b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    )
    head = (
        f"GET {origin.url('/switch')} HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\nConnection: Upgrade\r\nUpgrade:"
        " websocket\r\n"
    )
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    answers = list[bytes]()
    assert_harmless(family, whole_internet, lambda: answers.append(say(family, (head + key).encode())))
    assert all(b"HTTP/1.1 502" in answer and b" 101 " not in answer for answer in answers), answers[0][-300:]


RESPONSE_BLOCK = b"\x88"  # 200
INTERIM_BLOCK = b"\x08\x03103"
FRAMES_OF_ORIGINS = {
    "early hints": (frame.HeadersFrame(1, INTERIM_BLOCK, flags=["END_HEADERS"]).serialize() * 50_000, 502),
    "empty DATA": (
        frame.HeadersFrame(1, RESPONSE_BLOCK, flags=["END_HEADERS"]).serialize()
        + frame.DataFrame(1).serialize() * 50_000,
        200,
    ),
    "PING": (
        frame.PingFrame(0, b"12345678").serialize() * 50_000
        + frame.HeadersFrame(1, RESPONSE_BLOCK, flags=["END_HEADERS"]).serialize(),
        200,
    ),
    "table size updates": (
        frame.HeadersFrame(1, b"\x20" * 16_384 + RESPONSE_BLOCK, flags=["END_HEADERS"]).serialize(),
        502,
    ),
}


@pytest.mark.parametrize("kind", FRAMES_OF_ORIGINS)
def test_http2_frames_of_origins(
    family: Hedgerow, whole_internet: SmallInternet, http2_origin: Http2Origin, kind: str
) -> None:
    frames, expected = FRAMES_OF_ORIGINS[kind]
    http2_origin.frames = frames + frame.DataFrame(1, b"a", flags=["END_STREAM"]).serialize()
    answers = list[HttpAnswer]()
    url = f"https://{HTTP2_HOST}:{http2_origin.port}/"
    assert_harmless(
        family,
        whole_internet,
        lambda: answers.append(curl(url, proxy=family.proxy, source=NOTEBOOK, ca=family.authority, timeout=60)),
    )
    assert {answer.status for answer in answers} == {expected}, answers


@pytest.mark.parametrize(
    "target",
    [
        "nowhere.example:443",
        "nowhere.example:0",
        "xn--a.example:443",
        "192.0.2.1:99999",
        "[::1]:443",
        "a..b:443",
        ":443",
    ],
)
def test_odd_destinations_leave_no_traceback(family: Hedgerow, whole_internet: SmallInternet, target: str) -> None:
    """A name without an address among them."""

    def send() -> None:
        context = ssl.create_default_context()
        with contextlib.suppress(OSError), socket.create_connection(family.proxy, 20, (TABLET, 0)) as client:
            client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            if client.recv(4096).startswith(b"HTTP/1.1 200"):
                context.wrap_socket(client, server_hostname="nowhere.example")

    assert_harmless(family, whole_internet, send)
