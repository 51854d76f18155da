"""Odd but real messages of HTTP/1.1: through the proxy curl sees the same as without it, or a refusal, and nothing
else.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.whole import SmallInternet

CHILD = "127.0.0.12"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

# What is said by the origin; `same`: as without the proxy, `refused`: an explanation in its place, `either`: one of
# them.
ANSWERS = {
    "chunk extensions": (
        "same",
        OK + b'Transfer-Encoding: chunked\r\n\r\n5;a=b;c="d e"\r\nhello\r\n6;x\r\n world\r\n0;last\r\n\r\n',
    ),
    "chunks in capitals and with zeros": (
        "same",
        OK + b"Transfer-Encoding: Chunked\r\n\r\n000A\r\n0123456789\r\n0\r\n\r\n",
    ),
    "trailers": (
        "same",
        OK + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
    "bare line feeds": ("either", OK.replace(b"\r\n", b"\n") + b"Content-Length: 5\n\nhello"),
    "a folded field": ("either", OK + b"X-Long: one\r\n two\r\nContent-Length: 5\r\n\r\nhello"),
    "one length twice": ("same", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    "two lengths": ("refused", OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello!!"),
    "one length twice in one field": ("same", OK + b"Content-Length: 5, 5\r\n\r\nhello"),
    "a length and chunks": (
        "same",
        OK + b"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    "no transfer coding at all": ("same", OK + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello"),
    "a transfer coding that was not asked for": (
        "refused",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    "a transfer coding to the end": ("refused", OK + b"Transfer-Encoding: gzip\r\n\r\nhello"),
    "chunks in HTTP/1.0": ("refused", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "a negative length": ("refused", OK + b"Content-Length: -1\r\n\r\nhello"),
    "a bad chunk": ("either", OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    "a field without a name": ("either", OK + b": x\r\nContent-Length: 5\r\n\r\nhello"),
    "white space before the colon": ("refused", OK + b"Content-Length : 5\r\nX: y\r\n\r\nhello"),
    "a head of 60 kB": ("same", OK + b"X-Long: " + b"y" * 60_000 + b"\r\nContent-Length: 5\r\n\r\nhello"),
    "a head of 500 kB": ("refused", OK + b"X-Long: " + b"y" * 500_000 + b"\r\nContent-Length: 5\r\n\r\nhello"),
    "early hints": (
        "same",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    ),
    "several 1xx": (
        "same",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    ),
    "204 with a length": ("same", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    "204 with a body": ("same", b"HTTP/1.1 204 No Content\r\n\r\nhello"),
    "304 with a body": ("same", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
    "a body to the end of the connection": ("same", OK + b"\r\nhello"),
    "HTTP/1.0": ("same", b"HTTP/1.0 200 OK\r\n\r\nhello"),
    "no reason": ("same", b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello"),
    "no space after the status": ("either", b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"),
    "an unknown status": ("same", b"HTTP/1.1 799 Odd\r\nContent-Length: 5\r\n\r\nhello"),
    "more than it said": ("same", OK + b"Content-Length: 5\r\n\r\nhello and more"),
    "bytes that are no text in a field": ("same", OK + b"X-Name: caf\xe9 \xff\r\nContent-Length: 5\r\n\r\nhello"),
    "no upload wanted": ("same", b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 5\r\n\r\nhello"),
    "HTTP/0.9": ("refused", b"hello"),
    "another protocol": ("refused", b"SSH-2.0-OpenSSH_9.9\r\n"),
    "a NUL in a field": ("either", OK + b"X-Nul: a\x00b\r\nContent-Length: 5\r\n\r\nhello"),
}


class _Origin(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    answers: dict[str, bytes]


class _Say(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request = self.rfile.readline().decode()
        while self.rfile.readline().strip():
            pass
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.answers[request.split(" ")[1].rpartition("/")[2]])  # type: ignore[attr-defined]
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.rfile.read()


@pytest.fixture(scope="module")
def origin() -> Iterator[int]:
    """A server on loopback whose every byte is written here; `/NUMBER` is the answer of that number."""
    with _Origin(("127.0.0.1", 0), _Say) as server:
        server.answers = {str(number): answer for number, (_, answer) in enumerate(ANSWERS.values())}
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def odd(net: SmallInternet, policy: str, origin: int) -> Iterator[Stand]:
    with proxy_stand(net, policy.replace("  ports: [", f"  ports: [{origin}, ")) as stand:
        yield stand


def seen(url: str, *options: str) -> tuple[str, bytes, list[str]]:
    """Return curl's view of a response: the status (000 if there was none), the body, and the informational heads
    before it.
    """
    with tempfile.NamedTemporaryFile() as heads:
        words = [
            "curl",
            "-sS",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
            "--suppress-connect-headers",
            "-D",
            heads.name,
            *options,
            url,
        ]
        done = subprocess.run(words, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"})
        before = re.findall(r"(?m)^HTTP/[\d.]+ (1[^\r]*)\r\n((?:[^\r\n]+\r\n)*)", heads.read().decode("latin-1"))
    body, _, status = done.stdout.rpartition(b"\n")
    return status.decode(), body, [status + fields for status, fields in before]


@pytest.mark.parametrize("number", range(len(ANSWERS)), ids=list(ANSWERS))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("way", ["-x", "--proxytunnel -x"])
def test_an_answer_is_what_it_was_or_refused(odd: Stand, origin: int, number: int, method: str, way: str) -> None:
    """Asked for as of a proxy, and in a tunnel, where plain messages take the short path."""
    verdict = list(ANSWERS.values())[number][0]
    url, head = f"http://127.0.0.1:{origin}/{number}", () if method == "GET" else ("--head",)
    through = seen(url, *head, *way.split(), f"http://127.0.0.1:{odd.gate.port}", "--interface", CHILD)
    without = seen(url, *head)
    if method == "HEAD":  # a head is shown as the body, with what belongs to the connection
        through, without = (through[0], b"", through[2]), (without[0], b"", without[2])
    is_refusal = through[0] in {"502", "000"} and b"hello" not in through[1]
    match verdict:
        case "same":
            assert through == without
        case "refused":
            assert is_refusal, through
        case _:
            assert is_refusal or through == without, (through, without)


@pytest.mark.parametrize(
    ("name", "status", "before"),
    [
        ("another protocol", "502", []),
        ("several 1xx", "200", ["100 Continue", "102 Processing"]),
        ("no upload wanted", "417", []),
    ],
)
def test_the_origin_decides_about_an_upload(odd: Stand, origin: int, name: str, status: str, before: list[str]) -> None:
    """RFC 9110, section 10.1.1: who asks before it sends hears what the origin says."""
    url = f"http://127.0.0.1:{origin}/{list(ANSWERS).index(name)}"
    words = ("-d", "x", "-H", "Expect: 100-continue", "-x", f"http://127.0.0.1:{odd.gate.port}", "--interface", CHILD)
    found, _, told = seen(url, *words)
    assert (found, told) == (status, before)


def test_the_next_request_is_not_answered_with_what_was_left(odd: Stand, origin: int) -> None:
    """More than an origin said it would send, or an answer to nobody, reaches no later request."""
    numbers = [
        list(ANSWERS).index(name)
        for name in ("more than it said", "304 with a body", "204 with a body", "chunk extensions")
    ]
    urls = [f"http://127.0.0.1:{origin}/{number}" for number in numbers]
    words = ["curl", "-sS", "--max-time", "20", "-x", f"http://127.0.0.1:{odd.gate.port}", "--interface", CHILD, *urls]
    done = subprocess.run(words, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert done.stdout == b"hellohello world"


@pytest.mark.parametrize("protocol", ["h2c", "tcp", "TLS/1.0"])
def test_no_upgrade_leads_past_the_filter(net: SmallInternet, policy: str, protocol: str) -> None:
    """An origin and a client that agree on another protocol could say anything in it: nothing follows the answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, heard = server.getsockname()[1], list[bytes]()

        def agree() -> None:
            origin, _ = server.accept()
            with origin, contextlib.suppress(OSError):
                origin.settimeout(10)
                origin.recv(65536)
                origin.sendall(
                    f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()
                )
                while data := origin.recv(65536):
                    heard.append(data)

        agreeing = threading.Thread(target=agree, daemon=True)
        agreeing.start()
        with proxy_stand(net, policy.replace("  ports: [", f"  ports: [{port}, ")) as stand:
            with socket.create_connection(stand.proxy, 10, source_address=(CHILD, 0)) as client:
                url, host = f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}"
                client.sendall(
                    f"GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()
                )
                with contextlib.suppress(OSError):
                    while client.recv(65536):
                        client.sendall(b"GET http://adult.example/ HTTP/1.1\r\n\r\n")
            agreeing.join(10)
        assert heard == []
