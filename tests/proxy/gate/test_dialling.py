"""Connections to servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from hedgerow.proxy.gate.dialling import dial
from hedgerow.proxy.poller import PollerLoop, running_poller


@pytest.mark.parametrize("is_full", [False, True])
def test_a_server_that_answers(is_full: bool) -> None:
    """At once, or later because its queue is full."""

    async def main() -> None:
        poller = running_poller()
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.9", 0), backlog=0 if is_full else 9))
            address, port = listener.getsockname()
            for _ in range(2 if is_full else 0):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))
            connecting = asyncio.ensure_future(dial(poller, [address], port))
            await asyncio.sleep(0)
            assert connecting.done() is not is_full
            while not connecting.done():
                listener.accept()[0].close()
                await asyncio.sleep(0.05)
            poller.close(connecting.result())

    asyncio.run(main(), loop_factory=PollerLoop)


def test_a_server_that_refuses() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.9", 0)) as closed:
            address, port = closed.getsockname()
        poller = running_poller()
        with pytest.raises(ConnectionRefusedError):
            await dial(poller, [address], port)

    asyncio.run(main(), loop_factory=PollerLoop)
