"""HTTP/2 for the origins: h2 does the protocol, this moves its bytes and starts one task a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from small_internet.exchange import ConnectionRecord, HeaderList, Request, RequestRecord, Respond


class Http2Exchange:
    """The response of one stream; waits where the client's flow-control window is used up."""

    def __init__(self, server: Http2Server, stream: int) -> None:
        self._server = server
        self._stream = stream

    async def interim(self, status: int, headers: HeaderList) -> None:
        self._server.h2.send_headers(
            self._stream, [(":status", str(status)), *((name.lower(), value) for name, value in headers)]
        )
        await self._server.flush()

    async def start(self, status: int, headers: HeaderList, length: int | None) -> None:
        fields = [(":status", str(status)), *((name.lower(), value) for name, value in headers)]
        fields += [("content-length", str(length))] if length is not None else []
        self._server.h2.send_headers(self._stream, fields)
        await self._server.flush()

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            size = min(
                len(view),
                self._server.h2.max_outbound_frame_size,
                self._server.h2.local_flow_control_window(self._stream),
            )
            if size <= 0:
                await self._server.wait_for_window()
                continue
            self._server.h2.send_data(self._stream, bytes(view[:size]))
            view = view[size:]
            await self._server.flush()

    async def finish(self) -> None:
        self._server.h2.end_stream(self._stream)
        await self._server.flush()


class Http2Server:
    """One connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: ConnectionRecord, respond: Respond
    ) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._reader, self._writer, self._record, self._respond = reader, writer, record, respond
        self._bodies: dict[int, asyncio.Queue[bytes | None]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._deaf: set[int] = set()
        self._window = asyncio.Event()

    async def serve(self) -> None:
        """Until either side closes."""
        self.h2.initiate_connection()
        await self.flush()
        try:
            while data := await self._reader.read(1 << 16):
                for event in self.h2.receive_data(data):
                    if isinstance(event, ConnectionTerminated):
                        return
                    self._handle(event)
                await self.flush()
        except ProtocolError:
            await self.flush()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def flush(self) -> None:
        data = self.h2.data_to_send()
        self._record.sent += len(data)
        self._writer.write(data)
        await self._writer.drain()

    async def wait_for_window(self) -> None:
        self._window.clear()
        await self._window.wait()

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._start_stream(event)
            case DataReceived():
                self._record.received += len(event.data)
                self._feed(event.stream_id, event.data)
                if event.stream_id not in self._deaf:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                self._feed(event.stream_id, None)
            case WindowUpdated():
                self._window.set()
            case StreamReset():
                if task := self._tasks.get(event.stream_id):
                    task.cancel()
            case _:
                pass  # Settings, pings and priorities need no answer beyond the one that h2 writes by itself.

    def _start_stream(self, event: RequestReceived) -> None:
        stream = event.stream_id
        fields = [(str(name), str(value)) for name, value in event.headers]
        pseudo = {name: value for name, value in fields if name.startswith(":")}
        plain = [pair for pair in fields if not pair[0].startswith(":")]
        self._record.received += sum(len(name) + len(value) for name, value in fields)
        asked = RequestRecord(pseudo[":method"], pseudo.get(":path", ""), "HTTP/2", pseudo.get(":authority", ""), plain)
        self._record.requests.append(asked)
        if asked.target == "/deaf":
            self._deaf.add(stream)
        self._bodies[stream] = asyncio.Queue()
        request = Request(asked, self._record, self._body(stream))
        self._tasks[stream] = asyncio.create_task(self._run(stream, request))

    async def _run(self, stream: int, request: Request) -> None:
        try:
            await self._respond(request, Http2Exchange(self, stream))
        except (ConnectionError, ProtocolError):
            pass  # The client is gone; there is nobody to tell.
        finally:
            self._tasks.pop(stream, None)
            self._bodies.pop(stream, None)

    def _feed(self, stream: int, piece: bytes | None) -> None:
        # A page that has answered no longer waits for what else is sent to it.
        if (queue := self._bodies.get(stream)) is not None:
            queue.put_nowait(piece)

    async def _body(self, stream: int) -> AsyncIterator[bytes]:
        queue = self._bodies[stream]
        while (piece := await queue.get()) is not None:
            yield piece
