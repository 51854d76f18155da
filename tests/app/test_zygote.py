"""Names of forked processes, and the memory that they share."""

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


FILLED = """
import ctypes
from hedgerow.app.zygote import fill_heap
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_size_t
libc.free.argtypes = (ctypes.c_size_t,)
chunks = [libc.malloc(3000) for _ in range(200)]
for chunk in chunks[::2]:
    libc.free(chunk)
fill_heap()
print(*sorted({*chunks[::2]} & {libc.malloc(3000) for _ in range(100)}))
"""


def test_a_child_is_given_no_chunk_between_those_of_its_parent() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", FILLED], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


USED = """
import gc, os
from pathlib import Path
from hedgerow.app.zygote import make_immortal, preload
preload("hedgerow.app.processes")
gc.freeze()
make_immortal()
objects = gc.get_objects()
if not os.fork():
    holders = [*objects]
    fields = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    print(len(objects) > 20_000, int(fields["Private_Dirty"].split()[0]) < 4096, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_child_that_uses_objects_of_its_parent_copies_no_memory() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", USED], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
