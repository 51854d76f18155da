"""TLS certificates of our own servers: the web pages and encrypted DNS.

Both use a certificate of our own CA, or the files that the policy names for its `server_name`.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from hedgerow.app.settings import WILDCARD_HOSTS, Endpoint, Settings
from hedgerow.dashboards.control import InvalidInput
from hedgerow.files import write_atomically
from hedgerow.network.own_addresses import own_addresses
from hedgerow.policies.network import CertificateFiles, NetworkSettings
from hedgerow.proxy.certificate_authority import (
    SERVER_VALIDITY,
    CertificateAuthorityError,
    issue_server_certificate,
    load_ca,
    sign_message,
)
from hedgerow.proxy.own_pages import web_host_names
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.web")

_RENEW_AFTER_S = SERVER_VALIDITY.total_seconds() / 2


class WebCertificates:
    """The TLS context of the web pages, called for every connection; None if there is no certificate.

    A new certificate is issued when the CA, the machine's names or its addresses change, and after half of its
    validity. Clients that ask for the policy's `server_name` get its files, which are read again when they change. All
    other names get a certificate of our own CA, so that a device can find out if it trusts that.
    """

    def __init__(self, settings: Settings, network: Callable[[], NetworkSettings]) -> None:
        self._settings, self._network = settings, network
        self._issued: tuple[object, float] | None = None
        self._context: ssl.SSLContext | None = None
        self._files: tuple[object, ssl.SSLContext] | None = None
        self._refused: object = None
        self.expires: dict[str, float] = {}

    def __call__(self) -> ssl.SSLContext | None:
        try:
            web, folder = self._settings.web, self._settings.authority
            addresses = sorted(own_addresses()) if web.host in WILDCARD_HOSTS else [web.host]
            names = web_host_names(self._network())
            reason = (addresses, names, max(path.stat().st_mtime_ns for path in folder.iterdir()))
            if self._issued is None or self._issued[0] != reason or time.time() - self._issued[1] > _RENEW_AFTER_S:
                self._context = self._issue(names, addresses)
                self._issued = (reason, time.time())
        except (OSError, ValueError, CertificateAuthorityError) as error:
            log.error("Can't issue a certificate for the web pages, the last one stays: %s", error)
        return self._context

    def sign(self, content: bytes) -> bytes:
        """Sign a profile with the policy's files, else with a certificate of our CA.

        Raises `InvalidInput` if they can't be used.
        """
        network = self._network()
        try:
            if network.certificate is not None:
                pem = Path(network.certificate.key).read_bytes() + Path(network.certificate.chain).read_bytes()
            else:
                pem = issue_server_certificate(load_ca(self._settings.authority), web_host_names(network), [])
            return sign_message(content, pem)
        except (OSError, ValueError, TypeError, CertificateAuthorityError) as error:
            raise InvalidInput("The profile can't be signed: %(error)s.", error=error) from error

    def _issue(self, names: tuple[str, ...], addresses: list[str]) -> ssl.SSLContext:
        pem = issue_server_certificate(load_ca(self._settings.authority), names, addresses)
        path = self._settings.run / "web.pem"
        write_atomically(path, pem)  # private; ssl loads certificates from files only
        context = _context(path, path)
        path.unlink()
        context.sni_callback = self._choose
        self.expires["pages"] = _not_after(pem)
        return context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        network = self._network()
        if network.certificate is not None and name is not None and name.lower() == network.server_name:
            chosen = self._context_of_files(network.certificate)
            if chosen is not None:
                connection.context = chosen

    def _context_of_files(self, files: CertificateFiles) -> ssl.SSLContext | None:
        """Load the policy's files.

        Unusable ones, such as a chain without its new key, leave the last context in force.
        """
        chain, key = Path(files.chain), Path(files.key)
        try:
            reason = (chain, key, chain.stat().st_mtime_ns, key.stat().st_mtime_ns)
            if reason != self._refused and (self._files is None or self._files[0] != reason):
                self._refused = reason
                self._files = (reason, _context(chain, key))
                self.expires["files"] = _not_after(chain.read_bytes())
                self._refused = None
        except (OSError, ValueError) as error:
            log.error("Can't use the policy's certificate for the web pages: %s", error)
        return self._files[1] if self._files is not None else None


def _context(chain: Path, key: Path) -> ssl.SSLContext:
    """A server context. Raises OSError, which includes ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(chain, key, "")  # the empty password keeps OpenSSL from prompting for one
    return context


def _not_after(pem: bytes) -> float:
    """The expiry of the first certificate in a PEM text. Raises ValueError."""
    return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc.timestamp()


DNS_CHECK_INTERVAL_S = 2.0


class DnsCertificateIssuer:
    """The issuer of `settings.dns_certificate`, if encrypted DNS is served and the policy names no files of its own."""

    def __init__(self, settings: Settings, network: Callable[[], NetworkSettings]) -> None:
        self._settings, self._network = settings, network
        self._places = list(settings.encrypted.values())
        self._issued: tuple[object, float] | None = None

    def issue_if_due(self) -> None:
        """Issue a certificate if the name, an address or the CA has changed, or after half of its validity.

        Logs a failure.
        """
        network = self._network()
        if not self._places or network.certificate is not None:
            return
        try:
            name, addresses = (
                network.server_name,
                sorted({each for place in self._places for each in _endpoint_addresses(place)}),
            )
            reason = (name, addresses, max(path.stat().st_mtime_ns for path in self._settings.authority.iterdir()))
            if (
                self._issued is not None
                and self._issued[0] == reason
                and time.time() - self._issued[1] < _RENEW_AFTER_S
            ):
                return
            pem = issue_server_certificate(
                load_ca(self._settings.authority), [name, f"*.{name}"] if name else [], addresses
            )
            write_atomically(self._settings.dns_certificate, pem)
            self._issued = (reason, time.time())
        except (OSError, CertificateAuthorityError) as error:
            log.error("Can't issue a certificate for encrypted DNS, the last one stays: %s", error)

    async def run(self) -> None:
        while True:
            await next_tick(DNS_CHECK_INTERVAL_S)
            self.issue_if_due()


def _endpoint_addresses(endpoint: Endpoint) -> list[str]:
    if endpoint.host not in WILDCARD_HOSTS:
        return [endpoint.host]
    return own_addresses()
