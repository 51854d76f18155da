"""The inspection lane's process: connections that the gate introduces over a Unix socket, each request of them judged.

mitmproxy's HTTP layers are embedded, which keep no flows and stream every body; sockets, TLS and the event loop are ours
(`introduction.py`, `exchange.py`). What is changed in mitmproxy holds for the process, so there is one inspector a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import certifi
from mitmproxy import connection

from hedgerow.proxy import http_engine
from hedgerow.proxy.authority import Authority
from hedgerow.proxy.exchange import Exchange, Guest
from hedgerow.proxy.inspection import Inspection, Running
from hedgerow.proxy.introduction import Introduction
from hedgerow.proxy.judge import Counters, Judge
from hedgerow.proxy.leaves import LeafStore
from hedgerow.proxy.line import Line
from hedgerow.proxy.origins import Origins
from hedgerow.proxy.pass_through import Refusals

log = logging.getLogger(__name__)

IDLE_LIMIT = 1800.0
"""Seconds after which a connection on which nothing moves is ended."""

RETIRED_FOR = 3600.0
"""Seconds that an inspector whose successor serves gives to what is still open."""

_SWEEP = 0.5
_END_GRACE = 1.0


class InspectorError(Exception):
    """The inspector cannot start: its socket cannot be made."""


class Inspector:
    """`run` it in the kind of loop that gates have. `upstream_ca` is a file with CAs to trust beside the usual ones.

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
        self.clock = clock
        self.key = key
        self.leaves = LeafStore(authority)
        self.inspection = Inspection(judge, self.counters, clock, self._close, refusals)
        self.origins: Origins
        self._upstream_ca = upstream_ca
        self._guests: set[Guest] = set()
        self._by_client: dict[str, Exchange] = {}
        self._ending = asyncio.Event()
        self._ebb = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def run(self, path: Path, ready: Callable[[], None] = lambda: None) -> None:
        """Serve on the Unix socket `path` until `stop`, in place of whoever served there; `ready` is called once it listens.

        Raises InspectorError.
        """
        http_engine.install(self.inspection.explain)
        with _trust_file(self._upstream_ca) as trust:
            self.origins = Origins(trust)
            self._server = server = await asyncio.get_running_loop().create_unix_server(self._accept, sock=_listen(path))
            sweeping = asyncio.create_task(self._sweep())
            try:
                ready()
                await self._ending.wait()
            finally:
                sweeping.cancel()
                server.close()
                await self._end()

    def stop(self) -> None:
        """End `run`; may be called from its loop only."""
        self._ending.set()

    async def retire(self, limit: float = RETIRED_FOR) -> None:
        """Take no new connection, and wait until the last one is over, at most `limit` seconds. Another serves on the path already."""
        await asyncio.sleep(_SWEEP)  # what had been dialled before is accepted
        if self._server is not None:
            self._server.close()
        self._ebb.clear()
        if self._guests:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ebb.wait(), limit)

    def swap(self, judge: Judge) -> None:
        """A new snapshot holds from now on; running requests that it does not allow are cut."""
        self.inspection.judge = judge
        self._cut(lambda _: True)

    # What connections need of their inspector.

    def _accept(self) -> Line:
        return Introduction(self).line

    def entered(self, guest: Guest) -> None:
        self._guests.add(guest)
        if isinstance(guest, Exchange):
            self._by_client[guest.client.id] = guest

    def introduced(self, client: connection.Client, address: str) -> None:
        """The gate vouches for this client."""
        self.inspection.admit(client, address)

    def left(self, guest: Guest, client: connection.Client | None) -> None:
        """The guest is gone, and with it `client`, if it was known who that is."""
        self._guests.discard(guest)
        if not self._guests:
            self._ebb.set()
        if client is not None:
            self._by_client.pop(client.id, None)
            self.inspection.leave(client)

    def _close(self, client: connection.Client) -> None:
        exchange = self._by_client.get(client.id)
        if exchange is not None:
            exchange.abort()

    async def _end(self) -> None:
        for guest in tuple(self._guests):
            guest.abort()
        self.origins.close()
        deadline = time.monotonic() + _END_GRACE
        while self._guests and time.monotonic() < deadline:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.01)  # lets the transports tell their lines

    # What happens by time.

    def _cut(self, is_due: Callable[[Running], bool]) -> None:
        count = self.inspection.judge_running(is_due)
        if count:
            self.counters.add("hedgerow_proxy_cut_total", count=count)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = self.clock()
            try:
                self._cut(lambda running: running.ruleset.until is not None and running.ruleset.until <= now)  # noqa: B023
                self.origins.sweep()
                oldest = asyncio.get_running_loop().time() - IDLE_LIMIT
                for guest in [each for each in self._guests if each.seen < oldest]:
                    guest.abort()
            except Exception:
                log.exception("the sweep of the inspector failed")


def _listen(path: Path) -> socket.socket:
    """A socket for our own user only, under whose name an older one goes on with what it has. Raises InspectorError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = path.with_name(f".{path.stem[-8:]}.{os.getpid()}")
    try:
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(1024)
        fresh.replace(path)
    except OSError as error:
        listener.close()
        raise InspectorError(f"the inspector cannot listen on {path}: {error.strerror or error}") from error
    return listener


@contextlib.contextmanager
def _trust_file(extra: Path | None) -> Iterator[Path]:
    """The file of CAs that origins are checked against: the usual ones, and those in `extra`."""
    usual = Path(certifi.where())
    if extra is None:
        yield usual
        return
    with tempfile.NamedTemporaryFile(prefix="hedgerow-trust-", suffix=".pem") as file:
        file.write(usual.read_bytes() + b"\n" + extra.read_bytes())
        file.flush()
        yield Path(file.name)
