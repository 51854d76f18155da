"""The fast path for plain HTTP/1.1 messages: a GET without a body, and a short response with a Content-Length.

Such messages skip mitmproxy's layers. Any other message goes through them, and is refused there if need be.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Connection, Server
from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.addon import InspectionAddon
from hedgerow.proxy.inspection.connection_streams import ConnectionStreams
from hedgerow.proxy.inspection.engine.flows import OriginServer
from hedgerow.proxy.inspection.engine.http_stream import REFUSAL_KEY, SCANNER_KEY
from hedgerow.proxy.inspection.engine.messages import to_mitmproxy_response
from hedgerow.proxy.inspection.engine.plain_messages import (
    PlainRequest,
    ends_connection,
    head_after_path,
    parse_plain_path,
    parse_plain_request,
    parse_plain_response,
    request_bytes,
    response_bytes,
)
from hedgerow.proxy.inspection.head_cache import Site
from hedgerow.proxy.inspection.layer_driver import LayerDriver
from hedgerow.proxy.pages.block_page import ASK_PATH
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.scanners.response_scanner import BodyScanner


class FastPath:
    """The fast path of one connection. `receive` and `handle_end` get each event before the layers.

    `work` runs a coroutine, `open_origin` opens an origin, or notes the failure, and goes on with a call, and `close`
    closes a connection: all of them the connection's own.
    """

    def __init__(
        self,
        inspection: InspectionAddon,
        context: Context,
        streams: ConnectionStreams,
        driver: LayerDriver,
        *,
        work: Callable[[Coroutine[Any, Any, None]], None],
        open_origin: Callable[[Server, Callable[[], None]], Coroutine[Any, Any, None]],
        close: Callable[[Connection], None],
    ) -> None:
        self._inspection = inspection
        client, server = context.client, context.server
        self._client = client
        self._context = context
        self._streams = streams
        self._driver = driver
        self._work, self._open_origin, self._close = work, open_origin, close
        self._site: Site = inspection.clients.address(client), client.sni, server.address, server.tls
        self._flow: http.HTTPFlow | None = None  # in flight
        self._raw_request = b""
        self._is_asked = False
        self.server: OriginServer | None = None  # open, or opening

    def receive(self, connection: Connection, data: bytes) -> bool:
        """Handle the bytes that a connection has sent. Return False if the layers must handle them."""
        flow = self._flow
        if flow is not None:
            if connection is self.server and (response := parse_plain_response(data)) is not None:
                self._pass_on(flow, response)
                return True
            self._fall_back()
            return False
        if connection is self._client:
            return self._driver.is_at_rest and self._serve(data)
        return self.handle_end(connection)  # an idle origin must send nothing

    def handle_end(self, connection: Connection) -> bool:
        """Handle the end of a connection. Return False if the layers must handle it."""
        is_client = connection is self._client
        if self._flow is not None:
            if is_client:
                self._close(connection)
            else:
                self._fall_back()
            return is_client
        if connection is self.server:
            self.server = None
            self._close(connection)
            return True
        if not is_client or self._driver.layer is not None:
            return False
        self._streams.close(connection)
        return True

    def is_idle(self, connection: Connection) -> bool:
        """Return whether this is an idle connection of the fast path to an origin."""
        return connection is self.server and self._flow is None

    # A request.

    def _serve(self, data: bytes) -> bool:
        flow = self._judge_path(data) or self._judge(data)
        if flow is None:
            server, self.server = self.server, None
            if server is not None:
                self._streams.give_back(server)
            return False
        if flow.error is not None:
            return True  # its connection is being closed
        if flow.response is not None:
            self._inspection.response(flow)
            self._answer(flow, flow.response)
            return True
        self._flow, self._raw_request, self._is_asked = flow, data, False
        if self._driver.layer is not None:
            self._fall_back()
        elif self.server is not None:
            self._ask(flow, self.server)
        else:
            self._connect(flow)
        return True

    def _judge_path(self, data: bytes) -> http.HTTPFlow | None:
        """Return the flow of a request with the head of an earlier one, once it is judged; None for any
        other request.
        """
        known = self._inspection.heads.find(self._site, head_after_path(data), self._client)
        if known is None or (path := parse_plain_path(data)) is None:
            return None
        flow = known.plain.flow(path, self._client, self._context.server)
        return flow if self._inspection.judge_path(flow, known.judged) else None

    def _judge(self, data: bytes) -> http.HTTPFlow | None:
        """Return the flow of a plain request once it is judged; None for any other request."""
        flow = parse_plain_request(data, self._client, self._context.server)
        if flow is None or flow.request.path.startswith(ASK_PATH):
            return None
        request = flow.request
        self._inspection.requestheaders(flow)
        assert isinstance(request, PlainRequest)
        if (active := self._inspection.clients.active.get(flow.id)) is not None and request.data.path == request.sent[
            0
        ]:
            self._inspection.heads.note(self._site, head_after_path(data), request, active)
        return flow

    def _connect(self, flow: http.HTTPFlow) -> None:
        wanted = self._context.server
        assert wanted.address is not None
        self.server = server = OriginServer.at(wanted.address, tls=wanted.tls, sni=self._client.sni)
        active = self._inspection.clients.active.get(flow.id)
        if active is not None and self._streams.open_idle(server, active):
            self._ask(flow, server)
        else:
            self._work(self._open_origin(server, partial(self._ask, flow, server)))

    def _ask(self, flow: http.HTTPFlow, server: OriginServer) -> None:
        if server.error is not None or server.alpn == b"h2":
            self._fall_back()
            return
        self._is_asked = True
        self._streams.send_now(server, request_bytes(flow.request))

    # The response.

    def _pass_on(self, flow: http.HTTPFlow, response: http.Response) -> None:
        inspection, body = self._inspection, response.data.content
        flow.response = response
        inspection.responseheaders(flow)
        self._flow = None
        if flow.error is not None:
            return
        # it refers back to the flow
        refusal, scanner = flow.metadata.get(REFUSAL_KEY), flow.metadata.pop(SCANNER_KEY, None)
        if self.server is not None:
            self.server.is_used_again = True
        if body and refusal is None and scanner is not None:
            refusal = scanner.feed(body, is_last=True)
            if scanner.is_busy:
                self._work(self._wait_for_scan(flow, response, scanner))
                return
        self._finish(flow, response, refusal if body else None)

    async def _wait_for_scan(self, flow: http.HTTPFlow, response: http.Response, scanner: BodyScanner) -> None:
        """Answer when the scan is over. A short body may take long to scan."""
        ready = asyncio.Event()
        scanner.when_ready(ready.set)
        await ready.wait()
        self._finish(flow, response, scanner.result())

    def _finish(self, flow: http.HTTPFlow, response: http.Response, refusal: ProxyResponse | None) -> None:
        if refusal is not None:
            flow.response = response = to_mitmproxy_response(refusal)
        self._inspection.response(flow)
        self._answer(flow, response)

    def _answer(self, flow: http.HTTPFlow, response: http.Response) -> None:
        client = self._client
        if ends_connection(flow.request):
            self._streams.put(client, response_bytes(response))
            self._close(client)
        else:
            self._streams.send_now(client, response_bytes(response))

    # The layers.

    def _fall_back(self) -> None:
        """Hand the request over to the layers."""
        flow, self._flow = self._flow, None
        server, self.server = self.server, None
        assert flow is not None
        self._driver.fall_back(flow, self._raw_request, server, is_asked=self._is_asked)
