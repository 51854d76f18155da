"""The listeners of both transports, which import aioquic: it takes megabytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.internals import check_aioquic
from hedgerow.policies.transports import Transport

if TYPE_CHECKING:
    from hedgerow.features.quic.doq import QuicServer


def open_doq(transport: Transport, frontend: EncryptedFrontend, chain: Path, key: Path) -> QuicServer:
    """Return the server of DNS over QUIC. Raises IncompatibleLibraryError for another aioquic than the tested one."""
    check_aioquic()
    from hedgerow.features.quic.doq import DoqConnection, QuicServer, QuicTls

    return QuicServer(frontend, QuicTls(chain, key, transport.alpn), DoqConnection)


def open_doh3(transport: Transport, frontend: EncryptedFrontend, chain: Path, key: Path) -> QuicServer:
    """Return the server of DNS over HTTPS by HTTP/3. Raises IncompatibleLibraryError as `open_doq` does."""
    check_aioquic()
    from hedgerow.features.quic.doh3 import Doh3Connection
    from hedgerow.features.quic.doq import QuicServer, QuicTls

    return QuicServer(frontend, QuicTls(chain, key, transport.alpn), Doh3Connection)
