"""The gate from outside: curl and raw sockets as clients, origins with TLS, an inspector behind it, real rules."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.bodies import body
from small_internet.clients import curl, curl_sha256
from small_internet.running import wait_until
from small_internet.whole import SmallInternet

from hedgerow.policies.model import DeviceId, Grant, Pause, Reason, RequestKind, Verdict
from hedgerow.proxy.client_hello import ACCESS_DENIED_ALERT
from hedgerow.proxy.gate.table import GateLimits

CHILD_WITH_CA = "127.0.0.11"
CHILD = "127.0.0.12"
ADULT = "127.0.0.13"


@contextlib.contextmanager
def connected(stand: Stand, source: str = CHILD, timeout: float = 10.0) -> Iterator[socket.socket]:
    with socket.create_connection(stand.proxy, timeout, (source, 0)) as client:
        yield client


def read_all(client: socket.socket) -> bytes:
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def read_until(client: socket.socket, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        piece = client.recv(1)
        assert piece, found
        found += piece
    return found


def open_tunnel(client: socket.socket, host: str, port: int) -> None:
    client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def client_context(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


@contextlib.contextmanager
def inspected(stand: Stand, net: SmallInternet, alpn: str = "http/1.1") -> Iterator[ssl.SSLSocket]:
    """A connection to a host that is looked into, under our certificate."""
    with connected(stand, CHILD_WITH_CA) as client:
        open_tunnel(client, "www.school.example", net.origins.https_port)
        context = client_context(stand.ca)
        context.set_alpn_protocols([alpn])
        with context.wrap_socket(client, server_hostname="www.school.example", suppress_ragged_eofs=True) as tls:
            yield tls


# Refuse.


def test_blocked_http_gets_the_page(stand: Stand, net: SmallInternet) -> None:
    answer = curl(net.url("adult.example", "/x", "http"), proxy=stand.proxy, source=CHILD)
    assert answer.status == 403
    assert "This site is not open here" in answer.text
    assert "adult.example" in answer.text
    assert answer.headers["cache-control"] == ["no-store"]
    assert net.origins.connections() == []
    reported = stand.wait_for(len)
    assert [(each.decision.reason, each.request.kind) for each in reported if each.decision and each.request] == [
        (Reason.CATEGORY, RequestKind.HTTP)
    ]


def test_a_blocked_connect_gives_the_reason(stand: Stand, net: SmallInternet) -> None:
    with connected(stand) as client:
        client.sendall(b"CONNECT adult.example:443 HTTP/1.1\r\nHost: adult.example:443\r\n\r\n")
        head, _, text = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"X-Hedgerow-Reason: category" in head
    assert b"adult.example" in text
    assert b"Pornography" in text
    assert curl(net.url("adult.example"), proxy=stand.proxy, source=CHILD).connect_status == 403
    assert net.origins.connections() == []


@pytest.mark.parametrize(
    ("headers", "status", "kind", "has_page"),
    [
        (["Sec-Fetch-Dest: image"], 403, "text/plain", False),
        (["Sec-Fetch-Dest: iframe"], 403, "text/html", False),
        (["Accept: application/json"], 403, "application/json", False),
        (["X-Requested-With: XMLHttpRequest"], 403, "text/plain", False),
        (["Sec-Fetch-Dest: empty", "Sec-Fetch-Mode: cors"], 403, "text/plain", False),
        (["Sec-Fetch-Dest: document"], 403, "text/html", True),
    ],
)
def test_the_form_of_the_refusal_suits_the_client(
    stand: Stand, net: SmallInternet, headers: list[str], status: int, kind: str, has_page: bool
) -> None:
    answer = curl(net.url("adult.example", "/", "http"), proxy=stand.proxy, source=CHILD, headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (status, [f"{kind}; charset=utf-8"])
    assert ("<form" in answer.text) is has_page
    if kind == "application/json":
        assert answer.json()["reason"] == "category"


def test_a_blocked_upload_still_gets_its_page(stand: Stand, net: SmallInternet) -> None:
    options = ["--data-binary", "x" * 100_000]
    answer = curl(net.url("adult.example", "/up", "http"), proxy=stand.proxy, source=CHILD, options=options)
    assert (answer.status, answer.exit_code) == (403, 0)
    size = 8_000_000  # for a client that, as browsers do, reads nothing before it has sent everything
    with connected(stand) as client:
        client.sendall(
            f"POST http://adult.example/ HTTP/1.1\r\nHost: adult.example\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        client.sendall(b"x" * size)
        assert b"This site is not open here" in read_all(client)


def test_a_head_request_gets_no_body(stand: Stand, net: SmallInternet) -> None:
    answer = curl(net.url("adult.example", "/", "http"), proxy=stand.proxy, source=CHILD, options=["--head"])
    assert (answer.status, answer.exit_code) == (403, 0)


# Tunnel.


def test_the_tunnel_shows_the_origins_own_certificate(stand: Stand, net: SmallInternet) -> None:
    answer = curl(net.url("www.school.example", "/x"), proxy=stand.proxy, source=CHILD, ca=net.authority.root)
    assert (answer.status, answer.json()["host"].partition(":")[0]) == (200, "www.school.example")
    assert "Small Internet test root" in answer.certificate
    assert answer.json()["tls"]["sni"] == "www.school.example"


def test_a_large_download_is_whole(stand: Stand, net: SmallInternet) -> None:
    size = 200 * 1000 * 1000
    expected = hashlib.sha256()
    for piece in body(size):
        expected.update(piece)
    found = curl_sha256(
        net.url("files.example", f"/bytes/{size}"), proxy=stand.proxy, source=CHILD, ca=net.authority.root
    )
    assert found == (expected.hexdigest(), 0)


def test_a_large_upload_is_whole(stand: Stand, net: SmallInternet, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"".join(body(20_000_000)))
    options = ["--data-binary", f"@{path}", "--header", "Expect:"]
    answer = curl(
        net.url("files.example", "/upload"), proxy=stand.proxy, source=CHILD, ca=net.authority.root, options=options
    )
    assert answer.json() == {"length": 20_000_000, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_slow_reader_holds_the_origin_back(stand: Stand, net: SmallInternet) -> None:
    """Nobody reads, so an endless page must come to a halt once the kernel's buffers are full: two of each kind, and a
    little of ours.
    """
    kernel = sum(int(Path(f"/proc/sys/net/ipv4/{name}").read_text().split()[2]) for name in ("tcp_rmem", "tcp_wmem"))
    address = net.address_of("files.example")
    with connected(stand) as client:
        open_tunnel(client, "files.example", net.origins.https_port)
        with client_context(net.authority.root).wrap_socket(client, server_hostname="files.example") as tls:
            tls.sendall(b"GET /endless HTTP/1.1\r\nHost: files.example\r\n\r\n")
            tls.recv(100)

            def stands_still() -> bool:
                before = net.origins.bytes_sent(address)
                time.sleep(0.5)
                return net.origins.bytes_sent(address) == before

            wait_until(stands_still, 60)
            assert net.origins.bytes_sent(address) < 2 * kernel + 2_000_000


def test_half_close_lets_the_answer_through(stand: Stand, net: SmallInternet) -> None:
    """A client that has said all it had to say still gets the whole answer."""
    with socket.create_server(("127.0.0.1", 0)) as origin, ThreadPoolExecutor(1) as pool:
        port = origin.getsockname()[1]
        with proxy_stand(net, _policy_with_port(stand, port), limits=GateLimits()) as own:

            def serve() -> bytes:
                server, _ = origin.accept()
                with server:
                    said = read_all(server)  # until the client's end
                    server.sendall(b"answer " * 100_000)
                    return said

            serving = pool.submit(serve)
            with connected(own) as client:
                open_tunnel(client, "127.0.0.1", port)
                hello = _smallest_hello()
                client.sendall(hello + b"rest")
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"answer " * 100_000
            assert serving.result(5) == hello + b"rest"


def test_data_sent_while_dialling_is_not_lost(stand: Stand, net: SmallInternet) -> None:
    """Nor is it lost that it has said all it had to say."""
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(socket.create_server(("127.0.0.9", 0), backlog=0))
        origin.settimeout(10)
        port = origin.getsockname()[1]
        own = stack.enter_context(proxy_stand(net, _policy_with_port(stand, port), limits=GateLimits()))
        for _ in range(2):  # its queue is full, so that it does not answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.9", port))
        client = stack.enter_context(connected(own))
        open_tunnel(client, "127.0.0.9", port)
        hello = _smallest_hello()
        client.sendall(hello)
        time.sleep(0.2)  # it is being dialled
        for piece in (b"one ", b"two ", b"three"):
            client.sendall(piece)
            time.sleep(0.05)
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        servers = [stack.enter_context(origin.accept()[0])]
        while not (said := _said(servers[-1])):
            servers.append(stack.enter_context(origin.accept()[0]))
        assert said == hello + b"one two three"
        servers[-1].sendall(b"answer")
        servers[-1].close()
        assert read_all(client) == b"answer"


def _said(server: socket.socket) -> bytes:
    """All that came until the other side's end; nothing from who only waits."""
    server.settimeout(0.5)
    try:
        return read_all(server)
    except TimeoutError:
        return b""


