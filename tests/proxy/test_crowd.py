"""A thousand clients at once, a third of them slow, broken or hostile: the others are served."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
import ssl
import statistics
import struct
import time
from typing import cast

from proxy_stand import Stand, proxy_stand
from small_internet.whole import SmallInternet

from hedgerow.proxy.gate.table import GateLimits

HOST = "news.example"
CROWD, HOSTILE = 1000, 334
PATIENCE = 240


def test_hostile_clients_do_not_starve_the_others(net: SmallInternet, policy: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    try:
        with proxy_stand(net, policy, limits=GateLimits(head=60.0)) as stand:
            times = asyncio.run(_all_at_once(stand, net))
            print(
                f"{len(times)} clients beside {HOSTILE} hostile ones: {statistics.median(times):.2f} s "
                f"each, {max(times):.2f} s at most"
            )
            assert len(times) == CROWD - HOSTILE  # every one of them was served
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _all_at_once(stand: Stand, net: SmallInternet) -> list[float]:
    """Return the seconds that each good client took.

    All hostile ones are there before, and are still refused afterwards.
    """
    context = ssl.create_default_context(cafile=str(net.authority.root))
    chance = random.Random(5)
    present = asyncio.Barrier(HOSTILE + 1)
    async with asyncio.timeout(PATIENCE):
        hostile = [
            asyncio.create_task(_misbehave(stand, net, number, chance.random(), present)) for number in range(HOSTILE)
        ]
        await present.wait()
        times = await asyncio.gather(*(_fetch(stand, net, context, number) for number in range(CROWD - HOSTILE)))
        while min(_dropped(stand, cause) for cause in ("head", "hello")) <= 20:  # noqa: ASYNC110  another process counts
            await asyncio.sleep(0.2)
        for each in hostile:
            each.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)
    return list(times)


def _dropped(stand: Stand, cause: str) -> float:
    counters: dict[tuple[str, ...], float] = stand.gate.order("counters")
    return counters.get(("hedgerow_proxy_dropped_total", cause), 0)


async def _connect(stand: Stand, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """From one of fifty devices."""
    return await asyncio.open_connection(*stand.proxy, local_addr=(f"127.0.3.{1 + number % 50}", 0))


async def _fetch(stand: Stand, net: SmallInternet, context: ssl.SSLContext, number: int) -> float:
    start = time.monotonic()
    reader, writer = await _connect(stand, number)
    writer.write(_connect_head(net))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    await writer.start_tls(context, server_hostname=HOST)
    writer.write(f"GET /{number} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    await reader.read()
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
    return time.monotonic() - start


def _connect_head(net: SmallInternet) -> bytes:
    return f"CONNECT {HOST}:{net.origins.https_port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


async def _misbehave(stand: Stand, net: SmallInternet, number: int, luck: float, all_present: asyncio.Barrier) -> None:
    """Again and again, each in a way of its own, until cancelled."""
    ways = (_say_nothing, _trickle, _break_the_hello, _send_garbage, _reset, _flood_the_head, _never_read)
    present: asyncio.Barrier | None = all_present
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await _connect(stand, number)
            try:
                if present is not None:
                    await present.wait()
                    present = None
                await ways[number % len(ways)](net, reader, writer, luck)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.2 + luck)


type Reader = asyncio.StreamReader
type Writer = asyncio.StreamWriter


async def _say_nothing(net: SmallInternet, reader: Reader, writer: Writer, luck: float) -> None:
    await reader.read()


async def _trickle(net: SmallInternet, reader: Reader, writer: Writer, luck: float) -> None:
    for byte in _connect_head(net):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1 + luck)


async def _break_the_hello(net: SmallInternet, reader: Reader, writer: Writer, luck: float) -> None:
    writer.write(_connect_head(net))
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x16\x03\x01\x10\x00\x01\x00\xff\xff" if luck < 0.5 else b"\x16\x03\x01\x00\x05hello")
    await reader.read()


async def _send_garbage(net: SmallInternet, reader: Reader, writer: Writer, luck: float) -> None:
    writer.write(random.Random(luck).randbytes(20_000))
    await reader.read()


async def _reset(net: SmallInternet, reader: Reader, writer: Writer, luck: float) -> None:
    """Gone with a RST while the gate is about to answer."""
    writer.write(_connect_head(net))
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await asyncio.sleep(luck / 100)


async def _flood_the_head(net: SmallInternet, reader: Reader, writer: Writer, luck: float) -> None:
    writer.write(b"GET http://news.example/ HTTP/1.1\r\n")
    for _ in range(200):
        writer.write(b"X: " + b"y" * 4000 + b"\r\n")
        await writer.drain()


async def _never_read(net: SmallInternet, reader: Reader, writer: Writer, luck: float) -> None:
    """Asks for an endless page and does not take it."""
    host = f"files.example:{net.origins.http_port}"
    writer.write(f"GET http://{host}/endless HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    cast(asyncio.Transport, writer.transport).pause_reading()
    await asyncio.sleep(5)
