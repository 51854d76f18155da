"""A client's further connections to a host while its first one is in its handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from proxy_stand import Stand
from small_internet.whole import SmallInternet

from hedgerow.proxy.inspection.parallel_handshakes import ParallelHandshakes

HOST, CHILD_WITH_CA = "films.example", "127.0.0.11"
KEY = ("192.0.2.7", HOST)
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


def test_the_end_of_the_first_lets_the_others_go_on() -> None:
    async def run() -> None:
        handshakes, gone_on, done = ParallelHandshakes(), list[int](), asyncio.Event()
        for has_failed in (True, False):
            assert handshakes.begin(KEY, lambda: gone_on.append(0))
            for number in (1, 2):
                assert not handshakes.begin(KEY, lambda number=number: gone_on.append(number))  # type: ignore[misc]
            assert not handshakes.begin(KEY, done.set)
            await asyncio.sleep(0)
            assert gone_on == []
            handshakes.end(KEY, has_failed=has_failed)
            await done.wait()
            assert gone_on == [1, 2]
            gone_on.clear()
            done.clear()
        assert handshakes.begin(KEY, done.set), "nothing is left"

    asyncio.run(run())
