"""The listener of each encrypted transport in `hedgerow.policies.transports`.

To add a transport, add a row there and a case here.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol

from hedgerow.dns.server.doh import DohServer
from hedgerow.dns.server.stream import DotServer, EncryptedFrontend
from hedgerow.dns.server.tls import ReloadableCertificate, ServerTls
from hedgerow.internals import check_aioquic, check_h2
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

    Raises OSError or ssl.SSLError for unusable files, and IncompatibleLibraryError for another aioquic or h2 than the
    tested one.
    """
    match transport.name:
        case "dot":
            return DotServer(frontend, ServerTls(chain, key, transport.alpn))
        case "doh":
            check_h2("serve DNS over HTTPS")
            return DohServer(frontend, ServerTls(chain, key, transport.alpn))
        case "doq" | "doh3":
            check_aioquic()
            from hedgerow.dns.server.doq import DoqConnection, QuicServer, QuicTls  # aioquic takes megabytes

            if transport.name == "doq":
                return QuicServer(frontend, QuicTls(chain, key, transport.alpn), DoqConnection)
            from hedgerow.dns.server.doh3 import Doh3Connection

            return QuicServer(frontend, QuicTls(chain, key, transport.alpn), Doh3Connection)
        case _:
            raise ValueError(f"{transport.name} has no listener")
