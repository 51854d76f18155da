"""The common part of both sides of an HTTP/1 connection: bodies, trailers, and the change from one message to the next.

Protocol code: no sockets, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from abc import abstractmethod
from enum import Enum, auto
from typing import Any, ClassVar

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import HttpConnection

from hedgerow.proxy.http_head import ReceiveBuffer
from hedgerow.proxy.inspection.engine.bodies import BodyError, BodyReader
from hedgerow.proxy.inspection.engine.flows import Commands, HeaderFields, layers

MAX_PENDING = 256 * 1024
"""Bytes of an incomplete head, chunk header, trailer section or pipelined request that are kept."""

_FORBIDDEN_TRAILERS = frozenset(
    b"authorization connection content-encoding content-length content-range content-type cookie host keep-alive "
    b"proxy-authenticate proxy-authorization proxy-connection set-cookie te trailer transfer-encoding upgrade".split()
)


_DATA = (layers.RequestData, layers.ResponseData)
_TRAILERS = (layers.RequestTrailers, layers.ResponseTrailers)
_ENDS = (layers.RequestEndOfMessage, layers.ResponseEndOfMessage)


class MessagePhase(Enum):
    """The next thing in the bytes that the peer sends."""

    HEAD = auto()
    BODY = auto()
    REST = auto()  # kept until the other side's message is complete too
    OTHER_PROTOCOL = auto()  # passed on
    NOTHING = auto()  # the connection is over


class Http1Connection(HttpConnection):
    """One side of a connection.

    `incoming` are the events of the messages that its peer sends: data, trailers, end, error.
    """

    incoming: ClassVar[tuple[Any, Any, Any, Any]]

    def __init__(self, context: Context, connection: Connection) -> None:
        super().__init__(context, connection)
        self.buffer = ReceiveBuffer()
        self.state = MessagePhase.HEAD
        self.stream_id = -1  # of the request that is, or was last, under way
        self.request: http.Request | None = None
        self.response: http.Response | None = None
        self._reader: BodyReader
        self._is_received = self._is_sent = False  # the message of the peer, and ours
        self._has_body, self._in_chunks = True, False  # our message
        self._trailers: http.Headers | None = None

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, layers.HttpEvent):
            yield from self._send(event)
        elif isinstance(event, events.DataReceived):
            if self.state is MessagePhase.OTHER_PROTOCOL:
                yield layers.ReceiveHttp(self.incoming[0](self.stream_id, event.data))
            elif self.state is not MessagePhase.NOTHING:
                self.buffer.data += event.data
                yield from self._read()
                if len(self.buffer) > MAX_PENDING:
                    yield from self._overflow()
        elif isinstance(event, events.ConnectionClosed):
            yield from self._end()

    # Messages of the peer.

    def _read(self) -> Commands:
        if self.state is MessagePhase.HEAD:
            yield from self._read_head()
        if self.state is MessagePhase.BODY:
            yield from self._read_body()

    @abstractmethod
    def _read_head(self) -> Commands:
        """Read the head of a message, if it is complete."""

    def _read_body(self) -> Commands:
        reader, (data_of, trailers_of, end_of, _) = self._reader, self.incoming
        try:
            while not reader.is_complete:
                data = reader.read(self.buffer)
                if data:
                    yield layers.ReceiveHttp(data_of(self.stream_id, data))
                elif not reader.is_complete:
                    return
                if self.state is not MessagePhase.BODY:  # the message was refused meanwhile
                    return
        except BodyError as error:
            yield from self._refuse_body(str(error))
            return
        if trailers := [each for each in reader.trailers if each[0] not in _FORBIDDEN_TRAILERS]:
            yield layers.ReceiveHttp(trailers_of(self.stream_id, HeaderFields(trailers)))
        yield layers.ReceiveHttp(end_of(self.stream_id))
        yield from self._note_done(received=True)

    @abstractmethod
    def _refuse_body(self, message: str) -> Commands:
        """Fail the message whose body is malformed or incomplete, and end the connection."""

    @abstractmethod
    def _overflow(self) -> Commands:
        """End a connection whose peer sends too much of something."""

    def _end(self) -> Commands:
        """Handle the end of what the peer sends."""
        if self.state is MessagePhase.HEAD:
            yield from self._end_in_head()
        elif self.state is MessagePhase.BODY:
            try:
                self._reader.end()
            except BodyError as error:
                yield from self._refuse_body(str(error))
            else:
                yield from self._read_body()
        elif self.state is MessagePhase.OTHER_PROTOCOL:
            yield layers.ReceiveHttp(self.incoming[2](self.stream_id))
        elif self.state is MessagePhase.REST:
            yield from self._close()
            yield layers.ReceiveHttp(
                self.incoming[3](self.stream_id, "disconnected", layers.ErrorCode.CLIENT_DISCONNECTED)
            )

    @abstractmethod
    def _end_in_head(self) -> Commands:
        """Handle the end of what the peer sends, between two messages or within a head."""

    def _close(self) -> Commands:
        """Close the connection, and ignore what is still to come."""
        self.state, self.buffer = MessagePhase.NOTHING, ReceiveBuffer()
        if self.conn.state is not ConnectionState.CLOSED:
            yield commands.CloseConnection(self.conn)

    # Our messages.

    def _send(self, event: Any) -> Commands:
        """Send the peer what an event of the stream is about."""
        if isinstance(event, _DATA):
            # an HTTP/2 origin may send one where HTTP/1 has none: the client would read it as its next response
            if event.data and self._has_body:
                data = b"%x\r\n%b\r\n" % (len(event.data), event.data) if self._in_chunks else event.data
                yield commands.SendData(self.conn, data)
        elif isinstance(event, _TRAILERS):
            self._trailers = event.trailers
        elif isinstance(event, _ENDS):
            if self._in_chunks:
                trailers, self._trailers = self._trailers, None
                lines = [b"%b: %b\r\n" % field for field in trailers.fields] if trailers is not None else []
                yield commands.SendData(self.conn, b"0\r\n%b\r\n" % b"".join(lines))
            yield from self._note_done(sent=True)
        else:
            yield from self._begin(event)

    @abstractmethod
    def _begin(self, event: Any) -> Commands:
        """Send the head of a message, or end the connection after an error."""

    # Between two messages.

    def _note_done(self, *, received: bool = False, sent: bool = False) -> Commands:
        """Note that a message is complete, and go on with the next once both are."""
        self._is_received |= received
        self._is_sent |= sent
        if received:
            self.state = MessagePhase.REST
        if not (self._is_received and self._is_sent):
            return
        assert self.request is not None
        assert self.response is not None
        if self.response.status_code == 101:
            self.state, self._in_chunks = MessagePhase.OTHER_PROTOCOL, False
            if data := self.buffer.take(len(self.buffer)):
                yield layers.ReceiveHttp(self.incoming[0](self.stream_id, data))
        elif self._is_last(self.request, self.response):
            yield from self._close()
        else:
            self._is_received = self._is_sent = False
            self.request = self.response = None
            self.state = MessagePhase.HEAD
            if self.buffer:
                yield from self._read()

    def _is_last(self, request: http.Request, response: http.Response) -> bool:
        """Return whether the connection ends with this response."""
        return _ends_with_connection(request, response) or says_close(response)


def is_chunked(message: http.Message) -> bool:
    return "chunked" in message.headers.get("transfer-encoding", "").lower()


def _ends_with_connection(request: http.Request, response: http.Response) -> bool:
    try:
        return http1.expected_http_body_size(request, response) == -1
    except ValueError:  # a scanner's answer, or one that was changed
        return True


def says_close(message: http.Message) -> bool:
    """Return whether the sender closes the connection after this message (RFC 9112, section 9.3)."""
    options = [each.strip().lower() for each in message.headers.get("connection", "").split(",")]
    return "close" in options or (message.is_http10 and "keep-alive" not in options)
