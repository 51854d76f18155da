"""The publishers of public lists, played on loopback with stored copies: for tests and measurements of the first day.

Hedgerow asks the real URLs. In its own mount namespace, /etc/hosts leads the publishers' names to a server on loopback
with a certificate of its own authority, so nothing in Hedgerow is replaced. That needs root. A list of which there is
no copy is answered with 404, as by a publisher who has given it up.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import http.server
import io
import secrets
import ssl
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from no_publishers import no_internet

from hedgerow.blocklists.sources import PublicSource, public_sources

STORED = {
    "hagezi-nsfw": "lists/plain/hagezi-nsfw.txt",
    "hagezi-gambling-mini": "lists/plain/hagezi-gambling.mini.txt",
    "sinfonietta-pornography": "lists/hosts/sinfonietta-pornography.hosts",
    "sinfonietta-gambling": "lists/hosts/sinfonietta-gambling.hosts",
    "sinfonietta-snuff": "lists/hosts/sinfonietta-snuff.hosts",
    "sinfonietta-social": "lists/hosts/sinfonietta-social.hosts",
    # StevenBlack's list is not stored; this is the largest of the lists that it is made of.
    "stevenblack-porn": "lists/hosts/sinfonietta-pornography.hosts",
    "nextdns-no-safesearch": "safesearch/nextdns-no-safesearch.txt",
    "nextdns-encrypted-dns": "lists/nextdns-bypass/encrypted-dns",
    "nextdns-vpn": "lists/nextdns-bypass/vpn",
    "nextdns-proxies": "lists/nextdns-bypass/proxies",
    "ut1-gambling": "training/ut1-gambling.txt",
}
"""Files below the folder of stored copies. The archives of UT1 are made of the folders in `lists/ut1`."""

STORED_AS_RULES = {
    "hagezi-bypass": "lists/adblock/hagezi-doh-vpn-proxy-bypass.txt",
    "hagezi-nosafesearch": "lists/adblock/hagezi-nosafesearch.txt",
    "hagezi-social": "lists/adblock/hagezi-social.txt",
    "hagezi-urlshortener": "lists/adblock/hagezi-urlshortener.txt",
    "hagezi-dyndns": "lists/adblock/hagezi-dyndns.txt",
}
"""Lists of plain names that are stored as ad blockers' rules."""


class ListMirror:
    """With `program` before its words and `environment`, a program asks this mirror instead of the publishers. Without
    `serving`, nobody answers. `asked` are the URLs that were asked for, `names` the publishers' at `address`.
    """

    def __init__(self, files: Mapping[str, bytes], folder: Path) -> None:
        self.asked: list[str] = []
        self._files = files
        authority, certificate = folder / "authority.pem", folder / "publishers.pem"
        self.names = names = sorted({urlsplit(source.url).hostname or "" for source in public_sources().values()})
        _write_certificates(authority, certificate, names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.address = address = ".".join(["127", *(str(secrets.randbelow(254) + 1) for _ in range(3))])
        self._server = http.server.ThreadingHTTPServer((address, 443), functools.partial(_Publisher, self, context))
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        hosts = folder / "hosts"
        hosts.write_text("".join(f"{address} {name}\n" for name in names) + Path("/etc/hosts").read_text())
        bound = 'mount --bind "$0" /etc/hosts && exec "$@"'
        self.program = ("unshare", "--mount", "sh", "-c", bound, str(hosts))
        self.environment = {**no_internet(*names), "SSL_CERT_FILE": str(authority)}

    def answer(self, url: str) -> bytes | None:
        """Return the list at a URL, or None."""
        self.asked.append(url)
        return self._files.get(url)

    @contextlib.contextmanager
    def serving(self) -> Iterator[ListMirror]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Publisher(http.server.BaseHTTPRequestHandler):
    """A publisher of any name, with TLS."""

    protocol_version = "HTTP/1.1"

    def __init__(self, mirror: ListMirror, context: ssl.SSLContext, *arguments: object) -> None:
        self._mirror, self._context = mirror, context
        super().__init__(*arguments)  # type: ignore[arg-type]

    def setup(self) -> None:
        self.request = self._context.wrap_socket(self.request, server_side=True)
        super().setup()

    def do_GET(self) -> None:
        body = self._mirror.answer(f"https://{self.headers['host']}{self.path}")
        self.send_response(200 if body is not None else 404)
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


def stored_lists(data: Path) -> dict[str, bytes]:
    """Return the stored copies of public lists by their real addresses. `data` is the folder of stored copies."""
    sources = public_sources()
    files = {sources[name].url: (data / path).read_bytes() for name, path in STORED.items() if (data / path).is_file()}
    for name, path in STORED_AS_RULES.items():
        rules = (data / path).read_text(encoding="utf-8").splitlines() if (data / path).is_file() else []
        names = [rule.removeprefix("||").rstrip("^") for rule in rules if rule.startswith("||")]
        files |= {sources[name].url: "\n".join(names).encode()} if names else {}
    for source in sources.values():
        folder = data / "lists" / "ut1" / _folder_of(source)
        if source.url.endswith(".tar.gz") and folder.is_dir():
            files[source.url] = _archive(folder)
    return files


def _folder_of(source: PublicSource) -> str:
    return urlsplit(source.url).path.rpartition("/")[2].removesuffix(".tar.gz")


def _archive(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, folder.name)
    return packed.getvalue()


def _write_certificates(authority: Path, certificate: Path, hosts: list[str]) -> None:
    """Write an authority's certificate, and one for all hosts with its key."""
    now, keys = datetime.datetime.now(datetime.UTC), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Publishers of lists, for tests")])

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        made = made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False
        )
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return made.not_valid_after(now + datetime.timedelta(days=2))

    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    root = builder(issuer, keys[0]).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    root = root.add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
    leaf = builder(x509.Name([]), keys[1]).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=True
    )
    authority.write_bytes(root.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate.write_bytes(private + leaf.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
