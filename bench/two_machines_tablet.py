"""The tablet of `two_machines.py`: asks for new names at a steady rate until standard input ends, and prints what
became of them.

two_machines_tablet.py RUN RATE RESOLVER…
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import struct
import sys
import time


class _Client(asyncio.DatagramProtocol):
    """A stub resolver as devices have it: each name is asked at the first server, after a second at the next, and so
    on, twice around.
    """

    def __init__(self, servers: list[str]) -> None:
        self.servers, self.waiting = servers, dict[int, asyncio.Future[int]]()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, _address: tuple[str, int]) -> None:
        waiting = self.waiting.get(struct.unpack_from("!H", data)[0])
        if waiting is not None and not waiting.done():
            waiting.set_result(data[3] & 15)

    async def ask(self, number: int, name: str) -> tuple[float, int, int]:
        """Return the delay of the answer, how many servers were asked, and the answer's rcode, -1 without one."""
        began, key = time.monotonic(), number & 0xFFFF
        query = struct.pack("!6H", key, 0x0100, 1, 0, 0, 0)
        query += b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
        used: set[str] = set()
        rcode = -1
        for server in self.servers * 2:
            self.waiting[key] = future = asyncio.get_running_loop().create_future()
            assert self.transport
            self.transport.sendto(query, (server, 53))
            used.add(server)
            with contextlib.suppress(TimeoutError):
                rcode = await asyncio.wait_for(future, 1.0)
            if rcode in (0, 3):
                break
        del self.waiting[key]
        return time.monotonic() - began, len(used), rcode


async def ask(run: str, rate: int, servers: list[str]) -> dict[str, object]:
    """Ask new names until standard input ends."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(lambda: _Client(servers), local_addr=("0.0.0.0", 0))
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    delays: list[float] = []
    answers: list[float] = []
    answered: dict[str, int] = {}
    tasks: set[asyncio.Task[None]] = set()
    lost: dict[str, int] = {}
    asked_again = 0

    async def one(number: int) -> None:
        nonlocal asked_again
        name = f"{run}-{number}"
        delay, used, rcode = await client.ask(number, f"{name}.secret.example")
        asked_again += delay > 1
        if rcode in (0, 3):
            answered[name] = used
            delays.append(delay)
            answers.append(time.monotonic())
        else:
            lost[str(rcode)] = lost.get(str(rcode), 0) + 1

    print("ready", flush=True)
    began, number = time.monotonic(), 0
    while not ended.is_set():
        due = int((time.monotonic() - began) * rate)
        while number < due:
            task = asyncio.create_task(one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.01)
    took = time.monotonic() - began
    await asyncio.gather(*tasks)
    gaps = [later - earlier for earlier, later in itertools.pairwise(answers)]
    delays.sort()
    return {
        "asked": number,
        "per_second": round(number / took),
        "lost_by_rcode": lost,
        "asked_again": asked_again,
        "longest_without_answers_s": round(max(gaps, default=0.0), 2),
        "p99_ms": round(delays[int(len(delays) * 0.99)] * 1000, 1),
        "answered_by": answered,
    }


if __name__ == "__main__":
    run, rate, *servers = sys.argv[1:]
    print(json.dumps(asyncio.run(ask(run, int(rate), servers))))
