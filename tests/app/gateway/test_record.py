"""The record of the installed table, by which changes of others are noticed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from hedgerow.app.gateway.controller import record_ruleset

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("nft", path="/usr/sbin:/usr/bin") is None, reason="nftables is not installed"),
]


def test_there_is_a_record_at_any_time(tmp_path: Path) -> None:
    """A process that ends while it writes one must not leave a table whose changes nobody notices."""
    removed, is_over = list[str](), list[bool]()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.remove" and not is_over:
            removed.append(Path(str(arguments[0])).name)

    sys.addaudithook(note)
    try:
        record_ruleset(tmp_path)
        (record,) = (path.name for path in tmp_path.iterdir())
        record_ruleset(tmp_path)
    finally:
        is_over.append(True)
    assert record not in removed
    assert [path.name for path in tmp_path.iterdir()] == [record]
