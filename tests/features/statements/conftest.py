"""A journal of its own for each test, in SQLite and in PostgreSQL."""

from __future__ import annotations

from journal_places import journal as journal
from journal_places import place as place
from journal_places import postgres as postgres
