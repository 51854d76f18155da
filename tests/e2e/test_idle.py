"""A Hedgerow that has nothing to do lets a small machine sleep."""

from __future__ import annotations

import re
import time
from pathlib import Path

from small_internet.running import Hedgerow, wait_until

MOST = {"control": 20, "dns": 5, "gate": 5, "inspector": 5, "signer": 3, "zygote": 3}
"""Wake-ups per second, about twice as many as there are."""


def wake_ups(pid: int) -> int:
    """Return how often the threads of a process have begun to wait so far."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[0]) for text in texts)


def test_no_process_wakes_up_again_and_again_for_nothing(family: Hedgerow) -> None:
    def awake() -> dict[str, int]:
        """Return the processes that woke up too often in a second."""
        before = {(role, pid): wake_ups(pid) for role in MOST for pid in family.pids(role)}
        time.sleep(1)
        return {
            f"{role} {pid}": number
            for (role, pid), count in before.items()
            if (number := wake_ups(pid) - count) > MOST[role]
        }

    wait_until(lambda: not awake(), 60)
