"""The inspection lane's process: mitmproxy embedded, reached only by the gate over loopback.

mitmproxy's context is global to the process, so there is one inspector a process; it does not run under uvloop. It gets the four
addons it cannot do without and ours, keeps no flows and streams every body.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import certifi
from mitmproxy import connection
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig
from mitmproxy.master import Master
from mitmproxy.options import Options

from hedgerow.proxy import connection_care, http_engine
from hedgerow.proxy.authority import Authority
from hedgerow.proxy.destination import DialingLoop
from hedgerow.proxy.inspection import Inspection, Running
from hedgerow.proxy.judge import Counters, Judge
from hedgerow.proxy.leaves import LeafStore
from hedgerow.proxy.pass_through import Refusals

log = logging.getLogger(__name__)

_SWEEP = 0.5
_STORE_OPTIONS = frozenset({"certs", "confdir", "key_size", "cert_passphrase", "emudhra", "emudhra_old"})

_OPTIONS = {
    "connection_strategy": "lazy",  # the other way dials hosts that are about to be blocked
    "upstream_cert": False,
    "http3": False,
    "rawtcp": False,  # what is no HTTP cannot be judged
    "tcp_timeout": 1800,
}


class InspectorError(Exception):
    """The inspector cannot start: its port is taken, or it runs in the wrong kind of event loop."""


class Inspector:
    """Create it anywhere, `run` it inside `Inspector.new_loop()`. `upstream_ca` is a file with CAs to trust beside the usual ones.

    Without `refusals` a client that refuses our certificate gets nowhere.
    """

    def __init__(
        self,
        judge: Judge,
        key: bytes,
        authority: Authority,
        *,
        upstream_ca: Path | None = None,
        clock: Callable[[], float] = time.time,
        refusals: Refusals | None = None,
    ) -> None:
        self.counters = Counters()
        self._clock = clock
        self._authority = authority
        self._upstream_ca = upstream_ca
        self._inspection = Inspection(judge, key, self.counters, clock, self._close, self._leave, refusals)
        self._server = proxyserver.Proxyserver()
        self._master: Master | None = None

    @staticmethod
    def new_loop() -> asyncio.AbstractEventLoop:
        """The kind of loop that `run` needs: `asyncio.Runner(loop_factory=Inspector.new_loop)`."""
        return DialingLoop()

    async def run(self, host: str, port: int, ready: Callable[[int], None] = lambda _: None) -> None:
        """Serve until `stop`; `ready` is told the port once it listens. Raises InspectorError."""
        if not isinstance(asyncio.get_running_loop(), DialingLoop):
            raise InspectorError("the inspector must run in Inspector.new_loop(), which dials only what was decided")
        # It logs each connection at the level of information, with the client's address and the host.
        logging.getLogger("mitmproxy").setLevel(logging.WARNING)
        with _trust_file(self._upstream_ca) as trust:
            await self._serve(host, port, ready, trust)

    async def _serve(self, host: str, port: int, ready: Callable[[int], None], trust: str) -> None:
        http_engine.install(self._inspection.explain)
        started = Started()
        self._master = master = Master(Options())
        certificates = OwnCertificates(self._authority)
        addons = (core.Core(), self._server, next_layer.NextLayer(), certificates, self._inspection, started)
        master.addons.add(*addons)
        connection_care.install(addons)
        master.options.update(listen_host=host, listen_port=port, mode=["regular"], ssl_verify_upstream_trusted_ca=trust, **_OPTIONS)
        serving = asyncio.create_task(master.run())
        starting = asyncio.create_task(started.event.wait())
        sweeping = asyncio.create_task(self._sweep())
        try:
            await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
            listening = self._server.listen_addrs()
            if not listening and not serving.done():
                master.shutdown()
                await serving
                raise InspectorError(f"the inspector cannot listen on {host}:{port}")
            ready(int(listening[0][1]))
            await serving
        finally:
            starting.cancel()
            sweeping.cancel()
            await self._end(serving)

    def stop(self) -> None:
        """End `run`; may be called from its loop only."""
        if self._master is not None:
            self._master.shutdown()

    def swap(self, judge: Judge) -> None:
        """A new snapshot holds from now on; running requests that it does not allow are cut."""
        self._inspection.judge = judge
        self._cut(lambda _: True)

    async def _end(self, serving: asyncio.Task[None]) -> None:
        if not serving.done():
            serving.cancel()
        for server in tuple(self._server.servers):
            if server.is_running:
                await server.stop()
        handlers = tuple(self._server.connections.values())
        for handler in handlers:
            self._close(handler.client)
        for _ in range(50):
            if not self._server.connections:
                break
            await asyncio.sleep(0.02)

    def _close(self, client: connection.Client) -> None:
        """Abort the socket: mitmproxy's own way cancels its task, and a task cancelled twice leaves the socket open for good."""
        handler = self._server.connections.get(client.id)
        stream = handler.transports.get(client) if handler is not None else None
        if stream is not None and isinstance(stream.writer, asyncio.StreamWriter):
            stream.writer.transport.abort()

    def _leave(self, client: connection.Client) -> None:
        """The client is gone: nobody waits for what its origins still send."""
        handler = self._server.connections.get(client.id)
        if handler is not None:
            connection_care.abort_servers(handler)

    def _cut(self, is_due: Callable[[Running], bool]) -> None:
        count = self._inspection.judge_running(is_due)
        if count:
            self.counters.add("hedgerow_proxy_cut_total", count=count)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = self._clock()
            try:
                self._cut(lambda running: running.ruleset.until is not None and running.ruleset.until <= now)  # noqa: B023
            except Exception:
                log.exception("the sweep of the inspector failed")


@contextlib.contextmanager
def _trust_file(extra: Path | None) -> Iterator[str]:
    """The file of CAs that origins are checked against: the usual ones, and those in `extra`."""
    if extra is None:
        yield certifi.where()
        return
    with tempfile.NamedTemporaryFile(prefix="hedgerow-trust-", suffix=".pem") as file:
        file.write(Path(certifi.where()).read_bytes() + b"\n" + extra.read_bytes())
        file.flush()
        yield file.name


class Started:
    """An addon that tells when mitmproxy has started."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def running(self) -> None:
        self.event.set()


class OwnCertificates(tlsconfig.TlsConfig):
    """mitmproxy's TLS settings with our authority in place of one that it would make in the user's home."""

    def __init__(self, authority: Authority) -> None:
        self.certstore = LeafStore(authority)

    def configure(self, updated: Set[str]) -> None:
        super().configure(set(updated) - _STORE_OPTIONS)

    def running(self) -> None:
        """mitmproxy's own would make the store in the user's home here."""
