"""Lists for tests of what the gateway does at seats, and a journal of its own for each test."""

from __future__ import annotations

import pytest
from journal_places import journal as journal
from journal_places import place as place
from journal_places import postgres as postgres

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The starter lists."""
    out = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), out)
    return Catalogue.open(out)
