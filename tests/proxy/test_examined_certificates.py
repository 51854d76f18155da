"""Certificates of servers that are tunnelled, as the look at unlisted hosts finds them: flaws that no ordinary site has
are found in whatever else is wrong, and the mistakes of ordinary sites stay open.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived

from hedgerow.policies.model import DeviceId, Request, RequestKind
from hedgerow.policies.unlisted import CertificateFlaw
from hedgerow.proxy import certificate_examiner
from hedgerow.proxy.certificate_examiner import CertificateExaminer, Server

HOST = "node-7.example"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
DAY = datetime.timedelta(days=1)
SCTS = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), b"\x04\x02\x00\x00")

type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Made:
    certificate: x509.Certificate
    key: Key


def made(
    issuer: Made | None,
    *,
    name: str = HOST,
    key: Key | None = None,
    days: tuple[int, int] = (-30, 60),
    is_authority: bool = False,
    is_logged: bool = False,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Made:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(issuer.certificate.subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if is_logged:
        builder = builder.add_extension(SCTS, critical=False)
    return Made(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def flaw_of(folder: Path, chain: Sequence[Made], trusted: Made, newest: ssl.TLSVersion) -> CertificateFlaw:
    """Return what a look at a server with this chain finds, whose version of TLS is `newest` at most."""
    (folder / "root.pem").write_bytes(pem(trusted.certificate))
    (folder / "chain.pem").write_bytes(pem(*(each.certificate for each in chain)))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(chain[0].key.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = newest
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(PAGE)

    async def look() -> CertificateFlaw:
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            request = Request(DeviceId("tablet"), RequestKind.TUNNEL, HOST, port)
            examiner = CertificateExaminer(folder / "root.pem", also_private=True)
            return await examiner.examine(Server(HOST, "127.0.0.1", port, DeviceId("tablet"), request))

    return asyncio.run(look())


ROOT = made(None, name="Public root", is_authority=True)
MIDDLE = made(ROOT, name="Public intermediate", is_authority=True)
OWN = made(None, name="Tom's root", is_authority=True)


def weak() -> Key:
    return rsa.generate_private_key(65537, 1024)


ORDINARY: dict[str, Callable[[], Sequence[Made]]] = {
    "in order": lambda: (made(ROOT),),
    "with its intermediate certificate": lambda: (made(MIDDLE), MIDDLE),
    "without its intermediate certificate": lambda: (made(MIDDLE, is_logged=True),),
    "expired": lambda: (made(ROOT, days=(-90, -1)),),
    "expired, without its intermediate certificate": lambda: (made(MIDDLE, days=(-90, -1), is_logged=True),),
}
OF_ONES_OWN: dict[str, Callable[[], Sequence[Made]]] = {
    "self-signed": lambda: (made(None),),
    "self-signed and expired": lambda: (made(None, days=(-90, -1)),),
    "self-signed with a weak key": lambda: (made(None, key=weak()),),
    "of an authority of one's own": lambda: (made(OWN), OWN),
    "of an authority of one's own that is not shown": lambda: (made(OWN),),
    "of an authority of one's own, with a weak key": lambda: (made(OWN, key=weak()), OWN),
    "for another name": lambda: (made(ROOT, name="other.example"),),
    "for another name, and expired": lambda: (made(ROOT, name="other.example", days=(-90, -1)),),
    "for mail": lambda: (made(ROOT, usage=ExtendedKeyUsageOID.EMAIL_PROTECTION),),
    "signed by a server's certificate": lambda: (made(middle := made(ROOT)), middle),
}


@pytest.mark.parametrize("chain", ORDINARY.values(), ids=list(ORDINARY))
def test_mistakes_of_ordinary_sites_stay_open(chain: Callable[[], Sequence[Made]], tmp_path: Path) -> None:
    assert flaw_of(tmp_path, chain(), ROOT, ssl.TLSVersion.TLSv1_3) is CertificateFlaw.NONE


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # a server may be as old as it likes
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("chain", OF_ONES_OWN.values(), ids=list(OF_ONES_OWN))
def test_certificates_that_prove_nothing_are_found(
    chain: Callable[[], Sequence[Made]], newest: ssl.TLSVersion, tmp_path: Path
) -> None:
    found = flaw_of(tmp_path, chain(), ROOT, newest)
    assert found in (CertificateFlaw.SELF_SIGNED, CertificateFlaw.OWN_AUTHORITY, CertificateFlaw.OTHER_NAME)


class _Http2Server(asyncio.Protocol):
    """A server that is a site over HTTP/1.1 and answers CONNECT over HTTP/2 in one of several ways."""

    def __init__(self, answer: str) -> None:
        self._answer, self._http2 = answer, H2Connection(H2Configuration(client_side=False))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_http2 = transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        if self._is_http2:
            self._http2.initiate_connection()
            transport.write(self._http2.data_to_send())

    def data_received(self, data: bytes) -> None:
        if not self._is_http2:
            if self._answer == "tunnel, silent else":
                return
            self._transport.write(PAGE)
            self._transport.close()
            return
        for event in self._http2.receive_data(data):
            if isinstance(event, RequestReceived):
                assert dict(event.headers)[b":method"] == b"CONNECT"
                self._reply(1)
            elif isinstance(event, DataReceived) and self._answer.startswith("tunnel"):
                assert event.data.startswith(b"\x16\x03"), "the beginning of a handshake"
                self._http2.send_data(1, b"\x16\x03\x03\x00\x7a")
        self._transport.write(self._http2.data_to_send())

    def _reply(self, stream: int) -> None:
        match self._answer:
            case "password":
                self._http2.send_headers(stream, [(":status", "407"), ("proxy-authenticate", "Basic")], end_stream=True)
            case "allow":
                self._http2.send_headers(stream, [(":status", "405"), ("allow", "GET, CONNECT")], end_stream=True)
            case "tunnel" | "tunnel, silent else":
                self._http2.send_headers(stream, [(":status", "200")])
            case "page":
                self._http2.send_headers(stream, [(":status", "200")])
                self._http2.send_data(stream, b"<!doctype html>", end_stream=True)
            case "no such method":
                self._http2.send_headers(stream, [(":status", "405"), ("allow", "GET, HEAD")], end_stream=True)
            case "reset":
                self._http2.reset_stream(stream)
            case "hang up":
                self._http2.close_connection()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((each, CertificateFlaw.PROXY) for each in ("password", "allow", "tunnel", "tunnel, silent else")),
        *((each, CertificateFlaw.NONE) for each in ("page", "no such method", "reset", "hang up", "nothing")),
    ],
)
def test_a_proxy_that_speaks_http2_only_is_found(
    answer: str, expected: CertificateFlaw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a web site for whoever asks over HTTP/1.1, and browsers ask proxies over HTTP/2 if they can."""
    monkeypatch.setattr(certificate_examiner, "_TUNNEL_SECONDS", 1.0)
    monkeypatch.setattr(certificate_examiner, "_ANSWER_SECONDS", 0.5)
    leaf = made(ROOT)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "root.pem").write_bytes(pem(ROOT.certificate))
    (tmp_path / "both.pem").write_bytes(leaf.key.private_bytes(*form) + pem(leaf.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def look() -> CertificateFlaw:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: _Http2Server(answer), "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            request = Request(DeviceId("tablet"), RequestKind.TUNNEL, HOST, port)
            examiner = CertificateExaminer(tmp_path / "root.pem", also_private=True)
            return await examiner.examine(Server(HOST, "127.0.0.1", port, DeviceId("tablet"), request))

    assert asyncio.run(look()) is expected
