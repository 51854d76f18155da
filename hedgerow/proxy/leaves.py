"""Certificates for inspected hosts: signed by the network's authority, with a key of their own that is not the authority's.

The key lives as long as the process and is shared by its leaves; the authority's key only signs.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from mitmproxy import certs

from hedgerow.proxy.authority import Authority

_MOST = 2000
"""Leaves of a day's browsing; mitmproxy's own limit of 100 makes it sign the same ones again and again."""

_VALIDITY = datetime.timedelta(days=90)
_BACKDATED = datetime.timedelta(days=2)  # for clients whose clocks are slow
_LONGEST_NAME = 64  # of a common name (RFC 5280, appendix A)


class LeafStore(certs.CertStore):
    """What mitmproxy asks for certificates. The least recently used are forgotten first."""

    def __init__(self, authority: Authority) -> None:
        no_parameters = certs.DHParams(b"")  # finite-field Diffie-Hellman is not offered
        ca = certs.Cert(authority.certificate)
        super().__init__(authority.key, ca, None, certs.dummy_crl(authority.key, authority.certificate), no_parameters)
        self._authority = authority
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaves: OrderedDict[tuple[str | None, tuple[x509.GeneralName, ...]], certs.CertStoreEntry] = OrderedDict()

    def get_cert(
        self,
        commonname: str | None,
        sans: Iterable[x509.GeneralName],
        organization: str | None = None,  # noqa: ARG002
        crl_url: str | None = None,  # noqa: ARG002
    ) -> certs.CertStoreEntry:
        """The leaf for a name and its alternatives; signed when it is not there yet or soon expires."""
        key = (commonname, tuple(sans))
        entry = self._leaves.get(key)
        if entry is None or entry.cert.has_expired():
            leaf = make_leaf(self._authority, self._key.public_key(), commonname, key[1])
            entry = certs.CertStoreEntry(certs.Cert(leaf), self._key, None, [])
            self._leaves[key] = entry
        self._leaves.move_to_end(key)
        while len(self._leaves) > _MOST:
            self._leaves.popitem(last=False)
        return entry


def make_leaf(
    authority: Authority, key: ec.EllipticCurvePublicKey, name: str | None, names: tuple[x509.GeneralName, ...]
) -> x509.Certificate:  # fmt: skip
    """A server's certificate for `names`, of which `name` is shown as the subject if it is short enough."""
    now = datetime.datetime.now(datetime.UTC)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name and len(name) < _LONGEST_NAME else []
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder(authority.certificate.subject, x509.Name(subject), key, x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + _VALIDITY, authority.expires))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
    return builder.sign(authority.key, hashes.SHA256())
