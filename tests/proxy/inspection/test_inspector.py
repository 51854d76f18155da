"""The inspector behind the gate, from outside: blocks, changes and passes requests, and serves nobody without the
gate's header.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import ssl
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from proxy_stand import Stand
from small_internet.bodies import body
from small_internet.clients import HttpAnswer, curl, curl_sha256, curl_shows, ticket_in
from small_internet.running import wait_until
from small_internet.whole import SmallInternet
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, RejectConnection, Request, TextMessage

from hedgerow.policies.model import DeviceId, Pause, Reason, Verdict
from hedgerow.proxy.handover import HandoverHeader, HandoverSender, encode_handover_header, load_handover_key
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.inspection.engine.http_stream import EARLY_ANSWER_BYTES
from hedgerow.proxy.page_forms import MAX_FORM_BYTES, TICKET_LIFETIME, issue_ticket
from hedgerow.proxy.pages.block_page import ASK_PATH

CHILD_WITH_CA = "127.0.0.11"
CHILD = "127.0.0.12"
INSPECTED = "www.school.example"


def fetch(stand: Stand, url: str, *, headers: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> HttpAnswer:
    """As the child's tablet, which trusts our CA and nothing else."""
    return curl(url, proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca, headers=headers, options=options)


def most_memory(pid: int | None) -> int:
    """Bytes that a process had at most so far."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def read_head(client: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        if not piece:
            break
        found += piece
    return found


# Blocking.


def test_a_blocked_path_shows_the_page_over_https(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(stand, net.url(INSPECTED, "/secret/plan"))
    assert (answer.connect_status, answer.status) == (200, 403)
    assert "Hedgerow network CA" in answer.certificate
    assert "Your parents closed it." in answer.text
    assert net.origins.connections() == []
    reported = stand.wait_for(len)
    assert reported[0].request is not None
    assert reported[0].request.url == net.url(INSPECTED, "/secret/plan")
    assert reported[0].decision is not None
    assert (reported[0].decision.reason, reported[0].decision.rule and reported[0].decision.rule.line) == (
        Reason.RULE,
        15,
    )


def test_other_paths_of_the_host_are_served(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(stand, net.url(INSPECTED, "/open?x=1"))
    host = answer.json()["host"].partition(":")[0]  # without root rights origins are at high ports
    assert (answer.status, answer.json()["target"], host) == (200, "/open?x=1", INSPECTED)


def test_a_blocked_host_shows_the_page_where_the_ca_is_trusted(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(stand, net.url("adult.example"))
    assert answer.status == 403
    assert "things for adults" in answer.text
    assert "0800 1111" in answer.text  # Childline, for the network's country
    assert net.origins.connections() == []


def test_a_list_may_except_a_page_of_a_host_that_it_blocks(stand: Stand, net: SmallInternet) -> None:
    """Only pages that can be distinguished: over HTTPS with the CA, over HTTP always. The name itself stays blocked."""
    host = "gambling.example"
    assert (fetch(stand, net.url(host, "/help/x")).status, fetch(stand, net.url(host, "/")).status) == (200, 403)
    for path, status in (("/help/x", 200), ("/", 403)):
        assert curl(net.url(host, path, "http"), proxy=stand.proxy, source=CHILD).status == status
    refused = curl(net.url(host, "/help/x"), proxy=stand.proxy, source=CHILD)
    assert (refused.connect_status, refused.status) == (403, 0)


def test_a_name_that_hides_a_blocked_one_shows_the_page(stand: Stand, net: SmallInternet) -> None:
    hidden = "hidden-adult.oddities.example"
    answer = curl(net.url(hidden, "/x", "http"), proxy=stand.proxy, source=CHILD)
    assert answer.status == 403
    assert "things for adults" in answer.text
    assert hidden in answer.text
    reported = stand.wait_for(
        lambda found: any(each.decision and each.decision.verdict is Verdict.BLOCK for each in found)
    )
    blocked = next(each for each in reported if each.decision and each.decision.verdict is Verdict.BLOCK)
    assert blocked.request is not None
    assert blocked.decision is not None
    assert (blocked.request.host, blocked.decision.what) == (hidden, "adult")
    assert net.origins.requests() == []


def test_a_host_without_url_rules_is_not_opened(stand: Stand, net: SmallInternet) -> None:
    answer = curl(net.url("news.example"), proxy=stand.proxy, source=CHILD_WITH_CA, ca=net.authority.root)
    assert (answer.status, "Small Internet" in answer.certificate) == (200, True)


def test_plain_http_is_judged_without_a_ca_and_request_by_request(stand: Stand, net: SmallInternet) -> None:
    open_url, closed_url = (net.url(INSPECTED, path, "http") for path in ("/open", "/secret"))
    with socket.create_connection(stand.proxy, 10, (CHILD, 0)) as client:
        for url, status in ((open_url, b"200"), (closed_url, b"403"), (open_url, b"200")):
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: {INSPECTED}\r\n\r\n".encode())
            head = read_head(client)
            assert head.split(b" ")[1] == status, url
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while length:
                length -= len(client.recv(length))


def test_another_host_in_the_host_field_is_judged_too(stand: Stand, net: SmallInternet) -> None:
    for option in ("--http1.1", "--http2"):
        answer = fetch(stand, net.url(INSPECTED, "/open"), headers=("Host: adult.example",), options=(option,))
        assert answer.status == 403, option
    assert net.origins.connections() == []


def test_an_absolute_url_inside_a_tunnel_is_judged(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(
        stand, net.url(INSPECTED, "/open"), options=("--http1.1", "--request-target", "https://adult.example/x")
    )
    assert answer.status in {0, 403}
    assert net.origins.requests() == []


def test_a_blocked_request_with_an_endless_body_is_cut_off(stand: Stand, net: SmallInternet, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(300_000_000)
    options = ("--data-binary", f"@{tmp_path / 'big'}", "--header", "Expect:", "--http1.1")
    answer = fetch(stand, net.url(INSPECTED, "/secret"), options=options)
    assert (answer.status, "This site is not open here" in answer.text) == (403, True)
    assert net.origins.requests("www.school.example") == []


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_blocked_upload_gets_the_page_whatever_its_length(
    stand: Stand, net: SmallInternet, tmp_path: Path, version: str, scheme: str
) -> None:
    """Also where the client, as browsers do, reads nothing before it has sent everything; the connection can go on
    afterwards.
    """
    for size in (0, 1000, 300_000, 8_000_000):
        (tmp_path / "upload").write_bytes(b"u" * size)
        options = ("--data-binary", f"@{tmp_path / 'upload'}", "--header", "Expect:", version)
        answer = fetch(stand, net.url(INSPECTED, "/secret", scheme), options=options)
        assert (answer.status, "This site is not open here" in answer.text) == (403, True), size
    with socket.create_connection(stand.proxy, 20, (CHILD_WITH_CA, 0)) as client:
        host = f"{INSPECTED}:{net.origins.http_port}"
        client.sendall(f"GET http://{host}/open HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(
            f"POST http://{host}/secret HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5000000\r\n\r\n".encode()
            + b"u" * 5_000_000
        )
        client.sendall(f"GET http://{host}/after HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answers = b""
        while piece := client.recv(65536):
            answers += piece
    assert b"HTTP/1.1 403 " in answers
    assert b'"target": "/after"' in answers


# Changing.


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("www.google.com", "/search?q=cats&safe=off", "/search?q=cats&udm=14&safe=active&ssui=on"),
        ("www.bing.com", "/search?q=cats", "/search?q=cats&adlt=strict"),
        ("duckduckgo.com", "/?q=cats&kp=-2", "/?q=cats&kbe=0&kbg=-1&assist=false&kp=1"),
    ],
)
def test_safe_search_reaches_the_origin(stand: Stand, net: SmallInternet, host: str, path: str, expected: str) -> None:
    answer = fetch(stand, net.url(host, path))
    assert answer.json()["target"] == expected
    reported = stand.wait_for(len)
    assert reported[0].decision is not None
    assert reported[0].decision.verdict is Verdict.REWRITE


def test_the_youtube_header_cannot_be_forged(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(stand, net.url("www.youtube.com", "/watch?v=1"), headers=("YouTube-Restrict: None",))
    assert [value for name, value in answer.json()["headers"] if name.lower() == "youtube-restrict"] == ["Strict"]


# Letting through.


def test_http2_on_both_sides(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(stand, net.url("h2.example", "/x"), options=("--http2",))
    assert (answer.version, answer.json()["version"], answer.json()["tls"]["alpn"]) == ("2", "HTTP/2", "h2")
    assert fetch(stand, net.url("h2.example", "/secret"), options=("--http2",)).status == 403


def test_large_bodies_are_streamed_and_whole(stand: Stand, net: SmallInternet, tmp_path: Path) -> None:
    size = 100_000_000
    before = _memory(stand.inspector.pid)
    expected = hashlib.sha256()
    with (tmp_path / "upload").open("wb") as file:
        for piece in body(size):
            expected.update(piece)
            file.write(piece)
    found = curl_sha256(net.url(INSPECTED, f"/bytes/{size}"), proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca)
    assert found == (expected.hexdigest(), 0)
    answer = fetch(
        stand,
        net.url(INSPECTED, "/upload"),
        options=("--data-binary", f"@{tmp_path / 'upload'}", "--header", "Expect:"),
    )
    assert answer.json() == {"length": size, "sha256": expected.hexdigest()}
    assert _memory(stand.inspector.pid) - before < 40_000_000


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_ranges_events_and_chunks(stand: Stand, net: SmallInternet) -> None:
    part = fetch(stand, net.url(INSPECTED, "/bytes/1000"), headers=("Range: bytes=10-19",))
    assert (part.status, part.body) == (206, b"".join(body(1000))[10:20])
    chunked = fetch(stand, net.url(INSPECTED, "/chunked/100000"))
    assert chunked.body == b"".join(body(100_000))
    # They come although the stream has no end.
    assert curl_shows(
        net.url(INSPECTED, "/sse/3"), b"data: event 2", proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca
    )


def test_waiting_for_100_continue(stand: Stand, net: SmallInternet) -> None:
    options = ("--data-binary", "x" * 100_000, "--header", "Expect: 100-continue", "--http1.1")
    answer = fetch(stand, net.url(INSPECTED, "/upload"), options=options)
    assert answer.json()["length"] == 100_000


@pytest.mark.parametrize("name", ["self-signed.example", "expired.example", "wrong-name.example"])
def test_bad_certificates_of_origins_are_not_hidden(stand: Stand, net: SmallInternet, policy: str, name: str) -> None:
    try:
        stand.swap(
            policy=policy.replace('"www.school.example/secret"', f'"www.school.example/secret", "{name}/secret"')
        )
        answer = fetch(stand, net.url(name, "/open"))
        assert (answer.exit_code, answer.status) == (0, 502)
        assert "This site could not prove who it is" in answer.text
    finally:
        stand.swap(policy=policy)


def exchange(client: socket.socket, connection: WSConnection, data: bytes) -> list[Event]:
    """Send, and return the events of the first answer."""
    client.sendall(data)
    while True:
        received = client.recv(65536)
        connection.receive_data(received or None)
        if events := list(connection.events()):
            return events


def websocket(client: socket.socket, host: str, path: str, count: int) -> list[str]:
    connection = WSConnection(ConnectionType.CLIENT)
    opened = exchange(client, connection, connection.send(Request(host=host, target=path)))
    if isinstance(opened[0], RejectConnection):
        return [str(opened[0].status_code)]
    assert isinstance(opened[0], AcceptConnection)
    found = []
    for number in range(count):
        events = exchange(client, connection, connection.send(TextMessage(f"message {number}")))
        found += [event.data for event in events if isinstance(event, TextMessage)]
    client.sendall(connection.send(CloseConnection(1000)))
    return found


def connect(client: socket.socket, host: str, port: int) -> None:
    client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert read_head(client).startswith(b"HTTP/1.1 200")


def test_websocket_through_inspection(stand: Stand, net: SmallInternet) -> None:
    for path, expected in (("/websocket", [f"message {n}" for n in range(20)]), ("/websocket/forbidden", ["403"])):
        with socket.create_connection(stand.proxy, 10, (CHILD_WITH_CA, 0)) as client:
            connect(client, "chat.example", net.origins.https_port)
            context = ssl.create_default_context(cafile=str(stand.ca))
            with context.wrap_socket(client, server_hostname="chat.example") as tls:
                assert websocket(tls, "chat.example", path, 20) == expected


def test_a_websockets_message_goes_by_before_it_is_whole(stand: Stand, net: SmallInternet) -> None:
    """However long it is: neither memory nor time may grow with what is not finished."""
    with socket.create_connection(stand.proxy, 10, (CHILD_WITH_CA, 0)) as client:
        connect(client, "chat.example", net.origins.https_port)
        with ssl.create_default_context(cafile=str(stand.ca)).wrap_socket(
            client, server_hostname="chat.example"
        ) as tls:
            connection = WSConnection(ConnectionType.CLIENT)
            assert isinstance(
                exchange(tls, connection, connection.send(Request(host="chat.example", target="/websocket")))[0],
                AcceptConnection,
            )
            before = net.origins.bytes_received(net.address_of("chat.example"))
            tls.sendall(bytes((0x82, 0xFF)) + (1 << 30).to_bytes(8, "big") + bytes(4) + bytes(100_000))
            wait_until(lambda: net.origins.bytes_received(net.address_of("chat.example")) - before > 100_000, 10)


def test_websocket_without_tls_is_judged_without_a_ca(stand: Stand, net: SmallInternet) -> None:
    """Browsers ask for ws:// with CONNECT too; what is inside can be read."""
    for path, expected in (("/websocket", ["message 0", "message 1"]), ("/websocket/forbidden", ["403"])):
        with socket.create_connection(stand.proxy, 10, (CHILD, 0)) as client:
            connect(client, "chat.example", net.origins.http_port)
            assert websocket(client, "chat.example", path, 2) == expected


