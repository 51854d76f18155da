"""Connections to upstreams that end early: no question waits on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from struct import pack

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from hedgerow.dns import wire
from hedgerow.dns.upstreams.https import HttpsUpstreamConnection
from hedgerow.dns.upstreams.stream import StreamChannel, StreamUpstreamConnection, UpstreamConnection
from hedgerow.dns.upstreams.upstream import UpstreamError, UpstreamQuestion, parse_upstream

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ASK = UpstreamQuestion(wire.name_of("a.example") + pack("!HH", wire.A, wire.IN))


async def exchange_all(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None],
    made: Callable[[Streams], UpstreamConnection],
) -> None:
    """Three questions to a server that ends the connection; each must fail, and none wait for ever."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = made(await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1]))
    try:
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            found = await asyncio.gather(*(connection.exchange(ASK) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [UpstreamError] * 3
        assert not connection.open
    finally:
        await connection.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("padded", [False, True])
def test_connection_that_ends_early_fails_its_questions(padded: bool) -> None:
    asyncio.run(
        exchange_all(
            lambda _, writer: writer.close(), lambda streams: StreamUpstreamConnection(*streams, padded=padded)
        )
    )


def test_question_that_waits_for_a_stream_fails_with_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1}
        )
        http.initiate_connection()
        writer.write(http.data_to_send())
        asked = 0
        while not asked:  # one of the three questions, the others may not be sent yet
            events = http.receive_data(await reader.read(4096))
            asked = sum(isinstance(event, h2.events.RequestReceived) for event in events)
        writer.close()

    spec = parse_upstream("https://127.0.0.1/dns-query")
    asyncio.run(exchange_all(serve, lambda streams: HttpsUpstreamConnection(spec, *streams)))


class _InstantChannel(StreamChannel):
    """A channel whose answers are there at once."""

    async def _exchange(self, ask: UpstreamQuestion) -> bytes:
        return ask.question


def test_question_that_is_cancelled_as_its_answer_comes_is_not_answered() -> None:
    async def run() -> None:
        async def resolve(host: str) -> tuple[str, ...]:
            return (host,)

        channel, taken = _InstantChannel(parse_upstream("tcp://192.0.2.1"), resolve), list[bytes | Exception]()
        for cancels in (False, True):
            cancel = channel.send(ASK, ASK.question, taken.append)
            await asyncio.sleep(0)  # the answer is there, and nobody has been told yet
            if cancels:
                cancel()
            await asyncio.sleep(0)
        assert taken == [ASK.question]

    asyncio.run(run())
