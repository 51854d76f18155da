"""Parts of mitmproxy that our subclasses override, call or read, checked before an inspector starts.

mitmproxy is pinned to an exact version. An installation with another version gets a refusal that names each difference,
and not an inspector that misreads requests. This module imports mitmproxy only in `check`: a missing name must not be
an ImportError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from hedgerow.internals import IncompatibleLibraryError as IncompatibleLibraryError
from hedgerow.internals import check_h2, differences, require, resolve

TESTED_VERSIONS = {"mitmproxy": "12.3.1"}
"""The version in pyproject.toml, for which the tables below are correct."""

_HTTP = "mitmproxy.proxy.layers.http"

PARAMETERS = {
    "mitmproxy.http:Headers.get_all": "self name",
    "mitmproxy.http:Headers.get": "self key default",
    "mitmproxy.http:Headers.__contains__": "self key",
    "mitmproxy.http:MessageData.__post_init__": "self",
    "mitmproxy.http:Request.authority": None,
    "mitmproxy.flow:Flow.__init__": "self client_conn server_conn live",
    "mitmproxy.proxy.context:Context.__init__": "self client options",
    "mitmproxy.proxy.context:Context.fork": "self",
    "mitmproxy.proxy.layer:Layer.__init__": "self context",
    "mitmproxy.proxy.layer:Layer._handle_event": "self event",
    "mitmproxy.proxy.layer:Layer.handle_event": "self event",
    f"{_HTTP}:HttpConnection.__init__": "self context conn",
    f"{_HTTP}:HttpLayer._handle_event": "self event",
    f"{_HTTP}:HttpLayer.event_to_child": "self child event",
    f"{_HTTP}:HttpLayer.get_connection": "self event reuse",
    f"{_HTTP}:HttpLayer.make_stream": "self stream_id",
    f"{_HTTP}:HttpLayer.register_connection": "self command",
    f"{_HTTP}:HttpStream._handle_event": "self event",
    f"{_HTTP}:HttpStream.check_invalid": "self request",
    f"{_HTTP}:HttpStream.flow_done": "self",
    f"{_HTTP}:HttpStream.handle_protocol_error": "self event",
    f"{_HTTP}:HttpStream.make_server_connection": "self",
    f"{_HTTP}:HttpStream.passthrough": "self event",
    f"{_HTTP}:HttpStream.start_response_stream": "self",
    f"{_HTTP}:HttpStream.state_consume_request_body": "self event",
    f"{_HTTP}:HttpStream.state_stream_response_body": "self event",
    f"{_HTTP}:HttpStream.state_wait_for_response_headers": "self event",
    f"{_HTTP}:RequestHeaders": "stream_id request end_stream replay_flow",
    f"{_HTTP}:Http2Server.__init__": "self context",
    f"{_HTTP}:Http2Client.__init__": "self context",
    f"{_HTTP}:Http2Server._handle_event": "self event",
    f"{_HTTP}:Http2Server.handle_h2_event": "self event",
    f"{_HTTP}:Http2Client.handle_h2_event": "self event",
    f"{_HTTP}:Http2Client.protocol_error": "self message error_code",
    f"{_HTTP}:Http2Server.is_closed": "self stream_id",
    f"{_HTTP}:Http2Server.is_open_for_us": "self stream_id",
    f"{_HTTP}._base:HttpConnection": None,
    f"{_HTTP}._events:ResponseProtocolError": "stream_id message code",
    f"{_HTTP}._http_h2:BufferedH2Connection.__init__": "self config",
    f"{_HTTP}._http_h2:BufferedH2Connection.receive_data": "self data",
    f"{_HTTP}._http2:StreamState.EXPECTING_HEADERS": None,
    "h2.utilities:validate_headers": "headers hdr_validation_flags",
}
"""Names that are overridden, called or imported, with their parameters; None for what is not called."""

ATTRIBUTES = {
    f"{_HTTP}:HttpLayer": "command_sources connections streams waiting_for_establishment",
    f"{_HTTP}:HttpStream": "child_layer client_state server_state request_body_buf flow state_done state_errored",
    f"{_HTTP}:Http2Server": "h2_conf h2_conn streams",
    f"{_HTTP}:Http2Client": "h2_conf h2_conn our_stream_id stream_queue streams their_stream_id",
    f"{_HTTP}._http_h2:BufferedH2Connection": "stream_buffers",
    "h2.connection:H2Connection": "decoder encoder highest_inbound_stream_id streams",
    "h2.stream:H2StreamStateMachine": "headers_sent",
}
"""Attributes of instances that are read or set: the class's own code must use them."""

WITHOUT_DEFAULT = {
    "mitmproxy.connection:Client": "peername sockname id timestamp_start",
    "mitmproxy.connection:Server": "id address",
}
"""Fields of dataclasses that `flows` must give values: the class has the others."""


def check() -> None:
    """Compare the installed libraries with the tables.

    Raises IncompatibleLibraryError, which names every difference.
    """
    check_h2("inspect pages")
    require("inspect pages", TESTED_VERSIONS, [*differences(PARAMETERS, ATTRIBUTES), *_default_differences()])


def _default_differences() -> Iterator[str]:
    for target, names in WITHOUT_DEFAULT.items():
        fields = dataclasses.fields(resolve(target))
        if (found := " ".join(each.name for each in fields if each.default is dataclasses.MISSING)) != names:
            yield f"{target} has no defaults of {found}"
