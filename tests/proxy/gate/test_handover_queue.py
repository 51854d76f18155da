"""Client sockets that wait for an inspector: its real Unix socket, which takes few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from hedgerow.client_classes import named_client, unnamed_client
from hedgerow.proxy.gate.handover_queue import HandoverQueue
from hedgerow.proxy.handover import HandoverSender, receive_client
from hedgerow.sockets import bind_datagrams

CHILD = named_client("mias-tablet")


async def receive(inspector: socket.socket, count: int) -> list[str]:
    """Return the messages of the next clients, as the inspector reads them."""
    found = list[str]()
    async with asyncio.timeout(30):
        while len(found) < count:
            if (taken := receive_client(inspector)) is None:
                await asyncio.sleep(0.001)
                continue
            taken[0].close()
            found.append(taken[1].decode())
    return found


def test_a_named_device_does_not_wait_for_a_crowd_of_strangers(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "inspector"
        with bind_datagrams(path) as inspector, socket.socket() as client:
            queue, filled = HandoverQueue(HandoverSender([path])), 0
            while queue.hand_over(client.fileno(), b"before"):
                filled += 1
            strangers = [unnamed_client(f"192.168.1.{number}") for number in range(50)]
            waiting = [asyncio.create_task(queue.wait(each, client.fileno(), each.key.encode())) for each in strangers]
            await asyncio.sleep(0)
            waiting += [asyncio.create_task(queue.wait(CHILD, client.fileno(), b"child")) for _ in range(3)]
            waiting.append(asyncio.create_task(queue.wait(CHILD, client.fileno(), b"gone")))
            await asyncio.sleep(0)
            waiting[-1].cancel()
            assert not queue.hand_over(client.fileno(), b"overtaking"), "others wait"
            assert await receive(inspector, filled) == ["before"] * filled
            found = await receive(inspector, len(waiting) - 1)
            assert [number for number, name in enumerate(found) if name == "child"][-1] < 7
            assert sorted(found) == sorted([*(each.key for each in strangers), *["child"] * 3])
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*waiting)
            queue.close()

    asyncio.run(main())


def test_all_that_wait_learn_that_no_inspector_runs(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "inspector"
        with bind_datagrams(path) as inspector, socket.socket() as client:
            queue = HandoverQueue(HandoverSender([path]))
            while queue.hand_over(client.fileno(), b"before"):
                pass
            waiting = [asyncio.create_task(queue.wait(CHILD, client.fileno(), b"child")) for _ in range(3)]
            await asyncio.sleep(0)
            inspector.close()
            for task in waiting:
                with pytest.raises(OSError):
                    await task
            queue.close()

    asyncio.run(main())
