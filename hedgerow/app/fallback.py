"""The snapshot of last resort, for workers that find no usable one: `python -m hedgerow.app.fallback STATE`.

It holds the most that can still be read: the last snapshot's policy, else that of the policy file, else the built-in one (everybody is
filtered as a child); and the newest usable lists, else those that come with Hedgerow. It lies in memory, since the disk may be the cause.
Standard output is its directory. Control's next snapshot replaces it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from hedgerow.app.control.list_jobs import ListFolders
from hedgerow.app.control.lists import newest_generation
from hedgerow.app.settings import Settings, make_memory_folder
from hedgerow.app.snapshot import Snapshot
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import correction_sources, starter_sources
from hedgerow.policies.reading.load import PolicyError, load_policy


def make_fallback(settings: Settings) -> Path:
    """Write the snapshot and return its directory. Raises OSError."""
    folder = _folder(settings)
    with ListFolders(folder).locked(what="fallback"):
        generation = newest_generation(ListFolders(settings.state)) or newest_generation(ListFolders(folder))
        if generation is None:
            generation = ListFolders(folder).generations / f"starter-{time.time_ns()}"
            compile_generation((*starter_sources(), *correction_sources()), generation)
        replace(_last_state(settings), serial=0, published=time.time(), generation=generation).save(folder)
    return folder


def _folder(settings: Settings) -> Path:
    try:
        folder = make_memory_folder(settings.state) / "fallback"
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        folder = settings.run / "fallback"
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _last_state(settings: Settings) -> Snapshot:
    try:
        return Snapshot.in_force(settings.state)
    except (OSError, ValueError):
        pass
    try:
        policy = load_policy(settings.policy, settings.calendars)
    except PolicyError:
        policy = load_policy(None)
    return Snapshot(0, 0.0, policy, Path())


def main() -> None:
    print(make_fallback(Settings.load(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
