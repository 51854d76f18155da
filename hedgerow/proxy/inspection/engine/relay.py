"""What follows an answer 101: a WebSocket, whose bytes go by as they come.

Its URL was judged when it was opened and is judged again with every policy; nobody reads its messages. mitmproxy would put each one
together before it goes on, at a cost that grows with the square of its length. Protocol code: no sockets, no clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context


class Relay(layer.Layer):
    """In place of mitmproxy's layer for WebSocket. When one side ends, both do: a WebSocket says farewell in its own frames."""

    def __init__(self, context: Context, _flow: object) -> None:
        super().__init__(context)
        self._is_over = False

    def _handle_event(self, event: events.Event) -> Generator[commands.Command, Any, None]:
        if self._is_over or not isinstance(event, events.ConnectionEvent):
            return
        context = self.context
        other = context.server if event.connection is context.client else context.client
        if isinstance(event, events.DataReceived):
            yield commands.SendData(other, event.data)
        elif isinstance(event, events.ConnectionClosed):
            self._is_over = True
            yield commands.CloseConnection(other)
            yield commands.CloseConnection(event.connection)
