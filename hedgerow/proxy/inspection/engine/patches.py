"""Everything private of mitmproxy and h11 that Hedgerow replaces, overrides or reads, checked before it is relied on.

Both libraries are pinned to exact versions. Whoever installs another version gets a refusal that names the difference, and not an
inspector that misreads requests. This module imports neither library until `check` is called: a missing name must not be an ImportError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import CodeType
from typing import Any

from hedgerow.internals import IncompatibleLibraryError as IncompatibleLibraryError
from hedgerow.internals import check_h2, differences, require, resolve

TESTED_VERSIONS = {"mitmproxy": "12.3.1", "h11": "0.16.0"}
"""The versions in pyproject.toml, for which the tables below hold."""

_HTTP = "mitmproxy.proxy.layers.http"

REPLACED = {
    "mitmproxy.http:Headers.__init__": "self fields headers",
    "mitmproxy.http:Headers.get_all": "self name",
    "mitmproxy.http:Headers.get": "self key default",
    "mitmproxy.http:Headers.__contains__": "self key",
    "mitmproxy.http:MessageData.__post_init__": "self",
    "mitmproxy.http:Request.authority": None,
    "mitmproxy.connection:uuid": None,
    "mitmproxy.flow:uuid": None,
    "mitmproxy.proxy.context:Context.fork": "self",
    "mitmproxy.proxy.commands:StartHook.args": "self",
    "mitmproxy.proxy.commands:StartHook.__new__": "cls args kwargs",
    "mitmproxy.connection:Server.__setattr__": "self name value",
    "mitmproxy.connection:Connection.__hash__": "self",
    "mitmproxy.connection:Connection.__eq__": "self other",
    f"{_HTTP}:Http1Server": "context",
    f"{_HTTP}:Http1Client": "context",
    f"{_HTTP}:Http2Server": "context",
    f"{_HTTP}:Http2Client": "context",
    f"{_HTTP}:HttpStream": "context stream_id",
    f"{_HTTP}:websocket": None,
    f"{_HTTP}:validate_request": "mode request validate_inbound_headers",
    f"{_HTTP}:validate_headers": "message",
    "mitmproxy.net.http.http1:read_request_head": "lines",
    "mitmproxy.net.http.http1:read_response_head": "lines",
    f"{_HTTP}._http1:make_body_reader": "expected_size",
    f"{_HTTP}._http1:make_error_response": "status_code message",
    "h2.stream:validate_headers": "headers hdr_validation_flags",
}
"""Names that `replace` may set, as "module:qualified name", with their parameters; None for what is not called."""

CALLED = {
    "mitmproxy.proxy.layer:Layer.handle_event": "self event",
    f"{_HTTP}:HttpClient._handle_event": "self event",
    f"{_HTTP}:HttpLayer._handle_event": "self event",
    f"{_HTTP}:HttpLayer.event_to_child": "self child event",
    f"{_HTTP}:HttpLayer.get_connection": "self event reuse",
    f"{_HTTP}:HttpLayer.register_connection": "self command",
    f"{_HTTP}:HttpStream._handle_event": "self event",
    f"{_HTTP}:HttpStream.flow_done": "self",
    f"{_HTTP}:HttpStream.make_server_connection": "self",
    f"{_HTTP}:HttpStream.start_response_stream": "self",
    f"{_HTTP}:HttpStream.state_consume_request_body": "self event",
    f"{_HTTP}:HttpStream.state_stream_response_body": "self event",
    f"{_HTTP}:HttpStream.state_wait_for_response_headers": "self event",
    f"{_HTTP}._http1:Http1Connection._handle_event": "self event",
    f"{_HTTP}._http1:Http1Connection.mark_done": "self request response",
    f"{_HTTP}._http1:Http1Connection.passthrough": "self event",
    f"{_HTTP}._http1:Http1Connection.read_body": "self event",
    f"{_HTTP}._http1:Http1Connection.wait": "self event",
    f"{_HTTP}._http1:Http1Client.read_headers": "self event",
    f"{_HTTP}._http1:Http1Client.send": "self event",
    f"{_HTTP}._http1:Http1Server.read_headers": "self event",
    f"{_HTTP}._http1:Http1Server.send": "self event",
    f"{_HTTP}._http2:Http2Connection._handle_event": "self event",
    f"{_HTTP}._http2:Http2Connection.handle_h2_event": "self event",
    f"{_HTTP}._http2:Http2Connection.is_closed": "self stream_id",
    f"{_HTTP}._http2:Http2Connection.is_open_for_us": "self stream_id",
    f"{_HTTP}._http2:Http2Connection.protocol_error": "self message error_code",
    f"{_HTTP}._http2:parse_h2_response_headers": "h2_headers",
    "h11._readers:ChunkedReader.__call__": "self buf",
    "h11._receivebuffer:ReceiveBuffer.maybe_extract_lines": "self",
    "h11._receivebuffer:blank_line_regex": None,
}
"""Names that are called, overridden or imported, with their parameters."""

ATTRIBUTES = {
    "mitmproxy.proxy.layer:Layer": "_paused _paused_event_queue",
    f"{_HTTP}:HttpLayer": "command_sources connections streams waiting_for_establishment",
    f"{_HTTP}:HttpStream": "client_state server_state request_body_buf flow state_done state_errored",
    f"{_HTTP}._http1:Http1Connection": "body_reader buf request request_done response response_done state stream_id",
    f"{_HTTP}._http2:Http2Connection": "h2_conn streams",
    f"{_HTTP}._http_h2:BufferedH2Connection": "stream_buffers",
    "h2.connection:H2Connection": "incoming_buffer highest_inbound_stream_id",
    "h2.stream:H2StreamStateMachine": "headers_sent",
    "h2.frame_buffer:FrameBuffer": "_data _headers_buffer",
    "h11._readers:ChunkedReader": "_bytes_in_chunk _bytes_to_discard _reading_trailer",
    "h11._receivebuffer:ReceiveBuffer": "_data _multiple_lines_search",
}
"""Attributes of instances that are read or set: the class's own code must use them."""

