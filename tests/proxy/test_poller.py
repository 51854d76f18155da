"""Events of raw sockets."""

from __future__ import annotations

import asyncio
import select
import socket

import pytest

from hedgerow.proxy.poller import PollerLoop, running_poller


@pytest.mark.provokes_traceback
def test_a_handler_that_fails_leaves_the_others_their_events() -> None:
    def fail(_events: int) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        poller, heard = running_poller(), asyncio.Event()
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

    asyncio.run(main(), loop_factory=PollerLoop)


def test_a_socket_of_which_a_copy_lives_on_is_not_watched_any_more() -> None:
    async def main() -> None:
        poller, heard = running_poller(), list[int]()
        ours, theirs = socket.socketpair()
        with theirs, ours.dup():
            poller.watch(ours, heard.append)
            poller.release(ours)
            theirs.send(b"x")
            await asyncio.sleep(0.01)
            assert heard == []

    asyncio.run(main(), loop_factory=PollerLoop)


def test_a_paused_socket_waits_for_its_time_and_loses_nothing() -> None:
    async def main() -> None:
        poller, loop = running_poller(), asyncio.get_running_loop()
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

    asyncio.run(main(), loop_factory=PollerLoop)


def test_a_pause_ends_with_its_socket() -> None:
    """The next socket may have the same descriptor. Its handler is watched for room too, and stays so."""

    async def main() -> None:
        poller, heard = running_poller(), asyncio.Queue[int]()
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

    asyncio.run(main(), loop_factory=PollerLoop)


def test_sockets_that_are_always_busy_do_not_keep_the_loop_from_its_work() -> None:
    async def main() -> None:
        poller, loop = running_poller(), asyncio.get_running_loop()
        busy, (ours, theirs) = socket.socketpair(), socket.socketpair()
        with busy[0], busy[1], ours, theirs:
            for sock in (*busy, ours, theirs):
                sock.setblocking(False)
            for sock in busy:
                poller.watch(sock, lambda _, sock=sock: sock.send(sock.recv(9)))  # type: ignore[misc]
            busy[0].send(b"x")
            async with asyncio.timeout(60):
                await asyncio.sleep(0.01)
                await asyncio.to_thread(int)
                theirs.send(b"y")
                assert await loop.sock_recv(ours, 9) == b"y"
            for sock in busy:
                poller.close(sock)

    asyncio.run(main(), loop_factory=PollerLoop)


@pytest.mark.parametrize("is_timer", [False, True])
def test_what_a_handler_schedules_is_done_in_time(is_timer: bool) -> None:
    async def main() -> None:
        poller, loop, heard = running_poller(), asyncio.get_running_loop(), asyncio.Event()
        ours, theirs = socket.socketpair()

        def schedule(_events: int) -> None:
            if is_timer:
                loop.call_later(0.01, heard.set)
            else:
                heard.set()

        with theirs:
            poller.watch(ours, schedule)
            loop.call_later(0.01, theirs.send, b"x")
            async with asyncio.timeout(60):
                await heard.wait()
            poller.close(ours)

    asyncio.run(main(), loop_factory=PollerLoop)


def test_a_socket_is_not_watched_while_it_need_not_be() -> None:
    async def main() -> None:
        poller, heard = running_poller(), asyncio.Queue[int]()
        ours, theirs = socket.socketpair()
        with theirs:
            poller.watch(ours, heard.put_nowait)
            poller.unwatch(ours)
            theirs.send(b"x")
            await asyncio.sleep(0.01)
            assert heard.empty()
            poller.watch(ours, heard.put_nowait)  # which tells what came meanwhile
            async with asyncio.timeout(60):
                await heard.get()
            poller.close(ours)

    asyncio.run(main(), loop_factory=PollerLoop)


def test_events_of_a_closed_socket_are_not_those_of_the_next_with_its_descriptor() -> None:
    async def main() -> None:
        poller, heard = running_poller(), list[int]()
        (first, second), (ours, theirs) = socket.socketpair(), socket.socketpair()
        fresh: list[socket.socket] = []

        def replace(_events: int) -> None:
            descriptor = ours.fileno()
            poller.close(ours)
            fresh.extend(socket.socketpair())
            assert fresh[0].fileno() == descriptor
            poller.watch(fresh[0], heard.append)

        poller.watch(first, replace)
        poller.watch(ours, heard.append)
        second.send(b"x")
        theirs.send(b"x")
        await asyncio.sleep(0.01)
        assert len(fresh) == 2
        assert heard == []
        for sock in (first, fresh[0]):
            poller.close(sock)
        for sock in (second, theirs, fresh[1]):
            sock.close()

    asyncio.run(main(), loop_factory=PollerLoop)
