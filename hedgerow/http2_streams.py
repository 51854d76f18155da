"""The end of connections over HTTP/2, and the limit of a client's concurrent streams, for DNS over HTTPS and the
inspector.

h2 ends the connection of a client that opens too many, with all answers that are on their way. RFC 9113, section 5.1.2,
wants the streams beyond the limit refused, which the client may repeat (section 8.7).

Protocol code: no sockets, no clock, no files.
"""

from __future__ import annotations

from collections.abc import Buffer

from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived
from h2.settings import SettingCodes, Settings

_UNLIMITED = 2**31 - 1


class OnceClosedConnection(H2Connection):
    """A connection that says once why it ends: h2 has sent GOAWAY when it reports a fault."""

    def close_connection(
        self,
        error_code: ErrorCodes | int = 0,
        additional_data: bytes | None = None,
        last_stream_id: int | None = None,
    ) -> None:
        if self.state_machine.state is not ConnectionState.CLOSED:
            super().close_connection(error_code, additional_data, last_stream_id)


class LimitedConnection(OnceClosedConnection):
    """A server's side of HTTP/2 that refuses streams beyond the MAX_CONCURRENT_STREAMS that it announces."""

    def initiate_connection(self) -> None:
        super().initiate_connection()
        self._most_streams = self.local_settings.max_concurrent_streams
        # The settings are announced. Those that h2 enforces have no limit of streams.
        values = {SettingCodes(code): value for code, value in self.local_settings.items()}
        self.local_settings = Settings(
            client=False, initial_values=values | {SettingCodes.MAX_CONCURRENT_STREAMS: _UNLIMITED}
        )

    def receive_data(self, data: Buffer) -> list[Event]:
        events = super().receive_data(data)
        requests = [
            event.stream_id for event in events if isinstance(event, RequestReceived) and event.stream_id is not None
        ]
        too_many = self.open_inbound_streams - self._most_streams if requests else 0  # counting forgets closed streams
        if too_many <= 0:
            return events
        refused = [number for number in requests if number in self.streams][-too_many:]
        for number in refused:
            self.reset_stream(number, ErrorCodes.REFUSED_STREAM)
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id in refused and event.flow_controlled_length:
                self.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        return [event for event in events if getattr(event, "stream_id", None) not in refused]

    def release(self) -> None:
        """Cut the references of a connection that is over to its own methods, so that it is freed without the collector
        of garbage.
        """
        self._frame_dispatch_table.clear()
