"""Names of forked processes, and the data that they share."""

from __future__ import annotations

import subprocess
import sys

NAMED = """
import os
from pathlib import Path
from hedgerow.confinement import forbid_inspection, name_process
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
forbid_inspection()
name_process("dns")
print(Path("/proc/self/comm").read_text())
"""


def test_a_process_is_named_though_its_files_in_proc_belong_to_root() -> None:
    """As in a container, where the program has a file capability."""
    done = subprocess.run([sys.executable, "-P", "-c", NAMED], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "hedgerow-dns", done.stderr


KEPT = """
from hedgerow.app.zygote import PRELOADED, preload
from hedgerow.internals import resolve
for place in PRELOADED:
    if ":" in place:
        before = resolve(place).cache_info().currsize
        preload(place)
        print(before, resolve(place).cache_info().currsize)
"""


def test_data_are_loaded_once_for_all_that_are_forked() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", KEPT], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == ["0 1"] * 3
