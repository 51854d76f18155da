"""TLS sessions towards origins, whose handshakes are watched and whose records are not."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.proxy.certificate_authority import ensure_ca, issue_leaf_certificate, key_pem
from hedgerow.proxy.inspection import streams
from hedgerow.proxy.inspection.streams import TlsSession, note_certificate_requests


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of an origin that asks for a certificate, and of its client."""
    folder: Path = tmp_path_factory.mktemp("ca")
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