WITHOUT_DEFAULT = {
    "mitmproxy.connection:Client": "peername sockname id timestamp_start",
    "mitmproxy.connection:Server": "id address",
}
"""Fields of dataclasses that `lean_messages.lean` must be given: the class has the others."""

TEXTS = {
    f"{_HTTP}._http1:Http1Connection.read_body": "HTTP/1 protocol error: ",
    f"{_HTTP}._http1:Http1Client.read_headers": "Cannot parse HTTP response: ",
    f"{_HTTP}._http2:Http2Connection.handle_h2_event": "HTTP/2 protocol error: ",
    f"{_HTTP}._http2:Http2Client.handle_h2_event": "Received unexpected HTTP/2 response.",
}
"""Error texts from which `failures` tells a broken answer; the others that it knows are Hedgerow's own."""


def check() -> None:
    """Compare the installed libraries with the tables. Raises IncompatibleLibraryError, which names every difference."""
    check_h2("inspect pages")
    require(
        "inspect pages", TESTED_VERSIONS, [*differences({**REPLACED, **CALLED}, ATTRIBUTES), *_default_differences(), *_text_differences()]
    )


def replace(target: str, value: Any) -> None:
    """Put `value` in the place of a name in `REPLACED`."""
    if target not in REPLACED:
        raise KeyError(target)
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    setattr(resolve(f"{module}:{'.'.join(owners)}"), name, value)


def _default_differences() -> Iterator[str]:
    for target, names in WITHOUT_DEFAULT.items():
        fields = dataclasses.fields(resolve(target))
        if (found := " ".join(each.name for each in fields if each.default is dataclasses.MISSING)) != names:
            yield f"{target} has no defaults of {found}"


def _text_differences() -> Iterator[str]:
    for target, text in TEXTS.items():
        try:
            constants = _constants_of(resolve(target).__code__)
        except (ImportError, AttributeError):
            yield f"{target} is missing"
            continue
        if not any(isinstance(each, str) and text in each for each in constants):
            yield f"{target} does not say {text!r}"


def _constants_of(code: CodeType) -> Iterator[object]:
    for each in code.co_consts:
        yield from _constants_of(each) if isinstance(each, CodeType) else (each,)
