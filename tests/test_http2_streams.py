"""Streams beyond the limit: refused one by one, while the connection and the others go on."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from hedgerow.http2_streams import LimitedConnection

MOST = 3
FIELDS = [(":method", "POST"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")]


def pair() -> tuple[H2Connection, LimitedConnection]:
    """A client that has not heard of the limit, and a server."""
    client, server = H2Connection(), LimitedConnection(H2Configuration(client_side=False))
    server.local_settings = Settings(client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: MOST})
    client.initiate_connection()
    server.initiate_connection()
    server.receive_data(client.data_to_send())
    other = H2Connection()
    other.initiate_connection()
    other.receive_data(server.data_to_send())
    assert other.remote_settings.max_concurrent_streams == MOST
    return client, server


def begin(client: H2Connection, count: int, body: bytes = b"") -> None:
    for _ in range(count):
        number = client.get_next_available_stream_id()
        client.send_headers(number, FIELDS, end_stream=False)
        if body:
            client.send_data(number, body)


def requests(events: list[Event]) -> list[int | None]:
    return [event.stream_id for event in events if isinstance(event, RequestReceived)]


def refused(client: H2Connection, server: LimitedConnection) -> list[int | None]:
    """Return the streams of which the client hears that they are refused."""
    events = client.receive_data(server.data_to_send())
    assert not any(isinstance(event, ConnectionTerminated) for event in events)
    resets = [event for event in events if isinstance(event, StreamReset)]
    assert {event.error_code for event in resets} <= {ErrorCodes.REFUSED_STREAM}
    return [event.stream_id for event in resets]


def test_the_limit_is_announced_and_the_last_streams_are_refused() -> None:
    client, server = pair()
    begin(client, MOST + 2)
    assert requests(server.receive_data(client.data_to_send())) == [1, 3, 5]
    assert refused(client, server) == [7, 9]
    client.end_stream(1)
    assert [type(event) for event in server.receive_data(client.data_to_send())][-1] is StreamEnded
    server.send_headers(1, [(":status", "204")], end_stream=True)
    client.receive_data(server.data_to_send())
    begin(client, 1)
    assert requests(server.receive_data(client.data_to_send())) == [11]
    assert refused(client, server) == []


def test_data_of_refused_streams_does_not_use_up_the_window() -> None:
    client, server = pair()
    begin(client, MOST)
    server.receive_data(client.data_to_send())
    for _ in range(40):
        begin(client, 1, bytes(16_000))
        events = server.receive_data(client.data_to_send())
        assert not any(isinstance(event, DataReceived) for event in events)
        assert len(refused(client, server)) == 1


def test_a_stream_that_its_client_cancels_at_once_is_forgotten() -> None:
    client, server = pair()
    begin(client, MOST)
    number = client.get_next_available_stream_id()
    client.send_headers(number, FIELDS)
    client.reset_stream(number)
    assert requests(server.receive_data(client.data_to_send())) == [1, 3, 5, number]
    assert refused(client, server) == []


def test_a_stream_that_is_cancelled_already_is_not_refused_in_place_of_another() -> None:
    client, server = pair()
    begin(client, MOST + 2)
    client.reset_stream(9)
    assert 7 not in requests(server.receive_data(client.data_to_send()))
    assert refused(client, server) == [7]


def test_a_fault_is_told_once_with_its_own_code() -> None:
    client, server = pair()
    with pytest.raises(ProtocolError):
        server.receive_data(b"\0\0\7\6\0\0\0\0\0" + bytes(7))  # a PING of a wrong size
    server.close_connection(ErrorCodes.PROTOCOL_ERROR)
    ended = [event for event in client.receive_data(server.data_to_send()) if isinstance(event, ConnectionTerminated)]
    assert [event.error_code for event in ended] == [ErrorCodes.FRAME_SIZE_ERROR]


def test_a_connection_without_a_fault_ends_with_the_code_that_is_given() -> None:
    client, server = pair()
    server.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
    (ended,) = [
        event for event in client.receive_data(server.data_to_send()) if isinstance(event, ConnectionTerminated)
    ]
    assert ended.error_code == ErrorCodes.ENHANCE_YOUR_CALM
