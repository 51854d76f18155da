"""Tunnels: joining a client and a server."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.gate.tunnel import Tunnel, TunnelEnd


def test_a_losing_attempt_does_not_end_the_tunnel() -> None:
    """Its connection may stand already, and its end is told only after the tunnel was joined."""
    finished: list[Tunnel] = []

    async def join(port: int) -> None:
        loop = asyncio.get_running_loop()
        client, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.9", port)
        tunnel = Tunnel(finished.append, "192.0.2.9", cast(Ruleset, None), (), client)
        (winner, won), (loser, _) = [
            await loop.create_connection(lambda: TunnelEnd.towards_server(tunnel), "127.0.0.9", port) for _ in range(2)
        ]  # fmt: skip
        loser.abort()
        tunnel.join(won, b"hello")
        await asyncio.sleep(0.05)
        assert not finished
        assert not client.is_closing()
        assert not winner.is_closing()
        winner.abort()
        await asyncio.sleep(0.05)
        assert finished == [tunnel]
        assert client.is_closing()

    with socket.create_server(("127.0.0.9", 0)) as server:
        asyncio.run(join(server.getsockname()[1]))


def test_a_slow_server_pauses_its_client() -> None:
    async def join(port: int) -> None:
        loop = asyncio.get_running_loop()
        client, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.9", port)
        tunnel = Tunnel(lambda _: None, "192.0.2.9", cast(Ruleset, None), (), client)
        server, end = await loop.create_connection(lambda: TunnelEnd.towards_server(tunnel), "127.0.0.9", port)
        client.pause_reading()  # as while it is waited for the server
        tunnel.join(end, bytes(64 * 1024 * 1024))
        assert not client.is_reading()
        server.abort()
        await asyncio.sleep(0.05)

    with socket.create_server(("127.0.0.9", 0)) as server:
        asyncio.run(join(server.getsockname()[1]))
