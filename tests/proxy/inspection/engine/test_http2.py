"""Floods of HTTP/2 frames, pipelined requests, and cancelled streams: the connection ends or goes on, and no other one
suffers.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded
from h2.exceptions import StreamClosedError
from hpack import Encoder
from hyperframe import frame
from proxy_stand import Stand, proxy_stand
from small_internet.clients import curl
from small_internet.whole import SmallInternet

from hedgerow.frame_budget import MAX_TOKENS, OCTETS_PER_UPDATE
from hedgerow.proxy.inspection.shares import CONNECTIONS

CHILD_WITH_CA = "127.0.0.11"
CHILD = "127.0.0.12"
INSPECTED = "www.school.example"
MODERN = "h2.example"  # speaks HTTP/2
ENHANCE_YOUR_CALM = 11


def opened(stand: Stand, net: SmallInternet, protocol: str, host: str = INSPECTED) -> ssl.SSLSocket:
    target = f"{host}:{net.origins.https_port}".encode()
    client = socket.create_connection(stand.proxy, 20, (CHILD_WITH_CA, 0))
    with contextlib.ExitStack() as stack:
        stack.enter_context(client)
        client.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
        if not client.recv(1000).startswith(b"HTTP/1.1 200"):
            raise ConnectionError
        context = ssl.create_default_context(cafile=str(stand.ca))
        context.set_alpn_protocols([protocol])
        secured = context.wrap_socket(client, server_hostname=host)
        stack.pop_all()
        return secured


def fields(path: str, host: str = INSPECTED) -> list[tuple[str, str]]:
    return [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)]


def is_served(stand: Stand, net: SmallInternet) -> bool:
    """Another device of the network gets a page."""
    return curl(net.url(INSPECTED, "/open", "http"), proxy=stand.proxy, source=CHILD).status == 200


def rapid_reset(count: int) -> bytes:
    encoder = Encoder()
    pieces = []
    for stream in range(1, 2 * count, 2):
        head = encoder.encode(fields("/open"))
        pieces.append(frame.HeadersFrame(stream, head, flags=["END_HEADERS", "END_STREAM"]).serialize())
        pieces.append(frame.RstStreamFrame(stream, error_code=8).serialize())
    return b"".join(pieces)


FLOODS = {
    "ping": frame.PingFrame(0, opaque_data=b"12345678").serialize() * 2 * MAX_TOKENS,
    "settings": frame.SettingsFrame(0, settings={4: 65535}).serialize() * MAX_TOKENS,
    "priority": frame.PriorityFrame(1, stream_weight=3).serialize() * 2 * MAX_TOKENS,
    "window update": frame.WindowUpdateFrame(0, window_increment=1).serialize() * 2 * MAX_TOKENS,
    "rapid reset": rapid_reset(MAX_TOKENS),
    "table size updates": frame.HeadersFrame(1, b"\x20" * 16_384, flags=["END_STREAM"]).serialize()
    + frame.ContinuationFrame(1, b"\x20" * 16_384).serialize() * 4,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_frames_ends_its_connection_and_no_others(stand: Stand, net: SmallInternet, kind: str) -> None:
    before = stand.counters().get(("hedgerow_proxy_dropped_total", "flood"), 0)
    with opened(stand, net, "h2") as client:
        connection = H2Connection()
        connection.initiate_connection()
        client.sendall(connection.data_to_send() + FLOODS[kind])
        assert is_served(stand, net)
        assert_refused(client)
    assert stand.counters()["hedgerow_proxy_dropped_total", "flood"] == before + 1
    assert is_served(stand, net)
    assert len(net.origins.requests(INSPECTED)) < MAX_TOKENS


def test_a_client_that_reconnects_does_not_begin_anew(net: SmallInternet, policy: str) -> None:
    """The tokens of its device are spent, and it opens no connection. Another device of the network gets its pages."""
    with proxy_stand(net, policy) as stand:
        refused = 0
        for _ in range(2 * CONNECTIONS):
            try:
                with opened(stand, net, "h2") as client:
                    connection = H2Connection()
                    connection.initiate_connection()
                    client.sendall(connection.data_to_send() + FLOODS["ping"])
                    assert_refused(client)
            except OSError:
                refused += 1
        assert refused >= CONNECTIONS / 2
        assert is_served(stand, net)


def assert_refused(client: ssl.SSLSocket) -> None:
    """The connection ends with GOAWAY, which the kernel's reset for frames that nobody reads any more can overtake."""
    found = bytearray()
    try:
        while piece := client.recv(65536):
            found += piece
    except (ConnectionError, ssl.SSLEOFError):
        assert last_error(bytes(found)) in (ENHANCE_YOUR_CALM, None)
    else:
        assert last_error(bytes(found)) == ENHANCE_YOUR_CALM


def last_error(data: bytes) -> int | None:
    """The error code in the last GOAWAY frame."""
    error, at = None, 0
    while at + 9 <= len(data):
        size, kind = int.from_bytes(data[at : at + 3]), data[at + 3]
        if kind == frame.GoAwayFrame.type:
            error = int.from_bytes(data[at + 13 : at + 17])
        at += 9 + size
    return error


