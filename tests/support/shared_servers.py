"""Servers that many files of tests share: each worker starts one when a test first asks for it, and ends it before a
test of a file that does not use it.

An idle Hedgerow takes three percent of a processor, and a run has several workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack

import pytest

SHARED = {"house": "tests/lab/", "family": "tests/e2e/", "_stand": "tests/proxy/"}
"""Fixtures that start such a server, and the folder whose `conftest.py` has them. Their tests run in this order."""


class SharedServers:
    """The running servers of a worker by the names of their fixtures, and the files whose tests use each."""

    def __init__(self) -> None:
        self._files: dict[str, set[str]] = {name: set() for name in SHARED}
        self._running: dict[str, tuple[object, ExitStack]] = {}

    def note_users(self, items: Iterable[pytest.Item]) -> None:
        for item in items:
            for name in SHARED.keys() & set(getattr(item, "fixturenames", ())):
                if item.nodeid.startswith(SHARED[name]):
                    self._files[name].add(file_of(item))

    def turn_of(self, item: pytest.Item) -> int:
        """Return the place in the order of tests, in which the users of a server come one after the other."""
        uses = [file_of(item) in files for files in self._files.values()]
        return uses.index(True) if any(uses) else len(uses)

    def running[T](self, name: str, server: AbstractContextManager[T]) -> T:
        """Return the running server with this name. It is started by entering `server` if there is none."""
        if name not in self._running:
            stack = ExitStack()
            self._running[name] = stack.enter_context(server), stack
        found: T = self._running[name][0]  # type: ignore[assignment]
        return found

    def end_unused(self, following: pytest.Item | None) -> None:
        """End the servers that the file of the following test does not use."""
        for name in [*self._running]:
            if following is None or file_of(following) not in self._files[name]:
                self._running.pop(name)[1].close()


def file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


shared_servers = SharedServers()
