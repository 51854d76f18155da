"""Turns of requests: few are at work at once, one client's wait in a line of their own, and each line is served in
turn.

The pages are made by one process. Without turns, a device that asks for a page again and again slows them down for
everybody.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Final

from hedgerow.client_classes import ClassedClient, ClientClass

_PEOPLE: Final = (8, 4)
_DEVICES: Final = (2, 1)
_STRANGERS: Final = (1, 1)
"""Requests at work at once, and of them those of one client. People wait for people only, however many devices ask."""


class WorkQueue:
    """At most `total` requests at work, and `per_client` of one client."""

    def __init__(self, total: int, per_client: int) -> None:
        self._total, self._per_client = total, per_client
        self._at_work: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[bool]]] = {}

    def _has_room(self, client: str) -> bool:
        return self._at_work.total() < self._total and self._at_work[client] < self._per_client

    async def enter(self, client: str, place: asyncio.Future[bool]) -> bool:
        """Wait for a turn. False if `place`, which the caller may set to that, is set to False meanwhile."""
        if self._has_room(client):
            self._at_work[client] += 1
            return True
        self._lines.setdefault(client, deque()).append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.result():  # its turn came just then
                self.leave(client)
            raise

    def leave(self, client: str) -> None:
        """Give a turn to the next."""
        self._at_work[client] -= 1
        if not self._at_work[client]:
            del self._at_work[client]
        for name in tuple(self._lines):
            while self._has_room(name) and (line := self._lines.pop(name, None)) is not None:
                place = line.popleft()
                if line:
                    self._lines[name] = line  # at the end
                if not place.done():
                    self._at_work[name] += 1
                    place.set_result(True)
                    break


class RequestTurn:
    """The turns of one request, whose client may leave at any time."""

    def __init__(self, queue: WorkQueue, client: str) -> None:
        self._queue, self._client = queue, client
        self._place: asyncio.Future[bool] | None = None
        self._is_at_work = self._has_given_up = False

    async def begin(self) -> bool:
        """Wait for a turn, unless the request has one. False if the client has left."""
        if self._has_given_up or self._is_at_work:
            return self._is_at_work
        self._place = asyncio.get_running_loop().create_future()
        self._is_at_work = await self._queue.enter(self._client, self._place)
        return self._is_at_work

    def end(self) -> None:
        """Leave the turn to others while the request waits for its client, or for good."""
        if self._is_at_work:
            self._is_at_work = False
            self._queue.leave(self._client)

    def give_up(self) -> None:
        """Wait no longer, since the client has left. Work that has begun goes on until `end`."""
        self._has_given_up = True
        if self._place is not None and not self._place.done():
            self._place.set_result(False)


class FairWork:
    """The queues of people who are signed in, of named devices, and of all other clients.

    Programs of this machine count as people.
    """

    def __init__(self) -> None:
        self._people, self._devices, self._strangers = WorkQueue(*_PEOPLE), WorkQueue(*_DEVICES), WorkQueue(*_STRANGERS)

    def turn_of_check(self) -> RequestTurn:
        """Return a turn for what is answered at once."""
        return RequestTurn(WorkQueue(1, 1), "")

    def turn_of_person(self, person: str) -> RequestTurn:
        return RequestTurn(self._people, person)

    def turn_of_device(self, client: ClassedClient) -> RequestTurn:
        return RequestTurn(self._devices if client.rank is ClientClass.NAMED else self._strangers, client.key)
