"""HTTP of the inspector: bounded heads, trailers, informational responses, reused connections, error pages."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from proxy_stand import Stand
from small_internet.clients import HttpAnswer, curl
from small_internet.running import wait_until
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.engine.http1_connection import MAX_PENDING
from hedgerow.proxy.inspection.engine.http_layer import MAX_BACKLOG, MAX_CONNECTIONS_PER_ORIGIN
from hedgerow.proxy.inspection.engine.messages import BROKEN_ANSWER, MAX_INTERIM, TOO_MANY_INTERIM
from hedgerow.proxy.inspection.failures import CERTIFICATE_INVALID, NOT_REACHABLE, failure_key

CHILD_WITH_CA = "127.0.0.11"
CHILD = "127.0.0.12"
INSPECTED = "www.school.example"
VERSIONS = ("--http1.1", "--http2")


def fetch(stand: Stand, url: str, *options: str) -> HttpAnswer:
    return curl(url, proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca, options=options)


@contextlib.contextmanager
def opened(
    stand: Stand, net: SmallInternet, host: str = INSPECTED, alpn: tuple[str, ...] = ()
) -> Iterator[ssl.SSLSocket]:
    """An inspected connection, for HTTP/1.1 unless `alpn` asks for something else."""
    target = f"{host}:{net.origins.https_port}".encode()
    with socket.create_connection(stand.proxy, 10, (CHILD_WITH_CA, 0)) as client:
        client.sendall(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context(cafile=str(stand.ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        with context.wrap_socket(client, server_hostname=host) as secured:
            yield secured


def read_all(sock: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(OSError):
        while piece := sock.recv(65536):
            found += piece
    return found


def test_trailers_arrive_without_those_that_could_deceive(stand: Stand, net: SmallInternet) -> None:
    with opened(stand, net) as client:
        client.sendall(f"GET /trailers HTTP/1.1\r\nHost: {INSPECTED}\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(client)
    assert answer.endswith(b"5\r\nhello\r\n0\r\nx-sum: 5d41\r\n\r\n")


@pytest.mark.parametrize("version", VERSIONS)
def test_trailers_of_an_upload_and_of_an_answer_end_neither(stand: Stand, net: SmallInternet, version: str) -> None:
    assert fetch(stand, net.url(INSPECTED, "/trailers"), version).body == b"hello"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("host", [INSPECTED, "h2.example"])
def test_answers_before_the_answer_arrive(stand: Stand, net: SmallInternet, version: str, host: str) -> None:
    """Early hints, for HTTP/1 and HTTP/2 on either side (RFC 9110, section 15.2: a proxy forwards them)."""
    answer = fetch(stand, net.url(host, "/interim/2"), version)
    assert (answer.status, answer.body) == (200, b"the answer")
    heads = [(status, [line.lower() for line in lines]) for status, lines in answer.interim]
    hints = [(103, [f"link: </style-{number}.css>; rel=preload"]) for number in range(2)]
    assert heads == [*hints, (102, [])]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("host", [INSPECTED, "h2.example"])
def test_too_many_answers_before_the_answer_are_a_fault_of_the_site(
    stand: Stand, net: SmallInternet, version: str, host: str
) -> None:
    """`/interim/N` sends one more than N."""
    answer = fetch(stand, net.url(host, f"/interim/{MAX_INTERIM - 1}"), version)
    assert (answer.status, answer.body, len(answer.interim)) == (200, b"the answer", MAX_INTERIM)
    before = stand.counters().get(("hedgerow_proxy_dropped_total", "interim"), 0)
    answer = fetch(stand, net.url(host, f"/interim/{MAX_INTERIM}"), version)
    assert (answer.status, len(answer.interim)) == (502, MAX_INTERIM)
    assert stand.counters()["hedgerow_proxy_dropped_total", "interim"] == before + 1


def test_an_old_client_gets_the_answer_alone(stand: Stand, net: SmallInternet) -> None:
    """RFC 9110, section 15.2: no 1xx to an HTTP/1.0 client."""
    answer = fetch(stand, net.url(INSPECTED, "/interim/2"), "--http1.0")
    assert (answer.status, answer.body, answer.interim) == (200, b"the answer", ())


def test_an_origins_connection_serves_several_http2_requests(stand: Stand, net: SmallInternet) -> None:
    urls = [net.url("chat.example", f"/{number}") for number in range(4)]
    fetch(stand, urls[0], "--http2", *(part for url in urls[1:] for part in ("-o", "/dev/null", url)))
    connections = net.origins.connections()
    assert [len(each.requests) for each in connections] == [4]
    assert connections[0].alpn != "h2"


def h2_fetch(client: ssl.SSLSocket, connection: H2Connection, path: str) -> int:
    """Ask for a path on a new stream, and read its whole answer; streams on which nothing is taken keep their windows.

    Returns the size.
    """
    stream, size = connection.get_next_available_stream_id(), 0
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", INSPECTED), (":path", path)]
    connection.send_headers(stream, fields, end_stream=True)
    client.sendall(connection.data_to_send())
    while True:
        for event in connection.receive_data(client.recv(65536)):
            if isinstance(event, DataReceived) and event.stream_id == stream:
                size += len(event.data)
                if event.flow_controlled_length:
                    connection.acknowledge_received_data(event.flow_controlled_length, stream)
            if isinstance(event, StreamEnded) and event.stream_id == stream:
                return size
        client.sendall(connection.data_to_send())


def test_an_http2_stream_that_is_not_read_stops_its_origin_and_no_other_stream(
    stand: Stand, net: SmallInternet
) -> None:
    before = memory(stand.inspector.pid)
    with opened(stand, net, alpn=("h2",)) as client:
        connection = H2Connection(H2Configuration())
        connection.initiate_connection()
        connection.increment_flow_control_window(2**30)
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", INSPECTED), (":path", "/endless")]
        connection.send_headers(connection.get_next_available_stream_id(), fields, end_stream=True)
        assert [h2_fetch(client, connection, f"/bytes/{300_000 + number}") for number in range(5)] == [
            300_000 + number for number in range(5)
        ]
        sent = net.origins.bytes_sent(net.address_of(INSPECTED))
        assert [h2_fetch(client, connection, "/bytes/300000") for _ in range(5)] == [300_000] * 5
        assert net.origins.bytes_sent(net.address_of(INSPECTED)) - sent < 30_000_000
    assert memory(stand.inspector.pid) - before < 30_000_000


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("part", ["head", "chunk", "trailers", "pipeline"])
def test_what_never_ends_is_cut_off(stand: Stand, net: SmallInternet, part: str) -> None:
    begin = {
        "head": "GET / HTTP/1.1\r\nX-Long: ",
        "chunk": "POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: www.school.example\r\n\r\n5;x=",
        "trailers": (
            "POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: www.school.example\r\n\r\n0\r\nX-Long: "
        ),
        "pipeline": "GET /slow/30 HTTP/1.1\r\nHost: www.school.example\r\n\r\n",
    }[part]
    with opened(stand, net) as client:
        client.settimeout(2.0)  # of what follows a request that is not answered little is read
        sent = 0
        with contextlib.suppress(OSError):
            client.sendall(begin.encode())
            while sent < 64 * MAX_PENDING:
                client.sendall(b"x" * 65536)
                sent += 65536
        assert sent < 64 * MAX_PENDING


def test_an_origins_endless_head_ends_with_an_explanation_and_its_connection(stand: Stand, net: SmallInternet) -> None:
    url = net.url("broken.example", "/broken/endless-head", "http")
    answer = curl(url, proxy=stand.proxy, source=CHILD)
    assert (answer.status, "This site sent something broken" in answer.text) == (502, True)
    address = net.address_of("broken.example")
    assert net.origins.bytes_sent(address) < 256 * MAX_PENDING
    wait_until(lambda: not any(each.is_open for each in net.origins.connections(address)), 5)


def test_an_origin_is_left_when_its_client_is_gone(stand: Stand, net: SmallInternet) -> None:
    address = net.address_of(INSPECTED)
    with opened(stand, net) as client:
        client.sendall(f"GET /endless HTTP/1.1\r\nHost: {INSPECTED}\r\n\r\n".encode())
        assert client.recv(1000)
    wait_until(lambda: not any(each.is_open for each in net.origins.connections(address)), 5)


def test_a_client_is_not_read_while_its_origin_is_dialled(stand: Stand, net: SmallInternet) -> None:
    """The name resolves slowly enough that an upload would be hoarded meanwhile; afterwards all of it arrives."""
    size = 3_000_000
    head = f"POST /upload HTTP/1.1\r\nHost: {INSPECTED}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    with opened(stand, net) as client:
        client.sendall(head.encode() + b"y" * size)
        assert b'"length": 3000000' in read_all(client)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_without_address_is_explained(stand: Stand, net: SmallInternet, policy: str, version: str) -> None:
    try:
        stand.swap(policy=policy.replace('"www.school.example/secret"', '"nowhere.example/secret"'))
        answer = fetch(stand, net.url("nowhere.example", "/open"), version)
        plain = curl(net.url("nowhere.example", "/open", "http"), proxy=stand.proxy, source=CHILD)
    finally:
        stand.swap(policy=policy)
    for each in (answer, plain):
        assert (each.exit_code, each.status, "This site cannot be found" in each.text) == (0, 502, True)
        assert "mitmproxy" not in str(each.headers) + each.text


def test_a_body_to_the_end_of_the_connection_is_whole_and_names_no_http3(stand: Stand, net: SmallInternet) -> None:
    """curl takes an end without close_notify for a truncation (status 56)."""
    for version in VERSIONS:
        answer = fetch(stand, net.url(INSPECTED, "/to-the-end"), version)
        assert (answer.exit_code, answer.status, answer.text, answer.headers["alt-svc"]) == (
            0,
            200,
            "hello",
            ['h2=":443"'],
        ), version


def test_an_origin_that_answers_nothing_is_explained(stand: Stand, net: SmallInternet) -> None:
    answer = curl(net.url("broken.example", "/broken/no-answer", "http"), proxy=stand.proxy, source=CHILD)
    assert (answer.status, "This site does not answer" in answer.text) == (502, True)


def test_a_request_that_a_stale_connection_swallowed_is_made_again(stand: Stand, net: SmallInternet) -> None:
    """An origin may hang up on a kept connection just when it is used again.

    What may be done twice is; nothing else is.
    """
    for scheme, options in (("https", ("--http1.1",)), ("https", ("--http2",)), ("http", ("--http1.1",))):
        first, second = (net.url(INSPECTED, path, scheme) for path in ("/first", "/stale?once"))
        words = (*options, "-o", "/dev/null", second)
        net.origins.forget_connections()
        assert fetch(stand, first, *words).status == 200, (scheme, options)
        assert [target for _, target in net.origins.requests()].count("/stale?once") == 2
        net.origins.forget_connections()
        assert fetch(stand, first, *words, "--data", "x").status == 502, (scheme, options)
        assert [target for _, target in net.origins.requests()].count("/stale?once") == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_what_must_not_be_repeated_takes_no_kept_connection(stand: Stand, net: SmallInternet, version: str) -> None:
    """A client with a connection of its own cannot know that the proxy's was an old one, and would not try again."""
    net.origins.forget_connections()
    assert fetch(stand, net.url(INSPECTED, "/first"), version).status == 200
    assert fetch(stand, net.url(INSPECTED, "/second"), version).status == 200
    assert fetch(stand, net.url(INSPECTED, "/stale?once"), version, "--data", "x").status == 200
    assert [len(each.requests) for each in net.origins.connections()] == [2, 1]