# Asking.


DEVICES = {CHILD_WITH_CA: DeviceId("mia-tablet"), CHILD: DeviceId("mia-phone")}


def ticket_for(stand: Stand, host: str, source: str = CHILD_WITH_CA) -> str:
    """That which a block page for this host holds."""
    return issue_ticket(load_handover_key(stand.world.state / "pass.key"), host, DEVICES[source], time.time())


def ask(
    stand: Stand,
    url: str,
    page: str,
    *headers: str,
    source: str = CHILD_WITH_CA,
    note: str = "for%20school",
    ticket: str | None = None,
) -> HttpAnswer:
    ticket = ticket_for(stand, urlsplit(url).hostname or "", source) if ticket is None else ticket
    form = ("--data", f"url={quote(page, safe='')}&note={note}&ticket={ticket}")
    return curl(url, proxy=stand.proxy, source=source, ca=stand.ca, headers=headers, options=form)


NAVIGATION = ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
FETCH = ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_form_of_a_block_page_is_taken(stand: Stand, net: SmallInternet, scheme: str) -> None:
    """Over HTTP the gate makes the page, and an inspector hears the question."""
    page, origin = net.url("adult.example", "/x", scheme), net.url("adult.example", "", scheme)
    source = CHILD_WITH_CA if scheme == "https" else CHILD  # each may ask so often
    shown = curl(page, proxy=stand.proxy, source=source, ca=stand.ca, headers=NAVIGATION[1:])
    assert shown.status == 403
    assert shown.headers["cross-origin-opener-policy"] == ["same-origin"]
    answer = ask(
        stand, origin + ASK_PATH, page, f"Origin: {origin}", *NAVIGATION, source=source, ticket=ticket_in(shown.text)
    )
    assert (answer.status, "Your request was sent" in answer.text) == (200, True)


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize(
    "fields", [FETCH, ("Sec-Fetch-Mode: no-cors",), ("Sec-Fetch-Dest: document", "Sec-Fetch-Mode: same-origin")]
)
def test_a_script_can_neither_read_a_block_page_nor_ask(
    stand: Stand, net: SmallInternet, scheme: str, fields: tuple[str, ...]
) -> None:
    page, origin = net.url("adult.example", "/x", scheme), net.url("adult.example", "", scheme)
    ticket = ticket_for(stand, "adult.example")
    answers = [
        curl(page, proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca, headers=fields),
        curl(
            f"{origin}{ASK_PATH}?url={page}&times=1&ticket={ticket}",
            proxy=stand.proxy,
            source=CHILD_WITH_CA,
            ca=stand.ca,
            headers=fields,
        ),
        ask(stand, origin + ASK_PATH, page, f"Origin: {origin}", *fields),
    ]
    assert [(each.status, each.text, each.headers["content-type"]) for each in answers] == [
        (403, "Hedgerow: blocked.\n", ["text/plain; charset=utf-8"])
    ] * 3
    assert not any(each.asked for each in stand.reported())


