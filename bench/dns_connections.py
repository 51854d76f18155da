"""Open many short connections to one DNS worker over each transport, and check that memory stays bounded.

    .venv/bin/python bench/dns_connections.py [--thousands 100] [--only doq] [--out FILE]

Each connection asks one query and ends; over QUIC one in a hundred just falls silent. The private memory of the worker
is read before, after each tenth, and after a rest in which silent connections end. It may grow by `ALLOWED_MB` at most
after the first tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
import needs
import dns_abuse
import dns_sides
import results_file
from aioquic.asyncio.client import connect as connect_quic
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived

import dns
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources

PARTS, CONCURRENT, REST_SECONDS = 10, 12, 35
ALLOWED_MB = 12.0
FRAMED = len(dns_abuse.QUERY).to_bytes(2) + dns_abuse.QUERY
DOQ_FRAMED = len(dns_abuse.QUERY).to_bytes(2) + b"\0\0" + dns_abuse.QUERY[2:]


class _Client(QuicConnectionProtocol):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.answered = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.end_stream and not self.answered.done():
            self.answered.set_result(None)


async def _stream(port: int, tls: ssl.SSLContext | None, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        writer.write(data)
        if not await reader.read(2):
            raise EOFError
    finally:
        writer.transport.abort()


async def _doq(port: int, *, ends: bool) -> None:
    configuration = QuicConfiguration(alpn_protocols=["doq"], verify_mode=ssl.CERT_NONE, server_name="dns.example.net")
    async with connect_quic("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client:
        client._quic.send_stream_data(client._quic.get_next_available_stream_id(), DOQ_FRAMED, end_stream=True)
        client.transmit()
        await client.answered  # type: ignore[attr-defined]
        if not ends:
            client._transport.abort()  # type: ignore[union-attr]


def _context(alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


async def _connect(transport: str, side: dns_sides.Side, count: int) -> int:
    """Return the number of connections that got an answer."""
    dot, doh = _context("dot"), _context("http/1.1")
    head = (
        b"POST /dns-query HTTP/1.1\r\nHost: h\r\nContent-Type: application/dns-message\r\nContent-Length: %d\r\n\r\n"
        % len(dns_abuse.QUERY)
    )
    kinds: dict[str, Callable[[int], Coroutine[Any, Any, None]]] = {
        "tcp": lambda _: _stream(side.port, None, FRAMED),
        "dot": lambda _: _stream(side.dot, dot, FRAMED),
        "doh": lambda _: _stream(side.doh, doh, head + dns_abuse.QUERY),
        "doq": lambda number: _doq(side.doq, ends=number % 100 != 0),
    }
    numbers, answered = iter(range(count)), 0

    async def work() -> None:
        nonlocal answered
        for number in numbers:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(10):
                    await kinds[transport](number)
                    answered += 1

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return answered


def _run(transport: str, side: dns_sides.Side, count: int, out: Any) -> None:
    out.send(asyncio.run(_connect(transport, side, count)))


def soak(transport: str, side: dns_sides.Side, count: int) -> tuple[str, bool]:
    """Return a row of the table, and whether memory was bounded."""
    before = dns.private_megabytes(side)
    readings, answered, began = [], 0, time.monotonic()
    for _ in range(PARTS):
        mine, theirs = multiprocessing.get_context("fork").Pipe()
        client = multiprocessing.get_context("fork").Process(
            target=_run, args=(transport, side, count // PARTS, theirs)
        )
        client.start()
        answered += mine.recv()
        client.join()
        readings.append(dns.private_megabytes(side))
    rate = count / (time.monotonic() - began)
    time.sleep(REST_SECONDS if transport == "doq" else 2)
    after = dns.private_megabytes(side)
    row = (
        f"| {transport} | {count:,} | {answered:,} | {rate:,.0f} | {before:.1f} | {readings[0]:.1f} |"
        f" {max(readings):.1f} | {after:.1f} |"
    )
    return row, max(*readings, after) - readings[0] <= ALLOWED_MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--thousands", type=float, default=100.0)
    parser.add_argument("--only", action="append")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    needs.programs("dnsmasq", "openssl")
    lines = [
        "# Short connections to one DNS worker",
        "",
        (
            "By `bench/dns_connections.py`: private memory in MB, before, after a tenth of the connections, at most,"
            " and after a rest."
        ),
        "",
        "| transport | connections | answered | per second | before | after a tenth | at most | at rest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print(*lines[4:], sep="\n")
    is_bounded = True
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        compile_generation(starter_sources(), folder / "generation")
        stand = dns_sides.Stand(folder, (), stack.enter_context(dns_sides.upstream()))
        side = stack.enter_context(dns_sides.hedgerow(stand, encrypted=True))
        for transport in options.only or ["tcp", "dot", "doh", "doq"]:
            row, is_good = soak(transport, side, int(options.thousands * 1000))
            lines.append(row)
            print(row, flush=True)
            is_bounded = is_bounded and is_good
    if options.out:
        results_file.write(options.out, "\n".join(lines))
    if not is_bounded:
        sys.exit(f"memory has grown by more than {ALLOWED_MB:g} MB after the first tenth")


if __name__ == "__main__":
    main()
