"""Wishes and answers while the process that writes them is killed.

A thousand kills, by hand: `python tests/features/wishes/killed_control.py /tmp/journal.sqlite 1000`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KILLS = 40


def test_no_wish_and_no_answer_is_lost_doubled_or_half_written(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_control.py")
    words = [sys.executable, str(script), str(tmp_path / "journal.sqlite"), str(KILLS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert found["confirmed"]["granted"] > KILLS / 4, "they were killed in the middle of their work"
