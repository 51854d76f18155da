"""Client sockets that wait for an inspector with room.

Clients are served in turn, so that no crowd of strangers is in front of a child.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from hedgerow.client_classes import ClassedClient, FairQueues
from hedgerow.proxy.handover import HandoverSender

_RETRY_SECONDS = 0.003  # until inspectors that had no room are tried again
_MAX_PER_ROUND = 32


class _Handover(NamedTuple):
    descriptor: int
    message: bytes
    done: asyncio.Future[None]


class HandoverQueue:
    """A `sender` with a queue in front of it. It belongs to the event loop in which it is used."""

    def __init__(self, sender: HandoverSender) -> None:
        self._sender = sender
        self._waiting = FairQueues[_Handover]()
        self._next: _Handover | None = None  # taken out of the queue, and refused for lack of room
        self._timer: asyncio.TimerHandle | None = None

    def hand_over(self, descriptor: int, message: bytes) -> bool:
        """Return `HandoverSender.hand_over`, False while others wait."""
        return self._timer is None and self._sender.hand_over(descriptor, message)

    async def wait(self, client: ClassedClient, descriptor: int, message: bytes) -> None:
        """Hand a client's socket over in its turn.

        Raises OSError if no inspector runs. Cancel it before the descriptor is closed.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.put(client.key, client.rank, _Handover(descriptor, message, done))
        if self._timer is None:
            self._work_later(_RETRY_SECONDS)
        await done

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sender.close()

    def _work_later(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._work)

    def _work(self) -> None:
        self._timer = None
        for _ in range(_MAX_PER_ROUND):
            if self._next is None and not self._waiting:
                return
            handover, self._next = self._next or self._waiting.pop(), None
            if handover.done.done():  # cancelled: the connection has ended
                continue
            try:
                is_done = self._sender.hand_over(handover.descriptor, handover.message)
            except OSError as error:
                handover.done.set_exception(error)
                continue
            if not is_done:
                self._next = handover
                self._work_later(_RETRY_SECONDS)
                return
            handover.done.set_result(None)
        if self._waiting:
            self._work_later(0)
