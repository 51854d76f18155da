"""Tunnels: what is read from one side is sent to the other, whole and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

import pytest

from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.gate.tunnel import MAX_PIPES, PipePool, Tunnel
from hedgerow.proxy.poller import PollerLoop, running_poller

ALL = random.Random(7).randbytes(9_000_000)


@dataclass(frozen=True)
class Joined:
    """A running tunnel, with the sockets of a client and a server at its outer ends."""

    tunnel: Tunnel
    pipes: PipePool
    client: socket.socket
    server: socket.socket
    finished: list[Tunnel]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection, neither of which blocks."""
    with socket.create_server(("127.0.0.9", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


@contextlib.asynccontextmanager
async def joined(first: bytes = b"", *, pipes_in_use: int = 0) -> AsyncIterator[Joined]:
    before = set(os.listdir("/proc/self/fd"))
    poller, pipes = running_poller(), PipePool()
    taken = [pipes.take() for _ in range(pipes_in_use)]
    (client, inner_client), (server, inner_server) = pair(), pair()
    finished: list[Tunnel] = []
    tunnel = Tunnel(poller, pipes, finished.append, "192.0.2.9", cast(Ruleset, None), (), inner_client, inner_server)
    tunnel.start(first)
    with client, server:
        yield Joined(tunnel, pipes, client, server, finished)
    await until(lambda: finished == [tunnel])
    for pipe in taken:
        assert pipe is not None
        pipes.give_back(pipe)
    pipes.close()
    await until(lambda: before.issuperset(os.listdir("/proc/self/fd")))  # servers of other tests may have theirs


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def read_all(sock: socket.socket) -> bytes:
    loop, pieces = asyncio.get_running_loop(), []
    while piece := await loop.sock_recv(sock, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("pipes_in_use", [0, MAX_PIPES - 1, MAX_PIPES])
def test_both_halves_are_whole_and_end_alone(pipes_in_use: int) -> None:
    """At the same time, larger than all buffers, with and without a pipe to spare."""

    async def main() -> None:
        async with joined(b"hello ", pipes_in_use=pipes_in_use) as both:
            loop = asyncio.get_running_loop()

            async def send(sock: socket.socket, data: bytes) -> None:
                await loop.sock_sendall(sock, data)
                sock.shutdown(socket.SHUT_WR)

            _, _, there, back = await asyncio.gather(
                send(both.client, ALL), send(both.server, ALL[::-1]), read_all(both.server), read_all(both.client)
            )
            assert there == b"hello " + ALL
            assert back == ALL[::-1]
            assert both.tunnel.bytes_moved == 2 * len(ALL) + 6
            assert both.tunnel.half_closed

    asyncio.run(main(), loop_factory=PollerLoop)


@pytest.mark.parametrize("urgent", [b"", b"!"])
def test_the_end_comes_with_the_last_bytes(urgent: bytes) -> None:
    """A read stops before urgent data, which is no part of the stream."""

    async def main() -> None:
        async with joined() as both:
            both.client.send(b"first ")
            both.client.send(urgent, socket.MSG_OOB if urgent else 0)
            both.client.send(b"last")
            both.client.shutdown(socket.SHUT_WR)
            assert await read_all(both.server) == b"first last"
            both.server.send(b"answer")
            both.server.close()
            assert await read_all(both.client) == b"answer"

    asyncio.run(main(), loop_factory=PollerLoop)


def test_a_slow_server_pauses_its_client() -> None:
    async def main() -> None:
        async with joined() as both:
            sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(both.client, 9 * ALL))
            await until(lambda: both.tunnel.server.is_blocked)
            before = both.tunnel.bytes_moved
            await asyncio.sleep(0.05)
            assert both.tunnel.bytes_moved == before
            assert not sending.done()
            reading = asyncio.ensure_future(read_all(both.server))
            await sending
            both.client.close()
            assert await reading == 9 * ALL

    asyncio.run(main(), loop_factory=PollerLoop)


@pytest.mark.parametrize("by", ["client", "server", "policy"])
def test_the_end_of_a_stalled_tunnel_frees_everything(by: str) -> None:
    """Its bytes in memory and in a pipe are dropped; `joined` counts the file descriptors."""

    async def main() -> None:
        async with joined() as both:
            sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(both.client, 9 * ALL))
            await until(lambda: both.tunnel.server.is_blocked)
            sending.cancel()
            if by == "policy":
                both.tunnel.abort()
            else:
                cast(socket.socket, getattr(both, by)).close()

    asyncio.run(main(), loop_factory=PollerLoop)


def test_an_answer_arrives_whole_after_both_have_ended() -> None:
    """The client has said all that it had to say, and the server hangs up while the client is slow to read."""

    async def main() -> None:
        async with joined(b"question") as both:
            loop = asyncio.get_running_loop()
            both.client.shutdown(socket.SHUT_WR)
            assert await read_all(both.server) == b"question"
            sending = asyncio.ensure_future(loop.sock_sendall(both.server, ALL))
            await until(lambda: both.tunnel.client.is_blocked)
            reading = asyncio.ensure_future(read_all(both.client))
            await sending
            both.server.close()
            assert await reading == ALL

    asyncio.run(main(), loop_factory=PollerLoop)
