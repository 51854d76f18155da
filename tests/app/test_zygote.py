"""Names of forked processes."""

from __future__ import annotations

import subprocess
import sys

NAMED = """
import os
from pathlib import Path
from hedgerow.app.zygote import name_process
from hedgerow.confinement import forbid_inspection
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
forbid_inspection()
name_process("dns", 0, Path("/var/lib/hedgerow"))
print(Path("/proc/self/comm").read_text())
"""


def test_a_process_is_named_though_its_files_in_proc_belong_to_root() -> None:
    """As in a container, where the program has a file capability."""
    done = subprocess.run([sys.executable, "-P", "-c", NAMED], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "hedgerow-dns", done.stderr
