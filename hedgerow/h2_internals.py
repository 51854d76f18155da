"""The private parts of h2 and hpack that Hedgerow uses, checked before DNS over HTTPS is served and before pages are inspected.

`hpack_codec`, `dns.server.http2_codec` and `proxy.inspection.engine` use them. This module imports neither library until `check` is called.
"""

from __future__ import annotations

from typing import Final

from hedgerow.internals import differences, require

TESTED_VERSIONS: Final = {"h2": "4.4.1", "hpack": "4.2.0"}
"""The versions in pyproject.toml, for which the tables below hold."""

PARAMETERS: Final = {
    "h2.stream:H2Stream.__init__": "self stream_id config inbound_window_size outbound_window_size",
    "h2.stream:H2Stream.receive_headers": "self headers end_stream header_encoding",
    "h2.stream:validate_headers": "headers hdr_validation_flags",
    "h2.windows:WindowManager.window_consumed": "self size",
    "h2.windows:WindowManager.process_bytes": "self size",
    "hpack.hpack:Decoder._assert_valid_table_size": "self",
    "hpack.hpack:Decoder._update_encoding_context": "self data",
    "hpack.hpack:Encoder._encode_table_size_change": "self",
    "hpack.hpack:decode_integer": "data prefix_bits",
    "hpack.hpack:encode_integer": "integer prefix_bits",
    "hpack.huffman_table:HUFFMAN_TABLE": None,
    "hpack.table:HeaderTable.add": "self name value",
}

ATTRIBUTES: Final = {
    "h2.connection:H2Connection": (
        "_closed_streams _inbound_flow_control_window_manager decoder encoder highest_inbound_stream_id max_outbound_frame_size "
        "outbound_flow_control_window streams"
    ),
    "h2.stream:H2Stream": "max_outbound_frame_size",
    "hpack.hpack:Decoder": "header_table max_allowed_table_size max_header_list_size",
    "hpack.hpack:Encoder": "header_table table_size_changes",
    "hpack.table:HeaderTable": "STATIC_TABLE STATIC_TABLE_MAPPING dynamic_entries resized",
}


def check(purpose: str) -> None:
    """Compare the installed libraries with the tables. Raises IncompatibleLibraryError, which names every difference.

    `purpose` completes "Hedgerow cannot …".
    """
    require(purpose, TESTED_VERSIONS, list(differences(PARAMETERS, ATTRIBUTES)))