def test_a_question_needs_the_ticket_of_this_host_and_device(stand: Stand, net: SmallInternet) -> None:
    origin = net.url("adult.example", "")
    old = issue_ticket(
        load_handover_key(stand.world.state / "pass.key"),
        "adult.example",
        DEVICES[CHILD_WITH_CA],
        time.time() - TICKET_LIFETIME - 1,
    )
    others = (ticket_for(stand, "gambling.example"), ticket_for(stand, "adult.example", CHILD))
    for ticket in ("", "1-2", old, *others):
        answer = ask(stand, origin + ASK_PATH, origin + "/", f"Origin: {origin}", *NAVIGATION, ticket=ticket)
        assert (answer.status, "did not come from this page" in answer.text) == (403, True), ticket
        looked = fetch(stand, f"{origin}{ASK_PATH}?url={origin}/&times=1&ticket={ticket}")
        assert (looked.status, "did not come from this page" in looked.text) == (403, True), ticket
    assert not any(each.asked for each in stand.reported())


def test_asking_for_a_blocked_page(stand: Stand, net: SmallInternet) -> None:
    page = net.url(INSPECTED, "/secret/plan?x=1")
    origin = net.url(INSPECTED, "")
    answer = ask(stand, origin + ASK_PATH, page, f"Origin: {origin}", "Sec-Fetch-Site: same-origin")
    assert (answer.status, "Your request was sent" in answer.text) == (200, True)
    asked = [each.asked for each in stand.wait_for(lambda reported: any(each.asked for each in reported)) if each.asked]
    assert [(each.device, each.person, each.host, each.url, each.note) for each in asked] == [
        ("mia-tablet", "mia", INSPECTED, page, "for school")
    ]
    assert asked[0].reason == "rule: www.school.example/secret"
    assert net.origins.connections() == []