@pytest.mark.parametrize("version", VERSIONS)
def test_failures_are_explained_in_the_language_of_the_reader(
    stand: Stand, net: SmallInternet, policy: str, version: str
) -> None:
    german = ("--header", "Accept-Language: de-CH,de;q=0.9")
    try:
        stand.swap(policy=policy.replace('"www.school.example/secret"', '"nowhere.example/secret"'))
        for url in (net.url("nowhere.example", "/open"), net.url("nowhere.example", "/open", "http")):
            answer = fetch(stand, url, version, *german)
            assert (answer.exit_code, answer.status, "Diese Seite wurde nicht gefunden" in answer.text) == (
                0,
                502,
                True,
            ), answer.text
    finally:
        stand.swap(policy=policy)
    port = curl("http://files.example:25/", proxy=stand.proxy, source=CHILD, options=german)
    assert (port.status, "Diese Adresse lässt sich hier nicht öffnen" in port.text) == (403, True)
    house = curl("http://10.1.2.3/", proxy=stand.proxy, source=CHILD, options=("--header", "Accept-Language: fr"))
    assert (house.status, "Cette adresse est bloquée ici" in house.text) == (403, True)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (NOT_REACHABLE, "not-reachable"),
        ("[Errno 111] Connect call failed ('192.0.2.1', 443)", "unreachable"),
        (f"{CERTIFICATE_INVALID}: Hostname mismatch", "bad-certificate"),
        (f"{BROKEN_ANSWER}: its head is incomplete", "broken-answer"),
        (f"{BROKEN_ANSWER}: {TOO_MANY_INTERIM}", "broken-answer"),
    ],
)
def test_failures_have_words(message: str, expected: str) -> None:
    assert failure_key(502, message) == expected
    assert failure_key(400, message) == "bad-request"


