"""Dialling several addresses: the first that answers is used, and nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from hedgerow import sockets
from hedgerow.proxy.connections import dial


async def dialled(addresses: list[str], port: int) -> str:
    transport, _ = await dial(asyncio.Protocol, addresses, port)
    peer: str = transport.get_extra_info("peername")[0]
    transport.abort()
    await asyncio.sleep(0.01)
    return peer


def test_a_dead_first_address_costs_no_more_than_its_head_start() -> None:
    with socket.create_server(("127.0.0.9", 0)) as server:
        port = server.getsockname()[1]
        start = time.monotonic()
        # TEST-NET addresses swallow packets or are unreachable; either way the second one is taken.
        assert asyncio.run(dialled(["192.0.2.1", "127.0.0.9"], port)) == "127.0.0.9"
        assert time.monotonic() - start < 20, "as long as the kernel tries the dead one"


def test_refused_addresses_are_skipped_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "ATTEMPT_DELAY", 600.0)  # the head start of each: nobody waits for it to be over
    with socket.create_server(("127.0.0.9", 0)) as server:
        assert asyncio.run(dialled(["127.0.0.8", "127.0.0.7", "127.0.0.9"], server.getsockname()[1])) == "127.0.0.9"


@pytest.mark.parametrize("addresses", [["127.0.0.8"], ["127.0.0.8", "127.0.0.7"], []])
def test_no_address_answers(addresses: list[str]) -> None:
    with socket.create_server(("127.0.0.9", 0)) as server, pytest.raises(OSError):
        asyncio.run(dialled(addresses, server.getsockname()[1]))


def test_each_attempt_has_its_own_protocol_and_losers_are_dropped() -> None:
    """Two servers answer; the one that came second must not disturb the first."""

    class Recorder(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = False
            made.append(self)

        def connection_lost(self, error: Exception | None) -> None:
            self.lost = True

    made: list[Recorder] = []

    async def race(port: int) -> None:
        transport, won = await dial(Recorder, ["192.0.2.1", "127.0.0.9", "127.0.0.8"], port)
        await asyncio.sleep(0.1)
        assert not won.lost
        assert all(each.lost or each is won or not hasattr(each, "transport") for each in made)
        transport.abort()
        await asyncio.sleep(0.01)
        assert won.lost

    with socket.create_server(("127.0.0.9", 0)) as first, socket.create_server(("127.0.0.8", first.getsockname()[1])):
        asyncio.run(race(first.getsockname()[1]))
