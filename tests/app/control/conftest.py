"""List jobs that start at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from list_job_server import list_job_server


@pytest.fixture(scope="session")
def zygote() -> Iterator[socket.socket]:
    """What forks the jobs of a `ListUpdater`."""
    with list_job_server() as server:
        yield server
