"""Events of raw sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from hedgerow.proxy.gate.poller import Poller


@pytest.mark.provokes_traceback
def test_a_handler_that_fails_leaves_the_others_their_events() -> None:
    def fail(_events: int) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        poller, heard = Poller(), asyncio.Event()
        (bad, first), (good, second) = socket.socketpair(), socket.socketpair()
        with first, second:
            poller.watch(bad, fail)
            poller.watch(good, lambda _: heard.set())
            first.send(b"x")
            second.send(b"x")
            async with asyncio.timeout(60):
                await heard.wait()
            poller.close(bad)
            poller.close(good)
            poller.end()

    asyncio.run(main())


def test_a_socket_of_which_a_copy_lives_on_is_not_watched_any_more() -> None:
    async def main() -> None:
        poller, heard = Poller(), list[int]()
        ours, theirs = socket.socketpair()
        with theirs, ours.dup():
            poller.watch(ours, heard.append)
            poller.release(ours)
            theirs.send(b"x")
            await asyncio.sleep(0.01)
            assert heard == []
            poller.end()

    asyncio.run(main())
