"""Division of a process's connections to the store: requests to the web pages get at most a half, everything else the
other half.

A lane that is full waits for itself only. However slow the pages' queries are, control's own work goes on, and the
reverse.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from enum import Enum
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

CONNECTIONS_PER_LANE: Final = 8

MAX_CONNECTIONS: Final = 2 * CONNECTIONS_PER_LANE + 2
"""Connections of one engine at most.

Two are left for work on the whole database, which goes by no lane: migrating and rewriting it.
"""

LANE_TIMEOUT_S: Final = 10.0
"""Maximum time for which a query waits for a connection of its lane."""


class Lane(Enum):
    """The cause of a query."""

    OWN = "own"  # this process's own work
    PAGES = "pages"  # a request to the web pages or the API


current_lane: ContextVar[Lane] = ContextVar("current_lane", default=Lane.OWN)
"""The lane of the running task and of the threads that it starts."""


class LaneFullError(Exception):
    """All connections of a lane are in use. It is the cause of an `OperationalError`, as what a database reports."""


class Lanes:
    """The places for connections in each lane."""

    def __init__(self, timeout: float = LANE_TIMEOUT_S) -> None:
        self._timeout = timeout
        self._places = {lane: threading.BoundedSemaphore(CONNECTIONS_PER_LANE) for lane in Lane}

    @contextlib.contextmanager
    def connection(self, open: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Connection]:
        """Use a connection of the current lane. Raises OperationalError if none gets free in time."""
        places = self._places[current_lane.get()]
        if not places.acquire(timeout=self._timeout):
            message = (
                f"all {CONNECTIONS_PER_LANE} connections for this kind of work have been in use for {self._timeout:.0f}"
                " seconds"
            )
            raise OperationalError(None, None, LaneFullError(message))
        try:
            with open() as connection:
                yield connection
        finally:
            places.release()
