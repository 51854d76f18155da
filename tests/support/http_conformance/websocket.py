"""WebSocket: the Autobahn test suite, run by kosoku, through a proxy to an echo server.

kosoku speaks to a server at an address, so a relay in between opens the tunnels. A case passes if its verdict is as
good as without a proxy in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from small_internet.authority import server_context
from small_internet.whole import SmallInternet

from http_conformance.outcome import Outcome
from http_conformance.proxies import HOST, Proxy

TOOLS = Path(__file__).parents[3] / "build" / "conformance-tools"
PACKAGES = ("kosoku==0.1.0", "websockets==15.0.1")
SHORT = ("1.*", "2.*", "5.*", "7.1.*")
LONG = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.1.*")
GOOD = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})


def install() -> None:
    """Install the suite beside the project's own environment, once. Raises CalledProcessError."""
    if not (TOOLS / "kosoku").exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ]
        subprocess.run([*command, "--target", str(TOOLS), *PACKAGES], check=True)
    if str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(600)

    def close(self) -> None:
        async def cancel() -> None:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@contextlib.contextmanager
def echo_server(net: SmallInternet) -> Iterator[int]:
    """An echo server of HTTPS at `HOST`; yields its port."""
    serve: Any = importlib.import_module("websockets.asyncio.server").serve
    closed: Any = importlib.import_module("websockets.exceptions").ConnectionClosed

    async def echo(connection: Any) -> None:
        with contextlib.suppress(closed):  # most cases break a rule
            async for message in connection:
                await connection.send(message)

    loop, address = _Loop(), net.address_of(HOST)
    context = server_context(net.authority.leaf(HOST, address))

    async def start() -> Any:
        return await serve(echo, address, 0, ssl=context, max_size=None, max_queue=None)

    server = loop.run(start())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        loop.run(server.wait_closed())
        loop.close()


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, connect: Callable[[], Any]
) -> None:
    """Copy both directions, with the Host that the origin is asked for."""
    writers = [writer]
    try:
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            upstream, sink = await connect()
            writers.append(sink)
            head = await reader.readuntil(b"\r\n\r\n")
            sink.write(re.sub(rb"(?i)\r\nhost: [^\r]*", f"\r\nHost: {HOST}:{port}".encode(), head))
            await asyncio.gather(_copy(reader, sink), _copy(upstream, writer))
    finally:
        for each in writers:
            each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


async def _through(proxy: Proxy, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*proxy.address, local_addr=(proxy.source, 0))
    try:
        writer.write(f"CONNECT {proxy.host}:{port} HTTP/1.1\r\nHost: {proxy.host}:{port}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        context = ssl.create_default_context(cafile=proxy.authority)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.set_alpn_protocols(["http/1.1"])
        await writer.start_tls(context, server_hostname=HOST)
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def _verdicts(cases: Sequence[str], port: int, connect: Callable[[], Any]) -> dict[str, tuple[str, str]]:
    kosoku: Any = importlib.import_module("kosoku")

    relays = set[asyncio.Task[None] | None]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.add(asyncio.current_task())
        await _relay(reader, writer, port, connect)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 20)
    try:
        results = await kosoku.run_fuzzingclient(
            f"127.0.0.1:{server.sockets[0].getsockname()[1]}", list(cases), None, concurrency=4
        )
    except kosoku.FailureError as failure:
        results = failure.results
    finally:
        server.close()
        for relay in filter(None, relays):
            relay.cancel()
        await asyncio.gather(*filter(None, relays), return_exceptions=True)
    return {each.case_id: (each.behavior.value, each.behavior_close.value) for each in results}


def run_websocket(proxy: Proxy, net: SmallInternet, port: int, cases: Sequence[str] = LONG) -> Iterator[Outcome]:
    """The suite's cases through a proxy, compared with those without."""

    async def straight() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = net.authority.client_context()
        return await asyncio.open_connection(net.address_of(HOST), port, ssl=context, server_hostname=HOST)

    loop = _Loop()
    try:
        without = loop.run(_verdicts(cases, port, straight))
        through = loop.run(_verdicts(cases, port, lambda: _through(proxy, port)))
    finally:
        loop.close()
    for case, (behaviour, closing) in sorted(without.items()):
        seen = through.get(case, ("MISSING", "MISSING"))
        passed = seen[0] in GOOD or behaviour not in GOOD
        yield Outcome(
            "WebSocket",
            f"Autobahn {case}",
            "6455",
            passed,
            f"{seen[0]}, closing {seen[1]}; without: {behaviour}, {closing}",
        )