def test_the_page_that_waits_sees_by_itself_that_it_was_opened(stand: Stand, net: SmallInternet, policy: str) -> None:
    """Over HTTPS and HTTP. A page that asks again waits nine seconds for an answer, so all of them wait at once."""
    origins = {scheme: net.url(INSPECTED, "", scheme) for scheme in ("https", "http")}
    pages = {scheme: net.url(INSPECTED, "/secret/plan?x=1&y=2", scheme) for scheme in origins}

    def get(url: str) -> HttpAnswer:
        return curl(url, proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca)

    def refreshed(scheme: str, answer: HttpAnswer) -> HttpAnswer:
        seconds, _, path = answer.headers["refresh"][0].partition("; url=")
        assert seconds == "1"
        return get(origins[scheme] + path)

    def last(scheme: str) -> HttpAnswer:
        return get(f"{origins[scheme]}{ASK_PATH}?url={pages[scheme]}&times=180&ticket={ticket_for(stand, INSPECTED)}")

    with ThreadPoolExecutor(4) as pool:
        again, ends = dict[str, Future[HttpAnswer]](), dict[str, Future[HttpAnswer]]()
        for scheme, origin in origins.items():
            answer = ask(stand, origin + ASK_PATH, pages[scheme], f"Origin: {origin}", "Sec-Fetch-Site: same-origin")
            again[scheme] = pool.submit(refreshed, scheme, answer)
            ends[scheme] = pool.submit(last, scheme)
    assert (
        len(
            [
                each
                for each in stand.wait_for(lambda reported: sum(bool(each.asked) for each in reported) == 2)
                if each.asked
            ]
        )
        == 2
    )
    try:
        stand.swap(policy=policy.replace('"www.school.example/secret"', '"www.school.example/other"'))
        opened = {scheme: refreshed(scheme, waiting.result()) for scheme, waiting in again.items()}
    finally:
        stand.swap(policy=policy)
    for scheme, page in pages.items():
        waiting = again[scheme].result()
        assert (waiting.status, "Your request was sent" in waiting.text) == (200, True)
        assert (opened[scheme].status, "This page is open now" in opened[scheme].text) == (200, True)
        assert page.replace("&", "&amp;") in opened[scheme].text
        assert "refresh" not in opened[scheme].headers
        assert ends[scheme].result().status == 200
        assert "refresh" not in ends[scheme].result().headers
        hostile = f"url=https://evil.example/%0d%0aX:y&times=1&ticket={ticket_for(stand, INSPECTED)}"
        forged = get(f"{origins[scheme]}{ASK_PATH}?{hostile}")
        assert "evil" not in str(forged.headers) + forged.text


