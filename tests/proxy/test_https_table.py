"""The table of HTTPS cases in docs/proxy.md, each row tried by a real handshake.

For connections that the network redirects see gate/test_transparent.py.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from proxy_stand import Stand
from small_internet.whole import SmallInternet

from .conftest import ONLY_WITH_RULES

DEVICES = {"child": "127.0.0.12", "child with our CA": "127.0.0.11", "adult": "127.0.0.13"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "proxy.md"
PUBLIC = "203.0.114.7"  # of the real internet; nothing is sent there, since it is refused before
ECH = (0xFE0D, bytes([0, 0, 1, 0, 1, 7]) + bytes(240))


@dataclass(frozen=True)
class Row:
    """`connect` is the host of the CONNECT ("address" for the origin's own), `sni` the name in the ClientHello."""

    what: str
    connect: str
    sni: str | None
    outcomes: tuple[str, str, str]
    ech: bool = False


ROWS = (
    Row("a site that is open", "news.example", "news.example", ("opens", "looked into", "opens")),
    Row(
        "a site of which some pages are blocked",
        "www.school.example",
        "www.school.example",
        ("opens", "looked into", "opens"),
    ),
    Row("a blocked site", "adult.example", "adult.example", ("403", "block page", "opens")),
    Row("without SNI, by name", "news.example", None, ("opens", "looked into", "opens")),
    Row("without SNI, a blocked site by name", "adult.example", None, ("403", "block page", "opens")),
    Row(
        "the SNI names a blocked site, the CONNECT another",
        "news.example",
        "adult.example",
        ("alert", "block page", "opens"),
    ),
    Row("a bare address of the internet", PUBLIC, None, ("403", "block page", "-")),
    Row("a bare address of the internet with a good SNI", PUBLIC, "news.example", ("403", "block page", "-")),
    Row("a reachable address of the local network", "address", None, ("opens", "opens", "opens")),
    Row("the same, with the SNI of a site that is open", "address", "news.example", ("opens", "looked into", "opens")),
    Row("the same, with the SNI of a blocked site", "address", "adult.example", ("alert", "alert", "opens")),
    Row(
        "ECH with the real name outside (GREASE)",
        "news.example",
        "news.example",
        ("opens", "looked into", "opens"),
        ech=True,
    ),
    Row(
        "ECH behind a provider’s name, by name",
        "news.example",
        "cloudflare-ech.com",
        ("opens", "looked into", "opens"),
        ech=True,
    ),
    Row(
        "ECH behind a provider’s name, to that name",
        "cloudflare-ech.com",
        "cloudflare-ech.com",
        ("alert", "looked into", "-"),
        ech=True,
    ),
    Row(
        "ECH behind a provider’s name, to an address",
        "address",
        "cloudflare-ech.com",
        ("alert", "alert", "opens"),
        ech=True,
    ),
)


@pytest.fixture(autouse=True)
def _defaults(stand: Stand, policy: str) -> Iterator[None]:
    """The table is of the built-in profiles as they are."""
    stand.swap(policy=policy.replace(ONLY_WITH_RULES, ""))
    yield
    stand.swap(policy=policy)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
@pytest.mark.parametrize("device", DEVICES)
def test_row(stand: Stand, net: SmallInternet, row: Row, device: str) -> None:
    expected = row.outcomes[list(DEVICES).index(device)]
    if expected != "-":
        assert outcome(stand, net, DEVICES[device], row) == expected
    if expected in {"403", "alert", "block page"}:
        assert net.origins.connections() == []  # whoever is refused is refused before anything is dialled


def outcome(stand: Stand, net: SmallInternet, source: str, row: Row) -> str:
    host = net.address_of("news.example") if row.connect == "address" else row.connect
    # An address of the internet is asked for at a port that is served there: 443, which every policy serves.
    port = net.origins.https_port
    with socket.create_connection(stand.proxy, 10, (source, 0)) as client:
        client.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        reply = b""
        while not reply.endswith(b"\r\n\r\n"):
            reply += client.recv(1)
        if not reply.startswith(b"HTTP/1.1 200"):
            return reply.split(b" ")[1].decode()
        if row.ech:
            client.sendall(with_extension(first_flight(row.sni), *ECH))
            is_alert = client.recv(1)[0] == 0x15
            return "alert" if is_alert else "opens" if net.origins.connections() else "looked into"
        return after_handshake(client, host, row.sni)


def after_handshake(client: socket.socket, host: str, sni: str | None) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with context.wrap_socket(client, server_hostname=sni) as tls:
            certificate = tls.getpeercert(binary_form=True)
            assert certificate
            ours = b"Hedgerow network CA" in certificate
            if not ours:
                return "opens"
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {sni or host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            with contextlib.suppress(ssl.SSLEOFError):
                while piece := tls.recv(65536):
                    answer += piece
            return "block page" if b" 403 " in answer.split(b"\r\n")[0] else "looked into"
    except ssl.SSLError as error:
        if re.search(r"(?i)access.denied", str(error)):
            return "alert"
        raise


def first_flight(name: str | None) -> bytes:
    """The ClientHello of a real TLS library, as one record."""
    context = ssl.create_default_context()
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def with_extension(record: bytes, kind: int, data: bytes) -> bytes:
    """The ClientHello with one more extension at its end."""
    body = record[9:]
    position = 34
    position += 1 + body[position]
    position += 2 + int.from_bytes(body[position : position + 2], "big")
    position += 1 + body[position]
    extensions = body[position + 2 :] + kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data
    body = body[:position] + len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return record[:3] + len(message).to_bytes(2, "big") + message


def test_the_document_shows_this_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for row in ROWS:
        cells = " | ".join((row.what, *(each.replace("-", "opens") for each in row.outcomes)))
        assert f"| {cells} |" in text, row.what
