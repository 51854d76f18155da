"""TLS sessions towards origins: their handshakes are watched and their records are not, and later connections resume them."""

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
from hedgerow.proxy.inspection import streams
from hedgerow.proxy.inspection.connection_streams import ConnectionStreams
from hedgerow.proxy.inspection.origins import OriginKey, OriginPool
from hedgerow.proxy.inspection.streams import Stream, TlsSession, note_certificate_requests


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
def test_requests_for_certificates_are_noted_and_sessions_resumed(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[object] = []
    note = streams._note_message

    def note_call(*arguments: Any) -> None:
        noted.append(arguments)
        note(*arguments)

    monkeypatch.setattr(streams, "_note_message", note_call)
    server_context, client_context = contexts
    note_certificate_requests(client_context)
    client_context.maximum_version = version
    quiet, session = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None
    for is_resumed in (False, True):
        server = TlsSession(server_context, is_server=True)
        client = TlsSession(client_context, host="a.example", session=session, quiet=quiet)
        client.feed(b"")
        while not (client.is_established and server.is_established):
            server.feed(client.take())
            client.feed(server.take())
        assert client.asks_for_certificate is not is_resumed
        noted.clear()
        for text in (b"one", b"two"):
            server.write(text)
            assert client.feed(server.take()) == text
        assert noted == []
        assert client._tls.session_reused is is_resumed
        session = client.session


def test_connections_that_are_not_kept_leave_their_session(folder: Path, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
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
            streams = ConnectionStreams(inspector, Client(peername=("", 0), sockname=("", 0)), Stream(pending), (), pending)
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
