"""A web server in a thread of its own, which ends as soon as nobody waits for a response."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from hedgerow.dashboards.server import WebServer

_ENDING_S = 2.0
"""Seconds for responses that are under way at the end, as `web_server` configures uvicorn."""


@contextlib.contextmanager
def serving(server: WebServer, listener: socket.socket) -> Iterator[int]:
    """Serve on a listening socket and return its port.

    uvicorn looks ten times per second for its end and for that of its connections, which takes longer than most tests.
    """
    end: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, listener, end)), daemon=True)
    thread.start()
    stop = end.result(timeout=30)
    try:
        yield listener.getsockname()[1]
    finally:
        stop()
        thread.join(10)


async def _serve(server: WebServer, listener: socket.socket, end: Future[Callable[[], object]]) -> None:
    ending, loop = asyncio.Event(), asyncio.get_running_loop()
    task = loop.create_task(server.serve(sockets=[listener]))
    task.add_done_callback(lambda _task: ending.set())
    end.set_result(lambda: loop.call_soon_threadsafe(ending.set))
    await ending.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    server.stop_listening()
    state = server.server_state
    for connection in tuple(state.connections):
        connection.shutdown()
    ends = loop.time() + _ENDING_S
    while (state.connections or state.tasks) and loop.time() < ends:  # noqa: ASYNC110 (uvicorn has no event for that)
        await asyncio.sleep(0.002)
    for unfinished in tuple(state.tasks):
        unfinished.cancel()
