"""The examples as they stand, for two days in fast time: who can reach what, when, over DNS and over the proxy.

Both points must say what `decide` says, a minute before each change and at it. What was seen is
`bench/results/examples.md`; set HEDGEROW_WRITE_DOCS=1 to write it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.example_days import EXAMPLES, Example, render, watch

DOCUMENT = Path(__file__).parents[2] / "bench" / "results" / "examples.md"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.file)
def test_two_days(example: Example, internet: SmallInternet, tmp_path: Path) -> None:
    text = render(example, watch(example, internet, tmp_path))
    document = DOCUMENT.read_text(encoding="utf-8")
    begin, end = f"<!-- made by the test of {example.file}: begin -->\n", f"<!-- {example.file}: end -->"
    head, rest = document.split(begin)
    old, tail = rest.split(end)
    if os.environ.get("HEDGEROW_WRITE_DOCS"):
        DOCUMENT.write_text(f"{head}{begin}{text}{end}{tail}", encoding="utf-8")
    else:
        assert old == text
