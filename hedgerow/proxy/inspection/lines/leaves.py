"""Certificates for inspected hosts: signed by the network's authority, with a key of their own that is not the authority's.

The key lives as long as the process and is shared by its leaves; the authority's key only signs.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections import OrderedDict

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hedgerow.blocklists.names import is_address
from hedgerow.proxy.authority import Authority

_MOST = 1000
"""Leaves of a day's browsing, at some 22 kB each."""

_VALIDITY = datetime.timedelta(days=90)
_RENEWED_BEFORE = datetime.timedelta(days=7)
_BACKDATED = datetime.timedelta(days=2)  # for clients whose clocks are slow
_LONGEST_NAME = 64  # of a common name (RFC 5280, appendix A)
_PROTOCOLS = ["h2", "http/1.1"]


class LeafStore:
    """The TLS context for each inspected host. The least recently used are forgotten first."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._key_pem = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self._contexts: OrderedDict[str, tuple[ssl.SSLContext, datetime.datetime]] = OrderedDict()

    def context(self, host: str) -> ssl.SSLContext:
        """For a server that shows a certificate for `host`, a name or an address; signed when it is not there yet or soon expires."""
        context, renewal = self._contexts.get(host, (None, None))
        if context is None or renewal is None or renewal < datetime.datetime.now(datetime.UTC):
            leaf = make_leaf(self._authority, self._key.public_key(), host)
            context = self._make_context(leaf)
            self._contexts[host] = (context, leaf.not_valid_after_utc - _RENEWED_BEFORE)
        self._contexts.move_to_end(host)
        while len(self._contexts) > _MOST:
            self._contexts.popitem(last=False)
        return context

    def _make_context(self, leaf: x509.Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(_PROTOCOLS)
        context.num_tickets = 1
        # The standard library takes certificates from files only; this one is in memory and has no name.
        descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, self._key_pem + leaf.public_bytes(serialization.Encoding.PEM))
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context


def make_leaf(authority: Authority, key: ec.EllipticCurvePublicKey, host: str) -> x509.Certificate:
    """A server's certificate for `host`, which is shown as the subject if it is short enough."""
    now = datetime.datetime.now(datetime.UTC)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, host)] if len(host) < _LONGEST_NAME else []
    name = x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder(authority.certificate.subject, x509.Name(subject), key, x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + _VALIDITY, authority.expires))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .add_extension(x509.SubjectAlternativeName([name]), critical=not subject)
    )
    return builder.sign(authority.key, hashes.SHA256())
