"""The listeners of encrypted transports in `hedgerow.policies.transports`, but for those that features open.

To add a transport, add a row there, and a case here or a listener of a feature.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol

from hedgerow.dns.server.doh import DohServer
from hedgerow.dns.server.stream import DotServer, EncryptedFrontend
from hedgerow.dns.server.tls import ReloadableCertificate, ServerTls
from hedgerow.internals import check_h2
from hedgerow.policies.transports import Transport


class EncryptedServer(Protocol):
    """A server of one encrypted transport on any number of sockets."""

    @property
    def tls(self) -> ReloadableCertificate:
        """The certificate that is shown to new connections."""

    async def listen(self, sock: socket.socket) -> None:
        """Serve on a bound socket, which the server closes. Raises OSError."""

    def close(self) -> None:
        """End all connections. Call it before the `DnsServer` is closed."""


def open_encrypted_server(transport: Transport, frontend: EncryptedFrontend, chain: Path, key: Path) -> EncryptedServer:
    """Return the server of a transport, with a certificate from PEM files.

    Raises OSError or ssl.SSLError for unusable files, and IncompatibleLibraryError for another h2 than the tested one.
    """
    match transport.name:
        case "dot":
            return DotServer(frontend, ServerTls(chain, key, transport.alpn))
        case "doh":
            check_h2("serve DNS over HTTPS")
            return DohServer(frontend, ServerTls(chain, key, transport.alpn))
        case _:
            raise ValueError(f"{transport.name} has no listener")
