"""Events of raw sockets."""

from __future__ import annotations

import asyncio
import select
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


def test_a_paused_socket_waits_for_its_time_and_loses_nothing() -> None:
    async def main() -> None:
        poller, loop = Poller(), asyncio.get_running_loop()
        heard: asyncio.Queue[float] = asyncio.Queue()
        ours, theirs = socket.socketpair()
        with theirs:
            poller.watch(ours, lambda _: heard.put_nowait(loop.time()))
            poller.pause(ours, 0.2)
            began = loop.time()
            theirs.send(b"x")
            async with asyncio.timeout(60):
                assert await heard.get() - began >= 0.19
            assert ours.recv(2) == b"x"
            poller.close(ours)
            poller.end()

    asyncio.run(main())


def test_a_pause_ends_with_its_socket() -> None:
    """The next socket may have the same descriptor. Its handler is watched for room too, and stays so."""

    async def main() -> None:
        poller, heard = Poller(), asyncio.Queue[int]()
        first, second = socket.socketpair()
        descriptor = first.fileno()
        poller.watch(first, lambda _: None)
        poller.pause(first, 0.01)
        poller.close(first)
        ours, theirs = socket.socketpair()
        with second, theirs:
            assert ours.fileno() == descriptor
            poller.watch(ours, heard.put_nowait)
            poller.watch_writing(ours)
            await asyncio.sleep(0.05)
            while not heard.empty():
                heard.get_nowait()
            theirs.send(b"x")
            async with asyncio.timeout(60):
                assert await heard.get() & select.EPOLLOUT
            poller.close(ours)
            poller.end()

    asyncio.run(main())
