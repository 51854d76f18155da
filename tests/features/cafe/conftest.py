"""Lists for tests of what the gateway does at seats."""

from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The starter lists."""
    out = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), out)
    return Catalogue.open(out)
