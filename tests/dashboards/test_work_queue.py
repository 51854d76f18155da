"""Turns of requests: a device that asks without end delays its own requests only."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI, Request
from small_internet.running import wait_until
from starlette.responses import StreamingResponse

from hedgerow.client_classes import ClassedClient, named_client, unnamed_client
from hedgerow.dashboards.server import web_server
from hedgerow.dashboards.work_queue import RequestTurn, WorkQueue

MIA, TOM, STRANGER = "127.0.9.2", "127.0.9.3", "127.0.9.8"
NAMES = {MIA: "mia-tablet", TOM: "tom-phone"}


def client_of(address: str) -> ClassedClient:
    return named_client(NAMES[address]) if address in NAMES else unnamed_client(address)


class Pages:
    """A server with a page that takes as long as the test wants. `begun` and `ended` count its requests."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.server = web_server(self.app, client_of=client_of, person_of=lambda head: head.get("person", ""))
        self.begun = self.ended = 0
        self.goes_on = threading.Event()
        self.app.get("/long")(self.long)
        self.app.get("/short")(self.short)
        self.app.get("/stream")(self.stream)
        self.app.post("/form")(self.form)

    def long(self) -> int:
        self.begun += 1
        self.goes_on.wait(30)
        self.ended += 1
        return 1

    async def short(self) -> int:
        return 2

    async def form(self, request: Request) -> int:
        return len(await request.body())

    async def stream(self) -> StreamingResponse:
        async def endless() -> object:
            while True:
                yield b": here\n\n"
                await asyncio.sleep(0.1)

        return StreamingResponse(endless(), media_type="text/event-stream")  # type: ignore[arg-type]


@pytest.fixture
def pages() -> Iterator[tuple[Pages, int]]:
    made = Pages()
    server = made.server
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        yield made, listener.getsockname()[1]
        made.goes_on.set()
        server.should_exit = True
        thread.join(10)


def get(port: int, path: str, address: str, **headers: str) -> httpx.Response:
    with httpx.Client(
        transport=httpx.HTTPTransport(local_address=address, verify=False), trust_env=False, timeout=20
    ) as client:
        return client.get(f"http://127.0.0.1:{port}{path}", headers=headers)


@contextlib.contextmanager
def asking(port: int, address: str, request: str, count: int = 30) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, (address, 0))) for _ in range(count)
        ]
        for client in clients:
            client.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield clients


def test_one_device_is_at_work_once_and_delays_nobody_else(pages: tuple[Pages, int]) -> None:
    made, port = pages
    with asking(port, MIA, "GET /long") as mias, asking(port, STRANGER, "GET /long"):
        wait_until(lambda: made.begun == 2, 20)
        assert get(port, "/short", "127.0.9.1", person="ana").text == "2"
        assert get(port, "/short", TOM).text == "2", "another child"
        assert get(port, "/healthz", "127.0.9.7").status_code == 404, "a check waits for nobody"
        assert made.begun == 2
        made.goes_on.set()
        assert all(client.recv(12) == b"HTTP/1.1 200" for client in mias), "each has its turn"
    wait_until(lambda: made.ended == 60, 20)


@pytest.mark.parametrize(
    "request_line", ["GET /stream", "POST /form HTTP/1.1\r\nContent-Length: 5\r\nX-Rest: no"], ids=["events", "form"]
)
def test_what_waits_for_its_client_is_not_at_work(pages: tuple[Pages, int], request_line: str) -> None:
    """Events that never end, and forms whose rest does not come."""
    _, port = pages
    with asking(port, MIA, request_line, 5), asking(port, STRANGER, request_line, 5):
        assert get(port, "/short", MIA).text == get(port, "/short", STRANGER).text == "2"


def test_lines_are_served_in_turn() -> None:
    async def served() -> list[str]:
        queue, order = WorkQueue(1, 1), list[str]()

        async def ask(client: str) -> None:
            assert await queue.enter(client, asyncio.get_running_loop().create_future())
            order.append(client)
            await asyncio.sleep(0)
            queue.leave(client)

        await asyncio.gather(*(ask(client) for client in "aaaabbc"))
        return order

    assert "".join(asyncio.run(served())) == "aabcaba"


def test_who_has_lost_the_connection_is_not_worked_for() -> None:
    async def begun() -> list[bool]:
        queue = WorkQueue(1, 1)
        first, second, third = (RequestTurn(queue, "mia") for _ in range(3))
        assert await first.begin()
        waiting = [asyncio.create_task(turn.begin()) for turn in (second, third)]
        await asyncio.sleep(0)
        second.give_up()
        first.end()
        return [await each for each in waiting]

    assert asyncio.run(begun()) == [False, True]


def test_a_request_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    async def next_begins(*, is_turn_here: bool) -> bool:
        queue = WorkQueue(1, 1)
        first, second, third = (RequestTurn(queue, "mia") for _ in range(3))
        assert await first.begin()
        cancelled, waiting = asyncio.create_task(second.begin()), asyncio.create_task(third.begin())
        await asyncio.sleep(0)
        if is_turn_here:
            first.end()
            cancelled.cancel()
        else:
            cancelled.cancel()
            first.end()
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(next_begins(is_turn_here=True))
    assert asyncio.run(next_begins(is_turn_here=False))