def _smallest_hello() -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + b"\0\0"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def _policy_with_port(stand: Stand, port: int) -> str:
    text = (stand.world.state / "hedgerow.yaml").read_text()
    return text.replace("  ports: [", f"  ports: [{port}, ")


def test_a_client_hello_in_single_bytes(stand: Stand, net: SmallInternet) -> None:
    with connected(stand) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_tunnel(client, "www.school.example", net.origins.https_port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context(net.authority.root).wrap_bio(incoming, outgoing, server_hostname="www.school.example")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        for byte in outgoing.read():
            client.sendall(bytes([byte]))
        incoming.write(client.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        assert outgoing.pending > 0  # the origin's hello was good: the handshake went on


def test_an_sni_that_differs_from_the_connect_is_judged_too(stand: Stand, net: SmallInternet) -> None:
    with connected(stand) as client:
        open_tunnel(client, "www.school.example", net.origins.https_port)
        with pytest.raises(ssl.SSLError, match=r"(?i)access.denied"):
            client_context(net.authority.root).wrap_socket(client, server_hostname="adult.example")
    assert net.origins.connections() == []
    reported = stand.wait_for(len)
    assert [(each.request.host, each.decision.verdict) for each in reported if each.request and each.decision] == [
        ("adult.example", Verdict.BLOCK)
    ]


def test_an_address_in_place_of_a_name_is_judged_by_its_sni(stand: Stand, net: SmallInternet) -> None:
    with connected(stand) as client:
        open_tunnel(client, net.address_of("adult.example"), net.origins.https_port)
        with pytest.raises(ssl.SSLError, match=r"(?i)access.denied"):
            client_context(net.authority.root).wrap_socket(client, server_hostname="adult.example")
    assert net.origins.connections() == []


def test_safe_search_without_a_ca_goes_to_the_restricted_address(stand: Stand, net: SmallInternet) -> None:
    answer = curl(net.url("www.google.com", "/search?q=cats"), proxy=stand.proxy, source=CHILD, ca=net.authority.root)
    assert answer.json()["address"] == net.address_of("forcesafesearch.google.com")
    assert answer.json()["tls"]["sni"] == "www.google.com"
    free = curl(net.url("www.google.com", "/search?q=cats"), proxy=stand.proxy, source=ADULT, ca=net.authority.root)
    assert free.json()["address"] == net.address_of("www.google.com")


@pytest.mark.parametrize("outside", ["news.example", "www.google.com"])
def test_safe_search_holds_for_an_engine_that_only_the_sni_names(
    stand: Stand, net: SmallInternet, outside: str
) -> None:
    with connected(stand) as client:
        open_tunnel(client, outside, net.origins.https_port)
        with client_context(net.authority.root).wrap_socket(client, server_hostname="www.bing.com") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: www.bing.com\r\nConnection: close\r\n\r\n")
            reported = json.loads(read_all(tls).partition(b"\r\n\r\n")[2])
    assert (reported["tls"]["sni"], reported["address"]) == ("www.bing.com", net.address_of("strict.bing.com"))


def test_two_devices_get_different_answers(stand: Stand, net: SmallInternet) -> None:
    url = net.url("gambling.example")
    assert curl(url, proxy=stand.proxy, source=CHILD).connect_status == 403
    assert curl(url, proxy=stand.proxy, source=ADULT, ca=net.authority.root).status == 200


def test_a_name_with_addresses_of_both_families(stand: Stand, net: SmallInternet) -> None:
    for _ in range(5):
        answer = curl(net.url("dual.example", "/bytes/100000"), proxy=stand.proxy, source=CHILD, ca=net.authority.root)
        assert (answer.status, answer.size) == (200, 100_000)


def test_the_gate_listens_on_ipv6(stand: Stand, net: SmallInternet) -> None:
    assert curl(net.url("news.example", "/", "http"), proxy=("::1", stand.gate.port)).status == 200
    # a device that nobody named
    assert curl(net.url("adult.example", "/", "http"), proxy=("::1", stand.gate.port)).status == 403


def test_a_name_that_does_not_exist_ends_the_tunnel(stand: Stand) -> None:
    answer = curl("https://nowhere.school.example/", proxy=stand.proxy, source=CHILD)
    assert (answer.connect_status, answer.status) == (200, 0)
    assert answer.exit_code != 28, "it is open until curl has no more time"


# Own protection.


@pytest.mark.parametrize(
    "target",
    ["10.1.2.3:443", "169.254.169.254:80", "[fd00::1]:443", "[::ffff:10.0.0.1]:443", "0.0.0.0:80", "224.0.0.1:443"],
)
def test_private_addresses_are_out_of_reach(stand: Stand, target: str) -> None:
    with connected(stand) as client:
        client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert read_all(client).startswith(b"HTTP/1.1 403 ")


def test_no_name_leads_to_a_local_address(stand: Stand, net: SmallInternet, policy: str) -> None:
    """Every name of the small internet is one of an attacker here, with an address of the house: in no lane anything is
    dialled.

    A connection that is open to an origin from before is not used again either.
    """
    warm = [
        curl(net.url("www.school.example", "/open"), proxy=stand.proxy, source=source, ca=stand.ca)
        for source in (CHILD_WITH_CA,)
    ]
    assert [each.status for each in warm] == [200]
    before = len(net.origins.connections())
    try:
        stand.swap(policy=policy.replace("  reachable: [127.0.0.0/8]\n", ""))
        for source in (CHILD, CHILD_WITH_CA, ADULT):
            for host in ("www.school.example", "news.example", "dual.example"):
                for scheme in ("http", "https"):
                    answer = curl(net.url(host, "/open", scheme), proxy=stand.proxy, source=source, insecure=True)
                    assert answer.status in {0, 502}, (source, host, scheme)
        assert len(net.origins.connections()) == before
    finally:
        stand.swap(policy=policy)


def test_other_ports_are_refused(stand: Stand) -> None:
    plain = b"GET http://files.example:25/ HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"
    for request in (b"CONNECT files.example:22 HTTP/1.1\r\nHost: x\r\n\r\n", plain):
        with connected(stand) as client:
            client.sendall(request)
            answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"is not served" in answer


def test_clients_outside_the_lan_are_dropped(net: SmallInternet, policy: str) -> None:
    narrow = policy.replace('lan: ["127.0.0.0/8", "::1/128"]', 'lan: ["127.0.0.0/28"]')
    assert narrow != policy
    with proxy_stand(net, narrow) as stand:
        with connected(stand, "127.0.0.77") as client:
            assert read_all(client) == b""
        assert curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=CHILD).status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x00\x05hello", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET https://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"CONNECT nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
        (b"GET http://a.example/ HTTP/1.1\nHost: a\n\n", b"400"),
        (
            b"POST http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"400",
        ),
        (b"GET http://a.example/ HTTP/1.1\r\nX: " + b"y" * 70_000, b"431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    ],
)
def test_garbage_is_answered_and_closed(stand: Stand, data: bytes, status: bytes) -> None:
    with connected(stand) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).split(b" ", 2)[1] == status


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01x",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\xff\xff",
    ],
)
def test_garbage_in_a_tunnel_is_closed(stand: Stand, net: SmallInternet, data: bytes) -> None:
    with connected(stand) as client:
        open_tunnel(client, "files.example", net.origins.https_port)
        client.sendall(data)
        assert read_all(client) == b""
    assert net.origins.connections() == []