def h2_connection(client: ssl.SSLSocket) -> H2Connection:
    connection = H2Connection(H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    client.sendall(connection.data_to_send())
    return connection


def h2_bodies(client: ssl.SSLSocket, connection: H2Connection, count: int) -> dict[int, bytes]:
    """The whole answers to `count` streams."""
    client.sendall(connection.data_to_send())
    bodies: dict[int, bytes] = {}
    ended = 0
    while ended < count:
        data = client.recv(65536)
        assert data, "the connection was closed"
        for event in connection.receive_data(data):
            if isinstance(event, DataReceived):
                bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            ended += isinstance(event, StreamEnded)
        client.sendall(connection.data_to_send())
    return bodies


def h2_fields(method: str, path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", "https"), (":authority", INSPECTED), (":path", path), *more]


def test_an_http2_upload_of_unknown_length_is_no_second_request_to_an_http1_origin(
    stand: Stand, net: SmallInternet
) -> None:
    smuggled = f"GET /smuggled HTTP/1.1\r\nHost: {INSPECTED}\r\n\r\n".encode()
    with opened(stand, net, alpn=("h2",)) as client:
        connection = h2_connection(client)
        connection.send_headers(1, h2_fields("POST", "/upload"))
        connection.send_data(1, smuggled, end_stream=True)
        reported = json.loads(h2_bodies(client, connection, 1)[1])
        connection.send_headers(3, h2_fields("POST", "/upload", ("content-length", "2")))
        connection.send_data(3, b"ok")
        connection.send_headers(3, [("x-sum", "1")], end_stream=True)
        connection.send_headers(5, h2_fields("GET", "/after"), end_stream=True)
        after = json.loads(h2_bodies(client, connection, 2)[5])
    assert reported["length"] == len(smuggled)
    assert after["target"] == "/after"
    assert {each.target for connection in net.origins.connections() for each in connection.requests} == {
        "/upload",
        "/after",
    }


def test_more_http2_streams_than_connections_to_an_http1_origin_are_all_answered(
    stand: Stand, net: SmallInternet
) -> None:
    count = 4 * MAX_CONNECTIONS_PER_ORIGIN
    with opened(stand, net, alpn=("h2",)) as client:
        connection = h2_connection(client)
        for number in range(count):
            connection.send_headers(1 + 2 * number, h2_fields("GET", f"/bytes/{20_000 + number}"), end_stream=True)
        bodies = h2_bodies(client, connection, count)
    assert [len(bodies[1 + 2 * number]) for number in range(count)] == [20_000 + number for number in range(count)]
    assert len(net.origins.connections()) <= MAX_CONNECTIONS_PER_ORIGIN


def test_streams_that_wait_for_a_connection_are_served_when_others_are_given_up(
    stand: Stand, net: SmallInternet
) -> None:
    with opened(stand, net, alpn=("h2",)) as client:
        connection = h2_connection(client)
        for number in range(MAX_CONNECTIONS_PER_ORIGIN):
            connection.send_headers(1 + 2 * number, h2_fields("GET", "/slow/60"), end_stream=True)
        waiting = 1 + 2 * MAX_CONNECTIONS_PER_ORIGIN
        connection.send_headers(waiting, h2_fields("GET", "/after"), end_stream=True)
        client.sendall(connection.data_to_send())
        wait_until(lambda: len(net.origins.connections()) == MAX_CONNECTIONS_PER_ORIGIN, 5.0)
        connection.reset_stream(1)
        assert json.loads(h2_bodies(client, connection, 1)[waiting])["target"] == "/after"


def test_an_empty_line_before_a_request_is_passed_over(stand: Stand, net: SmallInternet) -> None:
    with opened(stand, net) as client:
        client.settimeout(10)
        client.sendall(f"\r\n\r\nGET /status/418 HTTP/1.1\r\nHost: {INSPECTED}\r\nConnection: close\r\n\r\n".encode())
        assert read_all(client).startswith(b"HTTP/1.1 418")


def test_a_request_line_of_http2_is_refused(stand: Stand, net: SmallInternet) -> None:
    with opened(stand, net) as client:
        client.sendall(f"GET / HTTP/2.0\r\nHost: {INSPECTED}\r\n\r\n".encode())
        assert read_all(client).startswith(b"HTTP/1.1 400")
    assert not net.origins.connections()


def test_an_http2_origin_that_takes_nothing_stops_the_upload(stand: Stand, net: SmallInternet, tmp_path: Path) -> None:
    """Else all that the client sends would be kept in memory."""
    file = tmp_path / "upload"
    with file.open("wb") as sparse:
        sparse.truncate(8 * MAX_BACKLOG)
    url = net.url("h2.example", "/deaf")
    command = [
        "curl",
        "--silent",
        "--http2",
        "--proxy",
        f"http://{stand.proxy[0]}:{stand.proxy[1]}",
        "--interface",
        CHILD_WITH_CA,
        "--cacert",
        str(stand.ca),
    ]
    command += [
        "--upload-file",
        str(file),
        "--max-time",
        "4",
        "--write-out",
        "%{size_upload} %{http_version}",
        "--output",
        "/dev/null",
        url,
    ]
    sent, version = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.split()
    assert version in {"0", "2"}
    assert 65_535 < int(sent) < 3 * MAX_BACKLOG


def test_a_client_that_resets_an_upload_that_the_origin_does_not_take_is_noticed(
    stand: Stand, net: SmallInternet
) -> None:
    """It is not read meanwhile, so that its end is not read either."""

    def inspected() -> float:
        return stand.counters().get(("hedgerow_proxy_open_tunnels",), 0.0)

    wait_until(lambda: inspected() == 0, 30, "those of other tests have ended")
    with opened(stand, net) as client:
        client.sendall(f"PUT /slow/90 HTTP/1.1\r\nHost: {INSPECTED}\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
        client.setblocking(False)
        sent = 0
        while select.select([], [client], [], 2)[1]:
            with contextlib.suppress(ssl.SSLWantWriteError):
                sent += client.send(bytes(65536))
            assert sent < 1 << 30, "the upload does not stall"
        wait_until(lambda: inspected() == 1, 30, "it waits for the origin")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: inspected() == 0, 30, "its end is noticed")
