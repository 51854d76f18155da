"""Comparison of the private parts of other libraries with those that Hedgerow was built on.

A library whose private names Hedgerow uses is pinned to an exact version. Another version is refused with a text that
names the difference, before anything goes wrong silently. Targets are written as "module:qualified name". None of the
libraries is imported before its check.

`dns.server` and `dns.upstreams` use aioquic; `hpack_codec`, `dns.server.http2_codec` and `proxy.inspection.engine` use
h2 and hpack. The engine's own `compatibility` checks mitmproxy.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import CodeType
from typing import Any, Final

H2_VERSIONS: Final = {"h2": "4.4.1", "hpack": "4.2.0"}

H2_PARAMETERS: Final = {
    "h2.stream:H2Stream.__init__": "self stream_id config inbound_window_size outbound_window_size",
    "h2.stream:H2Stream.receive_headers": "self headers end_stream header_encoding",
    "h2.stream:H2Stream.send_headers": "self headers encoder end_stream",
    "hpack.hpack:Decoder._assert_valid_table_size": "self",
    "hpack.hpack:Encoder._encode_table_size_change": "self",
    "hpack.hpack:VARINT_MAX_LENGTH": None,
    "hpack.hpack:decode_integer": "data prefix_bits",
    "hpack.hpack:encode_integer": "integer prefix_bits",
    "hpack.huffman_table:HUFFMAN_TABLE": None,
    "hpack.table:HeaderTable.add": "self name value",
}

H2_ATTRIBUTES: Final = {
    "h2.connection:H2Connection": (
        "_frame_dispatch_table decoder encoder highest_inbound_stream_id inbound_flow_control_window"
        " max_outbound_frame_size outbound_flow_control_window streams"
    ),
    "h2.stream:H2Stream": "max_outbound_frame_size",
    "hpack.hpack:Decoder": "header_table max_allowed_table_size max_header_list_size",
    "hpack.hpack:Encoder": "header_table table_size_changes",
    "hpack.table:HeaderTable": "STATIC_TABLE STATIC_TABLE_MAPPING dynamic_entries resized",
}

AIOQUIC_VERSIONS: Final = {"aioquic": "1.2.0"}

AIOQUIC_PARAMETERS: Final = {
    "aioquic.quic.connection:QuicConnection._initialize": "self peer_cid",
    "aioquic.quic.connection:QuicConnection._write_stream_limits": "self builder space stream",
    "aioquic.tls:Context._server_handle_hello": "self input_buf initial_buf handshake_buf onertt_buf",
    "aioquic.asyncio.protocol:QuicConnectionProtocol._transmit_soon": "self",
}

AIOQUIC_ATTRIBUTES: Final = {
    "aioquic.quic.connection:QuicConnection": (
        "_close_event _local_max_streams_bidi _local_max_streams_uni _streams _streams_finished host_cid tls"
    ),
    "aioquic.tls:Context": "_receive_buffer",
    "aioquic.asyncio.protocol:QuicConnectionProtocol": "_quic _timer _transport",
}


class IncompatibleLibraryError(Exception):
    """An installed library is not the one that Hedgerow was built on. The text says which, and how to fix it."""


def check_h2(purpose: str) -> None:
    """Compare the installed h2 and hpack with the tables.

    `purpose` completes "Hedgerow cannot …". Raises IncompatibleLibraryError.
    """
    require(purpose, H2_VERSIONS, list(differences(H2_PARAMETERS, H2_ATTRIBUTES)))


def check_aioquic() -> None:
    """Compare the installed aioquic with the tables. Raises IncompatibleLibraryError, which names every difference."""
    require("serve DNS over QUIC", AIOQUIC_VERSIONS, list(differences(AIOQUIC_PARAMETERS, AIOQUIC_ATTRIBUTES)))


def require(purpose: str, tested: Mapping[str, str], differences: Sequence[str]) -> None:
    """Raise IncompatibleLibraryError if there are differences.

    `tested` maps libraries to versions, `purpose` completes "cannot …".
    """
    if differences:
        installed = " and ".join(f"{name} {_installed(name)}" for name in tested)
        wanted = " ".join(f"{name}=={number}" for name, number in tested.items())
        raise IncompatibleLibraryError(
            f"Hedgerow cannot {purpose} with {installed}: {'; '.join(differences)}. Install the versions it was made"
            f" for: {wanted}."
        )


def resolve(target: str) -> Any:
    """Return what a target names. Raises ImportError or AttributeError."""
    module, _, path = target.partition(":")
    value: Any = import_module(module)
    for name in filter(None, path.split(".")):
        value = getattr(value, name)
    return value


def differences(parameters: Mapping[str, str | None], attributes: Mapping[str, str]) -> Iterator[str]:
    """Yield what differs.

    `parameters` are those of callables (None: only existence), `attributes` those that a class's code must use.
    """
    for target, expected in [*parameters.items(), *attributes.items()]:
        try:
            value = resolve(target)
        except (ImportError, AttributeError):
            yield f"{target} is missing"
            continue
        if target in attributes:
            used = {name for each in value.__mro__ for code in _codes_of(each) for name in code.co_names}
            yield from (
                f"{target} has no attribute {name}"
                for name in attributes[target].split()
                if name not in used | set(dir(value))
            )
        elif expected is not None and (actual := " ".join(inspect.signature(value).parameters)) != expected:
            yield f"{target} takes ({actual.replace(' ', ', ')}) instead of ({expected.replace(' ', ', ')})"


def _codes_of(kind: type) -> Iterator[CodeType]:
    for member in vars(kind).values():
        function = getattr(member, "__func__", member)
        function = getattr(function, "fget", function) or function
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        if code is not None:
            yield code


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # a megabyte that only the refusal needs

    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