def test_cancelled_streams_leave_their_origin_to_the_others(stand: Stand, net: SmallInternet) -> None:
    """HTTP/2 in front, HTTP/1 behind: a cancelled stream frees its place in the queue, or its connection to
    the origin.
    """
    with opened(stand, net, "h2") as client:
        connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        for _ in range(3):
            asked = [ask(connection, f"/bytes/{size}", INSPECTED) for size in range(1, 17)]
            cancelled = [ask(connection, "/slow/60", INSPECTED) for _ in range(8)]
            client.sendall(connection.data_to_send())
            for stream in cancelled:
                connection.reset_stream(stream, 8)
            assert take(client, connection, asked)[asked[-1]] == 16


def test_a_busy_client_that_cancels_and_downloads_much_stays(stand: Stand, net: SmallInternet) -> None:
    """Hundreds of requests, half as many cancelled, and more window updates than there are tokens."""
    with opened(stand, net, "h2", MODERN) as client:
        connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        for _ in range(25):
            asked = [ask(connection, f"/bytes/{size}") for size in range(1, 17)]
            left = [ask(connection, "/slow/60") for _ in range(8)]
            client.sendall(connection.data_to_send())
            for stream in left:
                connection.reset_stream(stream, 8)
            assert take(client, connection, asked)[asked[-1]] == 16
        size = 2 * MAX_TOKENS * OCTETS_PER_UPDATE * 2
        stream = ask(connection, f"/bytes/{size}")
        assert take(client, connection, [stream]) == {stream: size}


def ask(connection: H2Connection, path: str, host: str = MODERN) -> int:
    stream: int = connection.get_next_available_stream_id()
    connection.send_headers(stream, fields(path, host), end_stream=True)
    return stream


def take(client: ssl.SSLSocket, connection: H2Connection, streams: list[int]) -> dict[int, int]:
    """Read the whole answers, opening the windows again at each piece. Returns their sizes."""
    sizes, ended = dict.fromkeys(streams, 0), set[int]()
    while not ended.issuperset(streams):
        client.sendall(connection.data_to_send())
        data = client.recv(65536)
        assert data, "the connection was closed"
        for event in connection.receive_data(data):
            if isinstance(event, DataReceived) and event.stream_id in sizes and event.data:
                sizes[event.stream_id] += len(event.data)
                connection.increment_flow_control_window(len(event.data))
                with contextlib.suppress(StreamClosedError):  # its end has come with it
                    connection.increment_flow_control_window(len(event.data), event.stream_id)
            if isinstance(event, StreamEnded):
                ended.add(event.stream_id)
    return sizes


def test_requests_without_waiting_are_answered_no_faster_than_their_client_reads(
    stand: Stand, net: SmallInternet
) -> None:
    """All are answered in the end, and another device meanwhile."""
    count = 2500
    head = f"HTTP/1.1\r\nHost: {INSPECTED}\r\nAccept: text/html\r\nSec-Fetch-Dest: document\r\n\r\n"
    with opened(stand, net, "http/1.1") as client:
        before = refused(stand)
        client.sendall(f"GET /open {head}".encode() + f"GET /secret {head}".encode() * count)
        assert is_served(stand, net)
        assert client.recv(12) == b"HTTP/1.1 200"
        assert is_served(stand, net)
        assert refused(stand) - before < count
        answers, rest = 0, b""
        while answers < count:
            piece = client.recv(65536)
            assert piece, "the connection was closed"
            rest += piece
            answers += rest.count(b"HTTP/1.1 403")
            rest = rest[-11:]
    assert refused(stand) - before == count


def refused(stand: Stand) -> float:
    return sum(
        value for key, value in stand.counters().items() if key[0] == "hedgerow_proxy_requests_total" and "block" in key
    )


def test_streams_beyond_the_limit_are_refused_and_the_others_answered(stand: Stand, net: SmallInternet) -> None:
    """RFC 9113, section 5.1.2: uploads that have begun are finished, those beyond a hundred may be repeated."""
    encoder, most = Encoder(), 100
    with opened(stand, net, "h2") as client:
        connection = H2Connection()
        connection.initiate_connection()
        heads = [
            frame.HeadersFrame(number, encoder.encode(fields("/open")), flags=["END_HEADERS"])
            for number in range(1, 2 * most + 11, 2)
        ]
        client.sendall(connection.data_to_send() + b"".join(each.serialize() for each in heads))
        client.sendall(frame.DataFrame(1, flags=["END_STREAM"]).serialize())
        heard, refused, answered = b"", dict[int, int](), set[int]()
        while len(refused) < 5 or not answered:
            piece = client.recv(65536)
            assert piece
            heard += piece
            while len(heard) >= 9 and len(heard) >= 9 + int.from_bytes(heard[:3]):
                read, length = frame.Frame.parse_frame_header(memoryview(heard)[:9])
                read.parse_body(memoryview(heard)[9 : 9 + length])
                heard = heard[9 + length :]
                assert not isinstance(read, frame.GoAwayFrame)
                if isinstance(read, frame.RstStreamFrame):
                    refused[read.stream_id] = read.error_code
                elif isinstance(read, frame.HeadersFrame):
                    answered.add(read.stream_id)
    assert refused == dict.fromkeys(range(2 * most + 1, 2 * most + 11, 2), ErrorCodes.REFUSED_STREAM)
    assert answered == {1}
