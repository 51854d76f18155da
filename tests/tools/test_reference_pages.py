"""The generated reference pages agree with the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_generated(name: str) -> None:
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == PAGES[name](), (
        "run: python tools/reference.py docs"
    )
