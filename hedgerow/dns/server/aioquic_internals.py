"""The private parts of aioquic that DNS over QUIC uses, checked before it is served. `doq`, `quic` and `upstreams.quic` use them."""

from __future__ import annotations

from typing import Final

from hedgerow.internals import differences, require

TESTED_VERSIONS: Final = {"aioquic": "1.2.0"}
"""The version in pyproject.toml, for which the tables below hold."""

PARAMETERS: Final = {
    "aioquic.quic.connection:QuicConnection._initialize": "self peer_cid",
    "aioquic.quic.connection:QuicConnection._write_stream_limits": "self builder space stream",
    "aioquic.tls:Context._server_handle_hello": "self input_buf initial_buf handshake_buf onertt_buf",
    "aioquic.asyncio.protocol:QuicConnectionProtocol._transmit_soon": "self",
}

ATTRIBUTES: Final = {
    "aioquic.quic.connection:QuicConnection": (
        "_close_event _local_max_streams_bidi _local_max_streams_uni _streams _streams_finished host_cid tls"
    ),
    "aioquic.tls:Context": "_receive_buffer",
    "aioquic.asyncio.protocol:QuicConnectionProtocol": (
        "_connection_id_issued_handler _connection_id_retired_handler _connection_terminated_handler _loop _quic _timer _transport"
    ),
}


def check() -> None:
    """Compare the installed aioquic with the tables. Raises IncompatibleLibraryError, which names every difference."""
    require("serve DNS over QUIC", TESTED_VERSIONS, list(differences(PARAMETERS, ATTRIBUTES)))