def test_nobody_can_ask_for_all_sites_beneath_a_public_suffix(stand: Stand, net: SmallInternet, policy: str) -> None:
    stand.swap(policy=policy.replace("block: [", "block: [github.io, ", 1))
    try:
        origin = net.url("github.io", "", "http")
        answer = ask(stand, origin + ASK_PATH, origin + "/", f"Referer: {origin}/", source=CHILD)
        assert (answer.status, "Your request was sent" in answer.text) == (403, False)
    finally:
        stand.swap(policy=policy)


def test_asking_over_plain_http_needs_no_ca(stand: Stand, net: SmallInternet) -> None:
    origin = net.url("adult.example", "", "http")
    answer = ask(stand, origin + ASK_PATH, origin + "/", f"Referer: {origin}/", source=CHILD)
    assert (answer.status, "Your request was sent" in answer.text) == (200, True)
    asked = [each.asked for each in stand.wait_for(lambda reported: any(each.asked for each in reported)) if each.asked]
    assert [(each.device, each.host) for each in asked] == [("mia-phone", "adult.example")]


@pytest.mark.parametrize(
    "header", ["Origin: https://evil.example", "Origin: null", "X-Nothing: 1", "Sec-Fetch-Site: cross-site"]
)
def test_other_pages_cannot_ask(stand: Stand, net: SmallInternet, header: str) -> None:
    origin = net.url(INSPECTED, "")
    headers = (header, f"Referer: {origin}/") if header.startswith("Sec") else (header,)
    assert ask(stand, origin + ASK_PATH, origin + "/secret", *headers).status == 403
    assert not any(each.asked for each in stand.reported())