def test_anything_but_tls_and_http_is_refused(stand: Stand, net: SmallInternet) -> None:
    with connected(stand) as client:
        open_tunnel(client, "files.example", net.origins.https_port)
        client.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    assert net.origins.connections() == []


def test_an_adults_ssh_reaches_the_server(stand: Stand, net: SmallInternet) -> None:
    with connected(stand, ADULT) as client:
        open_tunnel(client, "files.example", net.origins.https_port)
        client.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    assert len(net.origins.connections()) == 1


def test_slow_and_silent_clients_time_out(net: SmallInternet, policy: str) -> None:
    with proxy_stand(net, policy, limits=GateLimits(head=1.0, device=40)) as stand, contextlib.ExitStack() as stack:
        silent, slow, opened = (stack.enter_context(connected(stand)) for _ in range(3))
        inspected = stack.enter_context(connected(stand, CHILD_WITH_CA))
        open_tunnel(inspected, "www.school.example", net.origins.https_port)
        inspected.sendall(b"\x16\x03\x01")
        slow.sendall(b"GET http://news.example/ HTTP/1.1\r\n")
        open_tunnel(opened, "news.example", net.origins.https_port)
        opened.sendall(b"\x16\x03\x01")
        start = time.monotonic()
        for _ in range(10):  # a byte now and then does not buy more time
            time.sleep(0.15)
            with contextlib.suppress(OSError):
                slow.sendall(b"X")
        assert read_all(slow).startswith(b"HTTP/1.1 408 ")
        assert read_all(silent).startswith(b"HTTP/1.1 408 ")
        assert read_all(opened) == b""
        assert read_all(inspected) == b""
        assert time.monotonic() - start < 9, "as late as without the limit"
        assert curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=CHILD).status == 200


