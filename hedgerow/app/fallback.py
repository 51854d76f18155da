"""The snapshot of last resort, for workers that find no usable one: `python -m hedgerow.app.fallback STATE`.

It holds the most that can still be read: the last snapshot's policy, else that of the policy file, else the built-in
one (everybody is filtered as a child); and the newest usable lists, else those of the policy, without the largest. It
lies in memory, since the disk may be the cause. Standard output is its directory. Control's next snapshot replaces it.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from hedgerow.app.control.lists.list_jobs import ListFolders, newest_generation
from hedgerow.app.control.lists.list_sources import CopyStatuses, file_identities, fingerprint, sources_of
from hedgerow.app.control.lists.updater import COMPILE_FIRST_BYTES
from hedgerow.app.settings import Settings, make_memory_folder
from hedgerow.app.snapshot import Snapshot
from hedgerow.blocklists.catalogue import is_usable
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import PolicyError, load_policy


def make_fallback(settings: Settings) -> Path:
    """Write the snapshot and return its directory. Raises OSError."""
    folder = _folder(settings)
    with ListFolders(folder).locked(what="fallback"):
        last = _last_state(settings)
        generation = newest_generation(ListFolders(settings.state)) or _compile(_sources(last.policy, settings), folder)
        replace(last, serial=0, published=time.time(), generation=generation).save(folder)
    return folder


def _sources(policy: Policy, settings: Settings) -> tuple[Source, ...]:
    """The lists that come with Hedgerow, those on this machine, and copies of public ones as far as compiling them
    takes seconds.
    """
    left, chosen = COMPILE_FIRST_BYTES, list[Source]()
    for source in CopyStatuses(ListFolders(settings.state).downloads).with_paths(sources_of(policy)):
        size = sum(size for _name, _time, size in file_identities(source))
        if size and (not source.url or size <= left):
            left -= size
            chosen.append(source)
    return tuple(chosen)


def _compile(sources: tuple[Source, ...], folder: Path) -> Path:
    """Compile lists, unless an earlier process has. Returns the generation. Raises OSError."""
    generation = ListFolders(folder).generations / fingerprint(sources)
    if not is_usable(generation):
        shutil.rmtree(generation, ignore_errors=True)
        compile_generation(sources, generation)
    return generation


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
    except PolicyError as error:
        policy = error.usable or load_policy(None)
    return Snapshot(0, 0.0, policy, Path())


def main() -> None:
    print(make_fallback(Settings.load(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