def test_asking_for_what_is_open_says_so(stand: Stand, net: SmallInternet) -> None:
    origin = net.url(INSPECTED, "")
    answer = ask(stand, origin + ASK_PATH, origin + "/open", f"Origin: {origin}")
    assert (answer.status, "This page is open now" in answer.text) == (200, True)
    assert not any(each.asked for each in stand.reported())


def test_a_form_for_another_host_asks_for_this_one(stand: Stand, net: SmallInternet) -> None:
    origin = net.url("adult.example", "")
    answer = ask(stand, origin + ASK_PATH, "https://gambling.example/", f"Origin: {origin}")
    assert answer.status == 200
    asked = [each.asked for each in stand.wait_for(lambda reported: any(each.asked for each in reported)) if each.asked]
    assert asked[0].url == origin + "/"


def test_asking_too_often_is_stopped(stand: Stand, net: SmallInternet) -> None:
    origin = net.url("gambling.example", "", "http")
    statuses = [ask(stand, origin + ASK_PATH, origin + "/", f"Origin: {origin}", source=CHILD).status for _ in range(7)]
    assert statuses[-1] == 429
    assert statuses.count(200) <= 5


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize(
    "framing", ["Transfer-Encoding: chunked", "Content-Type: text/plain"], ids=["of unknown length", "of known length"]
)
def test_a_question_of_any_length_is_not_kept(
    stand: Stand, net: SmallInternet, version: str, framing: str, tmp_path: Path
) -> None:
    """Below the bytes after which an upload is answered while it goes on, above them, and far above."""
    origin, before = net.url(INSPECTED, ""), most_memory(stand.inspector.pid)
    upload = tmp_path / "body"
    for size in (MAX_FORM_BYTES + 1, 2 * EARLY_ANSWER_BYTES, 40_000_000):
        upload.write_bytes(b"x" * size)
        options = (version, "--data-binary", f"@{upload}", "-H", framing, "-H", f"Origin: {origin}")
        answer = fetch(stand, origin + ASK_PATH, options=options)
        assert (answer.status, "too long" in answer.text) == (413, True), size
    assert most_memory(stand.inspector.pid) - before < 20_000_000
    assert net.origins.connections() == []