def test_dialling_a_silent_server_times_out(net: SmallInternet, policy: str) -> None:
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.9", 0), backlog=0))
        port = deaf.getsockname()[1]
        for _ in range(4):  # its queue is full, so that it does not even refuse
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.9", port))
        ports = policy.replace("  ports: [", f"  ports: [{port}, ")
        stand = stack.enter_context(proxy_stand(net, ports, limits=GateLimits(dial=1.0)))
        client = stack.enter_context(connected(stand))
        open_tunnel(client, "127.0.0.9", port)
        client.sendall(_smallest_hello())
        start = time.monotonic()
        assert read_all(client) == b""
        assert 0.5 < time.monotonic() - start < 12, "as late as without the limit"
        assert stand.counters()["hedgerow_proxy_dropped_total", "dial"] == 1


def test_one_device_cannot_take_all_connections(net: SmallInternet, policy: str) -> None:
    with proxy_stand(net, policy, limits=GateLimits(device=20)) as stand:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connected(stand)) for _ in range(30)]
            wait_until(lambda: stand.counters().get(("hedgerow_proxy_dropped_total", "device"), 0) == 10, 30)
            assert curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=CHILD).status == 0
            assert curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=ADULT).status == 200
            del clients
        wait_until(
            lambda: curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=CHILD).status == 200, 30
        )


