"""The memory that this process and its children may use, as the kernel limits it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

MIN_GROUP_BYTES = 180_000_000
"""Of all processes together: they take about 200 MB with `--profile small`, of which the kernel can drop what is mapped from files."""
MIN_ADDRESS_SPACE = 512 << 20
"""Of one process (RLIMIT_AS): libraries map most of it and never touch it."""

_ROOTS = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}  # cgroup v2 and v1: folder and file by controller


def memory_problem(processes: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> str:
    """Return one sentence if the memory does not suffice, else an empty text."""
    limit = _group_limit(processes, groups)
    if limit is not None and limit < MIN_GROUP_BYTES:
        return f"Hedgerow needs {_megabytes(MIN_GROUP_BYTES)} of memory, and its group may use {_megabytes(limit)}: raise MemoryMax."
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft < MIN_ADDRESS_SPACE:
        needed = f"Each process of Hedgerow needs {_megabytes(MIN_ADDRESS_SPACE)} of address space"
        return f"{needed}, and may use {_megabytes(soft)}: raise the limit (ulimit -v)."
    return ""


def usable_memory(processes: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the octets of memory that this process and its children may use: the machine's, or fewer."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _group_limit(processes, groups)
    return machine if limit is None else min(machine, limit)


def _group_limit(processes: Path, groups: Path) -> int | None:
    """Return the lowest limit of this process's control groups and those above them; None without one."""
    try:
        lines = processes.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for _number, controllers, place in (line.split(":", 2) for line in lines):
        for controller in {"", "memory"}.intersection(controllers.split(",")):
            folder, name = _ROOTS[controller]
            group = groups / folder / place.lstrip("/")
            limits += [found for each in (group, *group.parents) if (found := _read_limit(each / name)) is not None]
    return min(limits, default=None)


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _megabytes(octets: int) -> str:
    return f"{octets / 1e6:.0f} MB"
