"""TLS sessions towards origins: requests for certificates are noted, and later connections resume them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy.connection import Client, Server

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.certificate_authority import ensure_ca, issue_leaf_certificate, key_pem
from hedgerow.proxy.inspection.connection_streams import ConnectionStreams
from hedgerow.proxy.inspection.origins import OriginKey, OriginPool
from hedgerow.proxy.inspection.streams import Stream, TlsSession


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ca")


@pytest.fixture(scope="module")
def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of an origin that asks for a certificate, and of its client."""
    authority, key = ensure_ca(folder), ec.generate_private_key(ec.SECP256R1())
    leaf = issue_leaf_certificate(authority, key.public_key(), "a.example")
    (folder / "leaf.pem").write_bytes(key_pem(key) + leaf.public_bytes(serialization.Encoding.PEM))
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=authority.pem.decode())
    server.load_cert_chain(folder / "leaf.pem")
    server.verify_mode = ssl.CERT_OPTIONAL
    return server, client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("curve", [None, "secp521r1"])  # with the other one, a client of TLS 1.3 must begin again
@pytest.mark.parametrize("asks", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_requests_for_certificates_are_noted_and_sessions_resumed(
    folder: Path,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    version: ssl.TLSVersion,
    curve: str | None,
    asks: ssl.VerifyMode,
) -> None:
    client_context = contexts[1]
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / "leaf.pem")
    server_context.maximum_version, server_context.verify_mode = version, asks
    if curve is not None:
        server_context.set_ecdh_curve(curve)
    session = None
    for is_resumed in (False, True):
        server = TlsSession(server_context, is_server=True)
        client = TlsSession(client_context, host="a.example", session=session)
        client.feed(b"")
        while not (client.is_established and server.is_established):
            server.feed(client.take())
            client.feed(server.take())
        server.feed(client.take())
        assert client.asks_for_certificate is (asks is ssl.CERT_OPTIONAL and not is_resumed)
        for text in (b"one", b"two"):
            server.write(text)
            assert client.feed(server.take()) == text
            client.write(text)
            client.write(text)
            assert server.feed(client.take()) == 2 * text
        assert client.asks_for_certificate is (asks is ssl.CERT_OPTIONAL and not is_resumed)
        assert client._tls.session_reused is is_resumed
        session = client.session


@pytest.mark.usefixtures("contexts")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_insists_is_noted_before_it_refuses(folder: Path, version: ssl.TLSVersion) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(folder / "leaf.pem")
    server_context.maximum_version, server_context.verify_mode = version, ssl.CERT_REQUIRED
    client_context = ssl.create_default_context(cadata=ensure_ca(folder).pem.decode())
    server, client = TlsSession(server_context, is_server=True), TlsSession(client_context, host="a.example")
    client.feed(b"")
    with pytest.raises(ssl.SSLError):  # noqa: PT012
        for _ in range(4):
            server.feed(client.take())
            client.feed(server.take())
    assert client.asks_for_certificate


def test_connections_that_are_not_kept_leave_their_session(
    folder: Path, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Those of HTTP/2 are not shared between clients, so each client begins with a handshake."""
    (folder / "trust.pem").write_bytes(ensure_ca(folder).pem)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()

    async def run() -> list[bool]:
        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=contexts[0])
        pool, seen = OriginPool(folder / "trust.pem"), list[bool]()
        inspector: Any = SimpleNamespace(origins=pool, inspection=SimpleNamespace(bound=set()))
        origin = OriginKey(DeviceId("d"), "a.example", server.sockets[0].getsockname()[1], "a.example", ())
        for ends_first in (False, True, False):
            stream, pending = await pool.open(origin, ["127.0.0.1"])
            assert stream.tls is not None
            while not pending.early:  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.01)
            seen.append(stream.tls._tls.session_reused)
            streams = ConnectionStreams(
                inspector, Client(peername=("", 0), sockname=("", 0)), Stream(pending), (), pending
            )
            streams._origins[stream], streams._connections[stream] = origin, Server(address=("a.example", origin.port))
            if ends_first:
                streams.remove(stream)
                stream.abort()
            else:
                streams.release(lambda _connection: False)
        server.close()
        await server.wait_closed()
        return seen

    assert asyncio.run(run()) == [False, True, True]