def test_all_connections_that_have_waited_are_accepted(stand: Stand) -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(os.kill, stand.gate.pid, signal.SIGCONT)
        os.kill(stand.gate.pid, signal.SIGSTOP)
        clients = [stack.enter_context(connected(stand, timeout=60.0)) for _ in range(100)]
        for client in clients:
            client.sendall(b"nonsense\r\n\r\n")
        os.kill(stand.gate.pid, signal.SIGCONT)
        for client in clients:
            assert read_all(client).startswith(b"HTTP/1.1 400 ")


@pytest.mark.provokes_traceback
def test_connections_are_accepted_once_there_are_descriptors_again(net: SmallInternet, policy: str) -> None:
    with proxy_stand(net, policy) as stand, contextlib.ExitStack() as holding, contextlib.ExitStack() as stack:
        _, hard = resource.prlimit(stand.gate.pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{stand.gate.pid}/fd"))
        resource.prlimit(stand.gate.pid, resource.RLIMIT_NOFILE, (used + 5, hard))
        for _ in range(20):
            holding.enter_context(connected(stand)).sendall(b"GET ")
        waiting = [stack.enter_context(connected(stand, timeout=60.0)) for _ in range(9)]
        for client in waiting:
            client.sendall(b"nonsense\r\n\r\n")
        wait_until(lambda: "can accept no connection" in stand.world.log.read_text(), 60)
        holding.close()
        for client in waiting:
            with client:
                assert read_all(client).startswith(b"HTTP/1.1 400 ")


def test_one_device_cannot_take_all_of_an_inspector(net: SmallInternet, policy: str) -> None:
    """The gate counts no longer what it has handed over."""
    with proxy_stand(net, policy, limits=GateLimits(device=5)) as stand:
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                open_tunnel(
                    stack.enter_context(connected(stand, CHILD_WITH_CA)), "www.school.example", net.origins.https_port
                )
            answer = curl(net.url("www.school.example"), proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca)
            assert answer.connect_status == 0
            assert stand.counters()["hedgerow_proxy_dropped_total", "device"] == 1
            assert curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=ADULT).status == 200
        url = net.url("www.school.example")
        wait_until(lambda: curl(url, proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca).status == 200, 30)


