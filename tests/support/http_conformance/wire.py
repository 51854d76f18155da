"""Origins and clients of HTTP/1 and TLS that send exactly the bytes that a case wants."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

SECONDS = 3.0
"""Seconds that an origin waits for what a proxy still sends."""
ANSWER_SECONDS = 15.0
"""Seconds that a client waits for an answer: the first needs several on a busy machine."""


class ByteOrigin:
    """A server on loopback.

    `answer` is what it says next; `heard` is all that its connections have sent since the last `say`.

    It answers once it has heard the end of a head and `body` more octets, keeps the connection open if `stays`, and
    hears on.
    """

    def __init__(self, address: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self.context = context
        self.answer, self.stays = b"", False
        self.heard = bytearray()
        self.connections = 0
        self.asked = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def say(self, answer: bytes, *, stays: bool = False) -> None:
        """Answer the next requests with `answer`."""
        self.answer, self.stays, self.heard, self.connections = answer, stays, bytearray(), 0
        self.asked.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError), client:
            client.settimeout(SECONDS * 3)
            secured = self.context.wrap_socket(client, server_side=True) if self.context is not None else client
            self.connections += 1
            with secured:
                self._answer(secured)

    def _answer(self, client: socket.socket) -> None:
        head = bytearray()
        while b"\r\n\r\n" not in head:
            piece = client.recv(65536)
            if not piece:
                return
            head += piece
            self.heard += piece
        self._await_body(client, bytes(head))
        self.asked.set()
        client.sendall(self.answer)
        if not self.stays:
            if isinstance(client, ssl.SSLSocket):
                with contextlib.suppress(OSError):
                    client.unwrap()
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
        client.settimeout(SECONDS)
        while piece := client.recv(65536):
            self.heard += piece

    def _await_body(self, client: socket.socket, head: bytes) -> None:
        """Read a body, as far as it comes, before the answer."""
        fields, _, body = head.partition(b"\r\n\r\n")
        fields, length = fields.lower(), 0
        if b"\r\ncontent-length: " in fields:
            digits = fields.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            length = int(digits) if digits.isdigit() else 0
        is_chunked = b"\r\ntransfer-encoding: chunked" in fields
        client.settimeout(SECONDS / 3)
        with contextlib.suppress(TimeoutError):
            while (is_chunked and b"0\r\n" not in body[-64:]) or len(body) < length:
                piece = client.recv(65536)
                if not piece:
                    break
                body += piece
                self.heard += piece


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got.

    `status` is 0 without an answer; `is_whole` is false if it was cut off; `is_closed`: the connection was closed.
    """

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    is_whole: bool = False
    is_closed: bool = False
    seconds: float = 0.0

    def get(self, name: str) -> str | None:
        """All values of a field, joined; None without any."""
        found = [value for key, value in self.fields if key == name]
        return ", ".join(found) if found else None

    def __str__(self) -> str:
        text = self.body[:24].decode("latin-1")
        return (
            f"{self.status or 'closed'} {text!r}{'' if self.is_whole else ' (cut off)'}" if self.status else "no answer"
        )


def converse(client: socket.socket, request: bytes, *, seconds: float = ANSWER_SECONDS, method: str = "GET") -> Reply:
    """Send a request, and read one answer or as much of it as comes."""
    began = time.monotonic()
    with contextlib.suppress(OSError):
        client.sendall(request)
    received, is_closed, is_clean = bytearray(), False, True
    while time.monotonic() - began < seconds:
        client.settimeout(max(0.05, seconds - (time.monotonic() - began)))
        try:
            piece = client.recv(65536)
        except TimeoutError:
            break
        except OSError:
            is_closed, is_clean = True, False
            break
        if not piece:
            is_closed = True
            break
        received += piece
        if _is_complete(received, method):
            break
    return _parse(bytes(received), method, is_closed=is_closed, is_clean=is_clean, seconds=time.monotonic() - began)


def _is_complete(data: bytearray, method: str) -> bool:
    reply = _parse(bytes(data), method, is_closed=False, is_clean=True, seconds=0.0)
    return reply.status != 0 and reply.is_whole


def _parse(data: bytes, method: str, *, is_closed: bool, is_clean: bool, seconds: float) -> Reply:
    head, _, rest = data.partition(b"\r\n\r\n")
    # interim responses (RFC 9110, 15.2)
    while head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and head[9:12] != b"101" and rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit() or b"\r\n\r\n" not in data:
        return Reply(0, is_closed=is_closed, seconds=seconds)
    fields = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:]))
    status, named = int(words[1]), dict(fields)
    if method == "HEAD" or status in {204, 304} or status == 101:
        return Reply(status, fields, b"", True, is_closed, seconds)
    if "chunked" in named.get("transfer-encoding", "").lower():
        body, is_whole = _dechunk(rest)
        return Reply(status, fields, body, is_whole, is_closed, seconds)
    if named.get("content-length", "").isdigit():
        size = int(named["content-length"])
        return Reply(status, fields, rest[:size], len(rest) >= size, is_closed, seconds)
    return Reply(status, fields, rest, is_closed and is_clean, is_closed, seconds)


def _dechunk(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return body, False
        if not found or (size and len(data) < size + 2):
            return body + data[:size], False
        if size == 0:
            return body, data.startswith(b"\r\n") or b"\r\n\r\n" in data
        body, data = body + data[:size], data[size + 2 :]


@contextlib.contextmanager
def connected(proxy: tuple[str, int], source: str) -> Iterator[socket.socket]:
    with socket.create_connection(proxy, 10, (source, 0)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


@contextlib.contextmanager
def inspected(
    proxy: tuple[str, int], source: str, host: str, port: int, authority: str, alpn: str = "http/1.1", name: str = ""
) -> Iterator[ssl.SSLSocket]:
    """A connection in a tunnel that the proxy decrypts, with the SNI `name` or `host`. Raises OSError."""
    with connected(proxy, source) as client:
        client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = client.recv(1000)
            if not piece:
                raise ConnectionError("the tunnel was refused")
            answer += piece
        if b" 200" not in answer.split(b"\r\n")[0]:
            raise ConnectionError(f"the tunnel was refused: {answer[:40]!r}")
        context = ssl.create_default_context(cafile=authority)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Squid's certificates name no key of their authority
        context.set_alpn_protocols([alpn])
        with context.wrap_socket(client, server_hostname=name or host) as secured:
            yield secured
