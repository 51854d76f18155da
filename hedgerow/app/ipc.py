"""What the supervisor and its children say to each other: lines on a child's standard output and input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

READY = b"ready\n"
"""A child serves."""

RENEW = b"renew\n"
"""A child serves on and wants a successor."""

BEAT = b".\n"
"""The event loop of a child goes round."""

BEAT_EVERY_S = 1.0
"""Seconds between two `BEAT`s of a child."""

RETIRE = b"retire\n"
"""Its successor serves: it may go when its last connection is over."""


def is_alive(pid: int) -> bool:
    """Whether a process is there, and neither stopped nor waiting to be buried: the supervisor notices that only a little later."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "TtZX"  # proc_pid_stat(5)


def restart_inspectors(state: Path) -> int:
    """End the inspectors of the Hedgerow that runs on `state`; the supervisor starts them anew. Returns how many; 0 where none runs."""
    try:
        rows = json.loads((state / "run" / "workers.json").read_bytes())["workers"]
    except (OSError, ValueError, KeyError):
        return 0
    count = 0
    for row in rows:
        pid = row.get("pid")
        if row.get("role") == "inspector" and isinstance(pid, int) and _is_child_of(pid, state):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                count += 1
    return count


def _is_child_of(pid: int, state: Path) -> bool:
    """Whether this process is what the file says: numbers are given away again when a process has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"hedgerow.app.processes" in words and b"inspector" in words and os.fsencode(state) in words