def test_an_idle_tunnel_times_out(net: SmallInternet, policy: str) -> None:
    with proxy_stand(net, policy, limits=GateLimits(idle=1.0)) as stand, connected(stand) as client:
        open_tunnel(client, "files.example", net.origins.https_port)
        with client_context(net.authority.root).wrap_socket(
            client, server_hostname="files.example", suppress_ragged_eofs=True
        ) as tls:
            assert tls.version() is not None
            start = time.monotonic()
            with contextlib.suppress(OSError):
                assert tls.recv(1) == b""
            assert 0.5 < time.monotonic() - start < 9, "nobody ended it"


@pytest.mark.parametrize(
    "said", [b"", b"GET /page HTTP/1.1\r\nHost: www.school.example\r\n\r\n"], ids=["at once", "after an answer"]
)
def test_an_idle_inspected_connection_times_out(net: SmallInternet, policy: str, said: bytes) -> None:
    with proxy_stand(net, policy, limits=GateLimits(idle=1.0)) as stand, inspected(stand, net) as tls:
        tls.sendall(said)
        with contextlib.suppress(OSError):
            while tls.recv(65536):
                pass
        assert stand.counters()["hedgerow_proxy_dropped_total", "timeout"] == 1


def test_a_later_head_of_an_inspected_connection_has_a_deadline_too(net: SmallInternet, policy: str) -> None:
    """However many bytes of it come; and a connection on which heads come whole goes on."""
    question = b"GET /page HTTP/1.1\r\nHost: www.school.example\r\n\r\n"
    with (
        proxy_stand(net, policy, limits=GateLimits(head=1.0)) as stand,
        inspected(stand, net) as slow,
        inspected(stand, net) as good,
    ):
        slow.sendall(question)
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")
        slow.sendall(question[:-2])
        trickles = 0
        with contextlib.suppress(OSError):
            slow.settimeout(0.1)
            while trickles < 100:
                good.sendall(question[:9])
                good.sendall(question[9:])
                assert good.recv(65536).startswith(b"HTTP/1.1 200")
                slow.sendall(b"X: y\r\n")
                with contextlib.suppress(TimeoutError):
                    if not slow.recv(65536):
                        break
                trickles += 1
        assert 1 < trickles < 100
        assert stand.counters()["hedgerow_proxy_dropped_total", "timeout"] == 1


