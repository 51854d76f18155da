"""Plain requests looked after without mitmproxy's layers: the same judging, a tenth of the calls.

A request that is plain, and comes while nothing else is under way, is judged here by the hooks that the layers would call. If it is
answered by ourselves, or if its origin's answer is plain too and there at once, that was all. In every other case the layers get the
bytes as if nothing had been: they find the request judged, and the connection to its origin made. So there is one judging, and but one way
in which anything complicated is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any, Protocol

from mitmproxy import http
from mitmproxy.connection import Client, Connection, Server
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.engine.flow_request import response_of
from hedgerow.proxy.inspection.engine.held_stream import REFUSAL, WATCH, Watch
from hedgerow.proxy.inspection.engine.http_engine import OriginServer
from hedgerow.proxy.inspection.engine.plain_messages import answer_bytes, ends_connection, read_answer, read_request, request_bytes
from hedgerow.proxy.inspection.judging import Inspection
from hedgerow.proxy.inspection.lines.origins import OriginError, Waiting
from hedgerow.proxy.pages.answer import Answer
from hedgerow.proxy.pages.block_page import ASK_PATH

_numbers = count(1)


class Road(Protocol):
    """What the short path needs of its exchange."""

    @property
    def client(self) -> Client: ...
    @property
    def inspection(self) -> Inspection: ...
    @property
    def has_layers(self) -> bool: ...
    @property
    def is_at_rest(self) -> bool: ...
    def work(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def reach(self, server: Server) -> Waiting: ...
    def say(self, to: Client | Server, data: bytes) -> None: ...
    def close(self, connection: Client | Server) -> None: ...
    def catch_up(self, server: Server, waiting: Waiting) -> None: ...
    def give_back(self, server: Server) -> None: ...
    def take_long_way(self, flow: http.HTTPFlow, said: bytes, server: OriginServer | None, *, is_asked: bool) -> None: ...


class ShortPath:
    """One connection's. `hears` is told everything first."""

    def __init__(self, road: Road, context: Context) -> None:
        self._road = road
        self._context = context
        self._flow: http.HTTPFlow | None = None  # what is under way
        self._said = b""
        self._is_asked = False
        self.server: OriginServer | None = None  # open, or opening

    def hears(self, event: events.ConnectionEvent) -> bool:
        """Whether the event was looked after here; if not it is the layers'."""
        if self._flow is not None:
            return self._hears_meanwhile(self._flow, event)
        if event.connection is self.server:  # nobody has asked it for anything
            server, self.server = self.server, None
            assert server is not None
            self._road.close(server)
            return True
        if event.connection is not self._road.client:
            return False
        if isinstance(event, events.DataReceived):
            return self._road.is_at_rest and self._serve(event.data)
        if self._road.has_layers:
            return False
        self._road.close(self._road.client)
        return True

    def is_idle(self, connection: Connection) -> bool:
        """Whether this is an origin's connection of ours on which nothing is under way."""
        return connection is self.server and self._flow is None

    # A request.

    def _serve(self, data: bytes) -> bool:
        flow = read_request(data, self._road.client, self._context.server)
        if flow is None or flow.request.path.startswith(ASK_PATH):
            server, self.server = self.server, None
            if server is not None:
                self._road.give_back(server)
            return False
        inspection = self._road.inspection
        inspection.requestheaders(flow)
        if flow.error is not None:
            return True  # its connection is being ended
        if flow.response is not None:
            inspection.response(flow)
            self._answer(flow, flow.response)
            return True
        self._flow, self._said, self._is_asked = flow, data, False
        if self._road.has_layers:
            self._take_long_way()
        elif self.server is not None:
            self._ask(flow, self.server)
        else:
            self._road.work(self._open(flow))
        return True

    async def _open(self, flow: http.HTTPFlow) -> None:
        wanted = self._context.server
        self.server = server = OriginServer(address=wanted.address, id=f"p{next(_numbers)}", tls=wanted.tls)
        if wanted.tls and wanted.address is not None:
            server.sni = self._road.client.sni or wanted.address[0]
        try:
            waiting = await self._road.reach(server)
        except OriginError as error:
            server.error = str(error)
            self._take_long_way()
            return
        if server.alpn == b"h2":
            self._take_long_way()
        else:
            self._ask(flow, server)
        self._road.catch_up(server, waiting)

    def _ask(self, flow: http.HTTPFlow, server: OriginServer) -> None:
        self._is_asked = True
        self._road.say(server, request_bytes(flow.request))

    # Its answer.

    def _hears_meanwhile(self, flow: http.HTTPFlow, event: events.ConnectionEvent) -> bool:
        if event.connection is self.server and isinstance(event, events.DataReceived):
            response = read_answer(event.data, flow.request)
            if response is not None:
                self._pass_on(flow, response)
                return True
        if event.connection is self._road.client and isinstance(event, events.ConnectionClosed):
            self._road.close(self._road.client)
            return True
        self._take_long_way()
        return False

    def _pass_on(self, flow: http.HTTPFlow, response: http.Response) -> None:
        inspection, body = self._road.inspection, response.data.content
        flow.response = response
        inspection.responseheaders(flow)
        self._flow = None
        if flow.error is not None:
            return
        refusal, watch = flow.metadata.get(REFUSAL), flow.metadata.pop(WATCH, None)  # which knows its flow
        if self.server is not None:
            self.server.is_used_again = True
        if body and refusal is None and watch is not None:
            refusal = watch.feed(body)
            if refusal is None and watch.is_busy:
                self._road.work(self._look_on(flow, response, watch))
                return
            refusal = refusal or watch.end()
        self._finish(flow, response, refusal if body else None)

    async def _look_on(self, flow: http.HTTPFlow, response: http.Response, watch: Watch) -> None:
        """A short body may take long to be looked at; others have their turns meanwhile."""
        refusal = None
        while refusal is None and watch.is_busy:
            await asyncio.sleep(0)
            refusal = watch.go_on()
        self._finish(flow, response, refusal or watch.end())

    def _finish(self, flow: http.HTTPFlow, response: http.Response, refusal: Answer | None) -> None:
        if refusal is not None:
            flow.response = response = response_of(refusal)
        self._road.inspection.response(flow)
        self._answer(flow, response)

    def _answer(self, flow: http.HTTPFlow, response: http.Response) -> None:
        client = self._road.client
        self._road.say(client, answer_bytes(response))
        if ends_connection(flow.request):
            self._road.close(client)

    # The long way.

    def _take_long_way(self) -> None:
        """The layers hear the request, and go on from there."""
        flow, self._flow = self._flow, None
        server, self.server = self.server, None
        assert flow is not None
        self._road.take_long_way(flow, self._said, server, is_asked=self._is_asked)
