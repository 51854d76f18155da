"""A journal of its own for each test, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_places import journal as journal
from journal_places import place as place
from journal_places import postgres as postgres
from journal_places import postgres_journal as postgres_journal
from journal_places import sqlite_journal as sqlite_journal
from web_server import Web, running_web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """The pages of a home, on a state directory of their own."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with running_web(state) as running:
        yield running
