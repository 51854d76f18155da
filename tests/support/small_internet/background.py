"""An event loop in a thread of its own, so that plain tests can start and stop asyncio servers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any


class BackgroundLoop:
    """Runs coroutines for a thread that has no loop. Made by `background_loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run[T](self, coroutine: Coroutine[Any, Any, T], timeout: float = 20.0) -> T:
        """Runs `coroutine` on the loop and waits for its result; raises what it raises, or TimeoutError after `timeout`
        seconds.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def call[T](self, function: Callable[[], T]) -> T:
        """Runs a plain function on the loop's thread: for what is not safe to touch from another."""

        async def once() -> T:
            return function()

        return self.run(once())


@contextlib.contextmanager
def background_loop(name: str) -> Iterator[BackgroundLoop]:
    """A running loop in a daemon thread called `name`.

    On leaving, what still runs is cancelled and the loop is closed.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=name, daemon=True)
    thread.start()
    try:
        yield BackgroundLoop(loop)
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_the_rest(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


async def _cancel_the_rest() -> None:
    mine = asyncio.current_task()
    rest = [task for task in asyncio.all_tasks() if task is not mine]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    # Transports close their sockets in a callback of the turn after their close(); without this the sockets would leak.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
