"""The inspector's side of leaf certificates: contexts, and waiting for a signer that starts again."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from hedgerow.proxy.certificate_authority import CertificateAuthority, ensure_ca
from hedgerow.proxy.inspection import leaf_certificates
from hedgerow.proxy.inspection.leaf_certificates import LeafCertificates
from hedgerow.proxy.inspection.streams import TlsSession
from hedgerow.proxy.signing import MAX_CLIENTS, Signer
from hedgerow.sockets import bind_unix_socket


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return ensure_ca(tmp_path_factory.mktemp("ca"))


@contextlib.asynccontextmanager
async def signing_at(path: Path, authority: CertificateAuthority) -> AsyncIterator[list[str]]:
    """A signer in a thread. Yields the hosts that it was asked for."""
    signed: list[str] = []
    over = False

    def is_reserved(host: str) -> bool:
        signed.append(host)
        return host == "pages.home"

    def serve() -> None:
        with bind_unix_socket(path, socket.SOCK_SEQPACKET, MAX_CLIENTS) as listener:
            signer = Signer(listener, lambda: authority, is_reserved)
            while not over:
                signer.serve(0.02)
            signer.close()
        path.unlink()

    serving = asyncio.create_task(asyncio.to_thread(serve))
    try:
        yield signed
    finally:
        over = True
        await serving


async def context_of(store: LeafCertificates, host: str) -> ssl.SSLContext | None:
    received: asyncio.Future[ssl.SSLContext | None] = asyncio.get_running_loop().create_future()
    store.request(host, received.set_result)
    return await asyncio.wait_for(received, 30)


async def shown(store: LeafCertificates, authority: CertificateAuthority, host: str) -> x509.Certificate:
    """The certificate that a client which trusts the authority sees."""
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    context = await context_of(store, host)
    assert context is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = trusting.wrap_bio(incoming, outgoing, server_hostname=host), TlsSession(context, is_server=True)
    while not server.is_established:
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.feed(outgoing.read())
        incoming.write(server.take())
    certificate = client.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate)


def test_leaves_are_cached_and_the_least_recently_used_is_dropped(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaf_certificates, "_MAX_LEAVES", 2)

    async def run() -> None:
        async with signing_at(tmp_path / "s", authority):
            store = LeafCertificates(tmp_path / "s")
            with contextlib.closing(store):
                first, second = await shown(store, authority, "a.example"), await shown(store, authority, "192.0.2.7")
                assert first.public_key() == second.public_key() != authority.key.public_key()
                assert await shown(store, authority, "a.example") == first
                await shown(store, authority, "c.example")  # the address goes
                assert await shown(store, authority, "a.example") == first
                assert await shown(store, authority, "192.0.2.7") != second
            with contextlib.closing(LeafCertificates(tmp_path / "s")) as other:
                key = (await shown(other, authority, "a.example")).public_key()
                assert key != first.public_key(), "the key lives as long as its store"

    asyncio.run(run())


def test_connections_to_one_new_host_wait_for_one_certificate(tmp_path: Path, authority: CertificateAuthority) -> None:
    async def run() -> None:
        async with signing_at(tmp_path / "s", authority) as signed:
            with contextlib.closing(LeafCertificates(tmp_path / "s")) as store:
                contexts = await asyncio.gather(*(context_of(store, "a.example") for _ in range(20)))
                assert None not in contexts
                assert len(set(map(id, contexts))) == 1
                assert signed == ["a.example"]

    asyncio.run(run())


def test_prepared_host_is_signed_once(tmp_path: Path, authority: CertificateAuthority) -> None:
    async def run() -> None:
        async with signing_at(tmp_path / "s", authority) as signed:
            store = LeafCertificates(tmp_path / "s")
            for _ in range(2):
                store.prepare("a.example")
            first = await context_of(store, "a.example")
            store.prepare("a.example")
            assert first is await context_of(store, "a.example")
            assert signed == ["a.example"]
            store.close()

    asyncio.run(run())


def test_a_refused_host_gets_nothing_and_the_others_go_on(tmp_path: Path, authority: CertificateAuthority) -> None:
    async def run() -> None:
        async with signing_at(tmp_path / "s", authority):
            with contextlib.closing(LeafCertificates(tmp_path / "s")) as store:
                refused, made = await asyncio.gather(context_of(store, "pages.home"), context_of(store, "a.example"))
                assert refused is None
                assert made is not None

    asyncio.run(run())


def test_hosts_wait_for_a_signer_that_starts_again(tmp_path: Path, authority: CertificateAuthority) -> None:
    async def run() -> None:
        with contextlib.closing(LeafCertificates(tmp_path / "s")) as store:
            early = asyncio.create_task(context_of(store, "early.example"))
            await asyncio.sleep(0)
            assert not early.done(), "there is no signer yet"
            async with signing_at(tmp_path / "s", authority):
                assert await early is not None
            late = asyncio.create_task(context_of(store, "late.example"))
            await asyncio.sleep(0)
            assert await context_of(store, "early.example") is not None, "what is known needs no signer"
            async with signing_at(tmp_path / "s", authority):
                assert await late is not None

    asyncio.run(run())


def test_without_a_signer_the_wait_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaf_certificates, "_PATIENCE", 0.2)

    async def run() -> None:
        with contextlib.closing(LeafCertificates(tmp_path / "s")) as store:
            assert await asyncio.gather(*(context_of(store, f"{number}.example") for number in range(3))) == [None] * 3

    asyncio.run(run())


def test_an_inspector_with_too_many_open_files_asks_the_signer_later(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    async def main() -> None:
        async with signing_at(tmp_path / "signer.sock", authority):
            store = LeafCertificates(tmp_path / "signer.sock")
            received: asyncio.Future[ssl.SSLContext | None] = asyncio.get_running_loop().create_future()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                store.request("school.example", received.set_result)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert await asyncio.wait_for(received, 30) is not None
            store.close()

    asyncio.run(main())