@pytest.mark.parametrize(
    "frame", ["000020010500000001", "00000101000000000182" + "00000109000000000184"], ids=["a frame", "a head"]
)
def test_an_http2_head_has_a_deadline_too(net: SmallInternet, policy: str, frame: str) -> None:
    """Whether its frame is not complete or the last of its frames does not come."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    with proxy_stand(net, policy, limits=GateLimits(head=1.0)) as stand, inspected(stand, net, alpn="h2") as tls:
        tls.sendall(preface + bytes.fromhex(frame))
        with contextlib.suppress(OSError):
            while tls.recv(65536):
                pass
        assert stand.counters()["hedgerow_proxy_dropped_total", "timeout"] == 1


# Cutting.


@pytest.mark.parametrize(("source", "host"), [(CHILD, "files.example"), (CHILD_WITH_CA, "www.school.example")])
def test_a_busy_connection_ends_after_its_lifetime(net: SmallInternet, policy: str, source: str, host: str) -> None:
    """A tunnel, and a connection that is inspected."""
    question = f"GET /page HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    with proxy_stand(net, policy, limits=GateLimits(lifetime=1.0)) as stand, connected(stand, source) as client:
        open_tunnel(client, host, net.origins.https_port)
        context = client_context(net.authority.root if source == CHILD else stand.ca)
        with context.wrap_socket(client, server_hostname=host) as tls:
            start, answers = time.monotonic(), 0
            with contextlib.suppress(OSError):
                tls.sendall(question)
                while tls.recv(65536):
                    answers += 1
                    tls.sendall(question)
            assert answers > 0
            assert 0.5 < time.monotonic() - start < 60, "nobody ended it"
        wait_until(lambda: stand.counters().get(("hedgerow_proxy_dropped_total", "timeout")) == 1, 30)


@pytest.mark.parametrize(("source", "lane"), [(CHILD, "tunnel"), (CHILD_WITH_CA, "inspect")])
def test_a_pause_cuts_running_connections(stand: Stand, net: SmallInternet, source: str, lane: str) -> None:
    host = "www.school.example"  # has URL rules, so it is inspected where it can be
    authority = stand.ca if lane == "inspect" else net.authority.root
    with connected(stand, source) as client:
        open_tunnel(client, host, net.origins.https_port)
        with client_context(authority).wrap_socket(client, server_hostname=host) as tls:
            tls.sendall(f"GET /drip/10000/0.1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert tls.recv(1000)
            stand.swap(
                pauses=(
                    Pause("p", "ana", time.time(), device=DeviceId("mia-phone" if lane == "tunnel" else "mia-tablet")),
                )
            )
            try:
                with pytest.raises((OSError, ssl.SSLError)):  # noqa: PT012
                    while True:
                        if not tls.recv(1000):
                            raise ConnectionResetError
                assert curl(net.url(host), proxy=stand.proxy, source=ADULT, ca=net.authority.root).status == 200
            finally:
                stand.swap(pauses=())
    assert curl(net.url(host), proxy=stand.proxy, source=source, ca=authority).status == 200


def test_the_end_of_a_ruleset_cuts_without_a_swap(stand: Stand, net: SmallInternet) -> None:
    """A grant that ends in two seconds: nobody tells the gate, it must look at the clock."""
    ends = time.time() + 2.0
    try:
        stand.swap(grants=(Grant("g", "adult.example", "ana", ends - 60, ends, device=DeviceId("mia-phone")),))
        with connected(stand) as client:
            open_tunnel(client, "adult.example", net.origins.https_port)
            with client_context(net.authority.root).wrap_socket(client, server_hostname="adult.example") as tls:
                tls.sendall(b"GET /drip/10000/0.1 HTTP/1.1\r\nHost: adult.example\r\n\r\n")
                with contextlib.suppress(OSError):
                    while tls.recv(1000):
                        pass
                assert ends <= time.time() + 0.1
        assert curl(net.url("adult.example", "/", "http"), proxy=stand.proxy, source=CHILD).status == 403
    finally:
        stand.swap(grants=())


def connect_at_once(stand: Stand, client: socket.socket, host: str, port: int) -> bytes:
    """Connect with a CONNECT that is there when the gate accepts the connection. Return the head of the answer."""
    client.bind((CHILD_WITH_CA, 0))
    os.kill(stand.gate.pid, signal.SIGSTOP)
    try:
        client.connect(stand.proxy)
        client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    finally:
        os.kill(stand.gate.pid, signal.SIGCONT)
    return read_until(client, b"\r\n\r\n")


def test_repeated_connects_and_none_without_an_inspector(net: SmallInternet, policy: str) -> None:
    net.origins.forget_connections()
    host, port, counted = (
        "www.school.example",
        net.origins.https_port,
        ("hedgerow_proxy_connections_total", "inspect", "inspect"),
    )
    with proxy_stand(net, policy) as stand:
        for number in range(1, 4):
            with socket.socket() as client:
                assert connect_at_once(stand, client, host, port).startswith(b"HTTP/1.1 200 ")
                with client_context(stand.ca).wrap_socket(client, server_hostname=host) as tls:
                    tls.sendall(f"GET /open/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    assert tls.recv(1000).startswith(b"HTTP/1.1 200 ")
            assert stand.counters()[counted] == number
        assert len(net.origins.requests(host)) == 3
        stand.inspector.end()
        plain = curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=CHILD)
        assert (plain.status, "Try again" in plain.text) == (503, True)
        assert curl(net.url(host), proxy=stand.proxy, source=CHILD_WITH_CA).connect_status == 503
        with socket.socket() as client:
            assert connect_at_once(stand, client, host, port).startswith(b"HTTP/1.1 503 ")
        assert len(net.origins.requests(host)) == 3, "nothing passed"
        assert curl(net.url("news.example"), proxy=stand.proxy, source=CHILD, ca=net.authority.root).status == 200


def test_many_clients_with_hostile_ones_among_them(stand: Stand, net: SmallInternet) -> None:
    def good(number: int) -> int:
        return curl(
            net.url("news.example", f"/{number}"), proxy=stand.proxy, source=ADULT, ca=net.authority.root
        ).status

    with contextlib.ExitStack() as stack:
        for number in range(60):
            client = stack.enter_context(connected(stand))
            client.sendall(
                [b"", b"GET ", b"\x16\x03", b"CONNECT files.example:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01"][
                    number % 4
                ]
            )
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(good, range(60))) == {200}


@pytest.mark.parametrize(
    ("lane", "host", "scheme"),
    [
        ("tunnel", "files.example", "https"),
        ("http", "files.example", "http"),
        ("inspect", "www.school.example", "https"),
    ],
)
def test_bytes_are_counted(stand: Stand, net: SmallInternet, lane: str, host: str, scheme: str) -> None:
    source, authority = (CHILD_WITH_CA, stand.ca) if lane == "inspect" else (CHILD, net.authority.root)
    key = ("hedgerow_proxy_bytes_total", lane, "out")
    before = stand.counters().get(key, 0)
    curl(net.url(host, "/bytes/1000000", scheme), proxy=stand.proxy, source=source, ca=authority)
    counted = wait_until(lambda: stand.counters().get(key, 0) - before, 5)
    assert 1_000_000 < counted < 1_100_000


def test_the_alert_is_a_fatal_access_denied() -> None:
    assert ACCESS_DENIED_ALERT == b"\x15\x03\x03\x00\x02\x02\x31"


def test_client_behind_a_load_balancer(net: SmallInternet, policy: str) -> None:
    """The client's address comes in a header of the PROXY protocol, and both lanes know it."""
    behind = policy.replace("network:\n", "network:\n  proxy_protocol_from: [127.0.0.21]\n", 1)
    addresses = bytes(map(int, CHILD_WITH_CA.split("."))) + bytes([127, 0, 0, 1]) + b"\xd4\x31\x0c\x38"
    header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + addresses
    with proxy_stand(net, behind, {"adult": "adult.example\n"}) as stand:
        head = b"GET http://adult.example/ HTTP/1.1\r\nHost: adult.example\r\nConnection: close\r\n\r\n"
        for source, first, status in (
            ("127.0.0.21", header, b"HTTP/1.1 403 "),
            ("127.0.0.21", header[:7], b""),
            ("127.0.0.21", b"", b""),
            (CHILD, header, b"HTTP/1.1 400 "),
            (CHILD, b"", b"HTTP/1.1 403 "),
        ):
            with connected(stand, source) as client:
                client.sendall(first + head)
                assert read_all(client)[: len(b"HTTP/1.1 403 ")] == status, (source, first)
        with connected(stand, "127.0.0.21") as client:
            client.sendall(header)
            open_tunnel(client, "www.school.example", net.origins.https_port)
            with client_context(stand.ca).wrap_socket(client, server_hostname="www.school.example") as tls:
                tls.sendall(b"GET /secret HTTP/1.1\r\nHost: www.school.example\r\nConnection: close\r\n\r\n")
                assert read_all(tls).startswith(b"HTTP/1.1 403 "), "the inspector's rules are those of the tablet"
        assert {report.device for report in stand.reported()} == {"mia-tablet", "mia-phone"}