def test_a_client_may_go_on_with_an_earlier_session(stand: Stand, net: SmallInternet) -> None:
    """The ticket comes with the first answer, in both versions of TLS."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=str(stand.ca))
        context.maximum_version = version
        session: ssl.SSLSession | None = None
        for is_known in (False, True):
            with socket.create_connection(stand.proxy, 10, (CHILD_WITH_CA, 0)) as client:
                connect(client, INSPECTED, net.origins.https_port)
                with context.wrap_socket(client, server_hostname=INSPECTED, session=session) as tls:
                    tls.sendall(f"GET /open HTTP/1.1\r\nHost: {INSPECTED}\r\n\r\n".encode())
                    assert tls.recv(1000).startswith(b"HTTP/1.1 200")
                    assert tls.session_reused is is_known, version
                    session = tls.session


def test_a_protocol_that_is_not_http_ends_with_its_alert(stand: Stand, net: SmallInternet) -> None:
    """RFC 7301, section 3.2. One of several is enough, and so is none."""

    def connect_with(*protocols: str) -> str | None:
        context = ssl.create_default_context(cafile=str(stand.ca))
        context.set_alpn_protocols(protocols)
        with socket.create_connection(stand.proxy, 10, (CHILD_WITH_CA, 0)) as client:
            connect(client, INSPECTED, net.origins.https_port)
            with context.wrap_socket(client, server_hostname=INSPECTED) as tls:
                return tls.selected_alpn_protocol()

    assert [connect_with("grpc-exp", "h2"), connect_with("http/1.1", "http/1.0"), connect_with()] == [
        "h2",
        "http/1.1",
        None,
    ]
    with pytest.raises(ssl.SSLError, match="NO_APPLICATION_PROTOCOL"):
        connect_with("stun.turn")
    assert net.origins.connections() == []


# Getting in.


@pytest.mark.parametrize(
    "line", ["", "nonsense -\r\n", "MTAwMDAwMDAwMDAwIDEyNy4wLjAuMTM=.AAAA -\r\n", "stale", "port", "x" * 5000]
)
def test_nobody_gets_in_without_the_gates_word(stand: Stand, net: SmallInternet, line: str) -> None:
    key, now = load_handover_key(stand.world.state / "pass.key"), time.time()
    if line == "stale":
        line = encode_handover_header(key, HandoverHeader("127.0.0.13", None), now - 60).decode()
    if line == "port":
        line = encode_handover_header(key, HandoverHeader("127.0.0.13", Authority("news.example", 1)), now).decode()
    for first in (f"GET {net.url('news.example', '/', 'http')}", f"CONNECT news.example:{net.origins.https_port}"):
        theirs, client = socket.socketpair()
        message = f"{line}{first} HTTP/1.1\r\nHost: news.example\r\n\r\n".encode()
        with client:
            client.settimeout(5)
            with theirs, contextlib.closing(HandoverSender([stand.world.inspector_socket])) as gate:
                assert gate.hand_over(theirs.fileno(), message)
            with contextlib.suppress(OSError):
                assert read_head(client) == b""
    assert net.origins.connections() == []


def test_a_client_cannot_introduce_itself(stand: Stand, net: SmallInternet) -> None:
    """Neither in place of a request to the gate, nor as the first thing in a tunnel."""
    forged = encode_handover_header(
        load_handover_key(stand.world.state / "pass.key"), HandoverHeader("127.0.0.13", None), time.time()
    )
    request = f"GET {net.url('adult.example', '/', 'http')} HTTP/1.1\r\nHost: adult.example\r\n\r\n".encode()
    with socket.create_connection(stand.proxy, 10, (CHILD, 0)) as client:
        client.sendall(forged + request)
        assert read_head(client).startswith(b"HTTP/1.1 400")
    with socket.create_connection(stand.proxy, 10, (CHILD, 0)) as client:
        connect(client, "chat.example", net.origins.http_port)
        client.sendall(forged + request)
        assert read_head(client).startswith(b"HTTP/1.1 400")
    assert net.origins.requests() == []


def test_what_is_between_client_and_proxy_reaches_no_origin(stand: Stand, net: SmallInternet) -> None:
    secret = "Proxy-Authorization: Basic eA=="
    for answer in (
        curl(net.url("news.example", "/", "http"), proxy=stand.proxy, source=CHILD, headers=(secret,)),
        fetch(stand, net.url(INSPECTED, "/open"), headers=(secret,)),
    ):
        names = {name.lower() for name, _ in answer.json()["headers"]}
        assert answer.status == 200
        assert not names & {"proxy-authorization", "proxy-connection"}


def test_a_pause_reaches_connections_that_stay_open(stand: Stand, net: SmallInternet) -> None:
    """The next request of a connection that was opened before the pause is judged by the pause."""
    with socket.create_connection(stand.proxy, 10, (CHILD, 0)) as client:
        url = net.url("news.example", "/status/204", "http")
        client.sendall(f"GET {url} HTTP/1.1\r\nHost: news.example\r\n\r\n".encode())
        assert read_head(client).startswith(b"HTTP/1.1 204")
        try:
            stand.swap(pauses=(Pause("p", "ana", time.time()),))
            with contextlib.suppress(OSError):
                client.sendall(f"GET {url} HTTP/1.1\r\nHost: news.example\r\n\r\n".encode())
                head = read_head(client)
                assert head == b"" or head.startswith(b"HTTP/1.1 403")
        finally:
            stand.swap(pauses=())
