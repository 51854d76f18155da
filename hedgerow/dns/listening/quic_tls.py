"""The TLS side of DNS over QUIC, which is not OpenSSL's: a configuration that is replaced when the certificate is renewed."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from hedgerow.dns.listening.certificates import Renewable
from hedgerow.dns.listening.quic_windows import MAX_STREAM_OCTETS

PROTOCOLS: Final = ("doq",)
IDLE_SECONDS: Final = 30.0


class QuicTls(Renewable):
    """`configuration` is for new connections. Without a handler for tickets nothing is resumed, and no early data taken."""

    configuration: QuicConfiguration

    def _load(self, chain: Path, key: Path) -> None:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, "")  # does the one fit the other?
        try:
            first, *others = load_pem_x509_certificates(chain.read_bytes())
            private = load_pem_private_key(key.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise ssl.SSLError(str(error)) from error
        self.configuration = QuicConfiguration(
            is_client=False,
            alpn_protocols=list(PROTOCOLS),
            idle_timeout=IDLE_SECONDS,
            max_stream_data=MAX_STREAM_OCTETS,
            certificate=first,
            certificate_chain=others,
            private_key=private,
        )
