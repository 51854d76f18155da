"""The limit of a client's concurrent streams over HTTP/2, for DNS over HTTPS and the inspector.

h2 ends the connection of a client that opens too many, with all answers that are on their way. RFC 9113, section 5.1.2, wants the streams
beyond the limit refused, which the client may repeat (section 8.7).

Protocol code: no sockets, no clock, no files.
"""

from __future__ import annotations

from h2.connection import H2Connection, _decode_headers
from h2.errors import ErrorCodes
from h2.events import Event
from h2.stream import StreamClosedBy
from hyperframe.frame import Frame, HeadersFrame, RstStreamFrame


class LimitedConnection(H2Connection):
    """A server's side of HTTP/2 that refuses streams beyond its MAX_CONCURRENT_STREAMS."""

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        number = frame.stream_id
        is_new = number not in self.streams and number > self.highest_inbound_stream_id and number % 2 == 1
        if not is_new or self.open_inbound_streams < self.local_settings.max_concurrent_streams:
            return super()._receive_headers_frame(frame)
        _decode_headers(self.decoder, frame.data)  # later blocks build on the table of fields
        self.highest_inbound_stream_id = number
        self._closed_streams[number] = StreamClosedBy.SEND_RST_STREAM  # what follows on it is ignored
        reset = RstStreamFrame(number)
        reset.error_code = ErrorCodes.REFUSED_STREAM
        return [reset], []
