"""A client's further connections to a host while its first one is in its handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
import weakref
from functools import partial

import pytest
from proxy_stand import Stand
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.parallel_handshakes import ParallelHandshakes

HOST, CHILD_WITH_CA = "films.example", "127.0.0.11"
KEY = ("192.0.2.7", HOST, 443)
REFUSED = "hedgerow_proxy_dropped_total", "certificate"


class Client:
    """A client that has sent its ClientHello, as a browser does for each of its connections."""

    def __init__(self, stand: Stand, net: SmallInternet) -> None:
        context = ssl.create_default_context(cafile=str(stand.ca))
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        self.socket = socket.create_connection(stand.proxy, 10, (CHILD_WITH_CA, 0))
        self.socket.sendall(f"CONNECT {HOST}:{net.origins.https_port} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert self.socket.recv(1000).startswith(b"HTTP/1.1 200")
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.socket.sendall(self.outgoing.read())

    def end_handshake(self) -> str | None:
        """Go on with the handshake until its end. Returns the protocol."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                data = self.socket.recv(16 * 1024)
                assert data, "the handshake was aborted"
                self.incoming.write(data)
                continue
            self.socket.sendall(self.outgoing.read())
            return self.tls.selected_alpn_protocol()


def test_connections_that_are_closed_meanwhile_cost_no_handshake(stand: Stand, net: SmallInternet) -> None:
    """A client that leaves after our ServerHello counts as one that refuses our certificate."""
    known = Client(stand, net)
    known.end_handshake()  # our certificate for this host is there now
    before = stand.counters().get(REFUSED, 0)
    first, *others = [Client(stand, net) for _ in range(4)]
    for each in others:
        each.socket.close()
    assert first.end_handshake() == "h2"
    assert stand.counters().get(REFUSED, 0) == before
    first.socket.close()
    known.socket.close()


@pytest.mark.parametrize("leaves", [True, False])
def test_others_go_on_without_the_first(stand: Stand, net: SmallInternet, leaves: bool) -> None:
    """They wait neither for one that has left, nor for long for one that is silent."""
    first, *others = [Client(stand, net) for _ in range(3)]
    if leaves:
        first.socket.close()
    assert [each.end_handshake() for each in others] == ["h2", "h2"]
    for each in (first, *others):
        each.socket.close()


def test_the_first_lets_the_others_go_on() -> None:
    async def run() -> None:
        gone_on = asyncio.Queue[str]()
        handshakes, (first, second, third) = (
            ParallelHandshakes(),
            [partial(gone_on.put_nowait, name) for name in "123"],
        )
        for finish in (handshakes.end, handshakes.leave):
            assert [handshakes.begin(KEY, each) for each in (first, second, third)] == [True, False, False]
            await asyncio.sleep(0)
            assert gone_on.empty()
            finish(KEY, first)
            assert [await gone_on.get(), await gone_on.get()] == ["2", "3"]
        assert handshakes.begin(KEY, first), "nothing is left"

    asyncio.run(run())


def test_the_late_end_of_the_first_is_not_that_of_the_next() -> None:
    async def run() -> None:
        gone_on = asyncio.Queue[str]()
        handshakes, (slow, second, next_, last) = (
            ParallelHandshakes(),
            [partial(gone_on.put_nowait, name) for name in "1234"],
        )
        assert [handshakes.begin(KEY, each) for each in (slow, second)] == [True, False]
        assert await gone_on.get() == "2", "it waits for half a second"
        assert [handshakes.begin(KEY, each) for each in (next_, last)] == [True, False]
        handshakes.end(KEY, second)
        handshakes.leave(KEY, slow)
        await asyncio.sleep(0)
        assert gone_on.empty()
        assert not handshakes.begin(KEY, slow), "the next one is still the first"

    asyncio.run(run())


def test_closed_connections_are_forgotten() -> None:
    """Nothing holds what they had sent, and once no other waits, the next connection does not either."""

    class Connection:
        def go_on(self) -> None: ...

    async def run() -> None:
        handshakes, first, other = ParallelHandshakes(), Connection(), Connection()
        assert handshakes.begin(KEY, first.go_on)
        assert not handshakes.begin(KEY, other.go_on)
        handshakes.end(KEY, first.go_on)
        handshakes.leave(KEY, other.go_on)
        reference = weakref.ref(other)
        del other
        assert reference() is None
        assert handshakes.begin(KEY, first.go_on)

    asyncio.run(run())
