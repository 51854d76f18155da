"""A journal of its own for each test."""

import pytest

from hedgerow.journal.database import open_journal


@pytest.fixture
def journal(tmp_path):
    engine = open_journal(tmp_path / "state" / "journal.sqlite")
    yield engine
    engine.dispose()
