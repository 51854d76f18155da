"""A transport over a socket behaves as those of the event loop: each case runs with theirs and with ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import weakref
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from hedgerow.proxy.inspection.socket_transport import SocketTransport
from hedgerow.proxy.poller import Poller

LONG = bytes(range(256)) * 20_000
RESET = struct.pack("ii", 1, 0)  # linger for no second


def watched_poller() -> Poller:
    """A poller that the running loop watches, as the inspector's does."""
    poller = Poller()
    asyncio.get_running_loop().add_reader(poller.fileno(), poller.poll)
    return poller


class Recorder(asyncio.Protocol):
    """Notes each event, and keeps the connection open once the peer has sent everything."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.events: list[str] = []
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def eof_received(self) -> bool:
        self._note("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._note("lost" if error is None else type(error).__name__)

    def pause_writing(self) -> None:
        self._note("paused")

    def resume_writing(self) -> None:
        self._note("resumed")

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


type Case = Callable[[Recorder, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo_and_close(ours: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"one")
    await ours.until(lambda: ours.received == b"one")
    ours.transport.write(b"two")
    ours.transport.write(LONG)
    ours.transport.close()
    assert ours.transport.is_closing()
    assert await reader.read() == b"two" + LONG
    await ours.until(lambda: "lost" in ours.events)


async def a_slow_peer(ours: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    ours.transport.write(LONG)
    assert await reader.readexactly(len(LONG)) == LONG
    await ours.until(lambda: ours.events == ["paused", "resumed"])
    assert ours.transport.get_write_buffer_size() == 0
    ours.transport.abort()
    await ours.until(lambda: ours.events[-1] == "lost")


async def a_peer_that_has_sent_everything(
    ours: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write_eof()
    await ours.until(lambda: ours.events == ["eof"])
    ours.transport.write(LONG)
    assert await reader.readexactly(len(LONG)) == LONG
    await asyncio.sleep(0.05)
    assert ours.events.count("eof") == 1
    assert "lost" not in ours.events
    ours.transport.close()
    assert await reader.read() == b""
    await ours.until(lambda: ours.events[-1] == "lost")


async def paused_reading(ours: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    ours.transport.pause_reading()
    writer.write(b"one")
    await asyncio.sleep(0.05)
    assert ours.received == b""
    ours.transport.resume_reading()
    await ours.until(lambda: ours.received == b"one")
    ours.transport.pause_reading()
    ours.transport.resume_reading()
    writer.write(b"two")
    await ours.until(lambda: ours.received == b"onetwo")
    ours.transport.close()
    assert await reader.read() == b""


async def a_reset(ours: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
    await ours.until(lambda: ours.events == ["ConnectionResetError"])
    assert ours.transport.is_closing()
    ours.transport.abort()
    await asyncio.sleep(0.01)
    assert len(ours.events) == 1


async def an_abort_drops_what_is_not_sent(
    ours: Recorder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    ours.transport.write(LONG)
    ours.transport.abort()
    with contextlib.suppress(ConnectionError):
        assert len(await reader.read()) < len(LONG)
    await ours.until(lambda: ours.events[-1:] == ["lost"])


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("is_ours", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        echo_and_close,
        a_slow_peer,
        a_peer_that_has_sent_everything,
        paused_reading,
        a_reset,
        an_abort_drops_what_is_not_sent,
    ],
)
def test_a_connection(case: Case, is_ours: bool, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            reader, writer = await asyncio.open_connection(*server.getsockname())
            sock, _ = server.accept()
        sock.setblocking(False)
        ours, poller = Recorder(), watched_poller()
        if is_ours:
            SocketTransport(sock, ours, poller)
        else:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: ours, sock)
        assert ours.transport.get_extra_info("socket").fileno() >= 0
        await case(ours, reader, writer)
        writer.close()
        asyncio.get_running_loop().remove_reader(poller.fileno())
        poller.end()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_a_protocol_that_fails_ends_its_connection() -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError(data)

    async def run() -> None:
        reported: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        one, other = socket.socketpair()
        one.setblocking(False)
        failing, poller = Failing(), watched_poller()
        SocketTransport(one, failing, poller)
        with other:
            other.send(b"x")
            await failing.until(lambda: failing.events == ["ValueError"])
        assert [each["protocol"] for each in reported] == [failing]
        asyncio.get_running_loop().remove_reader(poller.fileno())
        poller.end()

    asyncio.run(run())


def test_a_connection_that_is_over_is_freed_at_once() -> None:
    """The collector would find it late: a few dozen TLS states would wait for it."""

    async def use() -> weakref.ref[Recorder]:
        sock, peer = socket.socketpair()
        sock.setblocking(False)
        ours, poller = Recorder(), watched_poller()
        SocketTransport(sock, ours, poller)
        peer.close()
        await ours.until(lambda: "eof" in ours.events)
        ours.transport.abort()
        await ours.until(lambda: "lost" in ours.events)
        asyncio.get_running_loop().remove_reader(poller.fileno())
        poller.end()
        return weakref.ref(ours)

    async def run() -> None:
        freed = await use()
        await asyncio.sleep(0)
        assert freed() is None

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
