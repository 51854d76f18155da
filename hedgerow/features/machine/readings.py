"""Readings of the machine from the kernel's files. What a machine does not have, or does not let us read, is None.

`root` is the root of the file system, so that other trees can be read. Every read is short and changes nothing.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LONGEST: Final = 65536
_MOST_SENSORS: Final = 64
_COLDEST, _HOTTEST = -55.0, 150.0  # of sensors that are connected; others say nonsense
_CPU_SENSORS: Final = {"coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"}
_SIZE: Final = re.compile(r"^(?:Node \d+ )?([\w()]+): +(\d{1,18}) kB$", re.M)
_FOR_PROGRAMS: Final = ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")
_LOW_NOW, _SLOWED_NOW, _LOW_BEFORE, _SLOWED_BEFORE = 1 << 0, 1 << 2, 1 << 16, 1 << 18
"""Bits that the firmware of a Raspberry Pi sets, now and since it was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The state of a machine at one moment. Sizes are in bytes, `started` in seconds since the epoch.

    `undervoltage` and `throttled` are about now, `supply_was_low` and `was_throttled` about the time since the start.
    `disk_errors` counts those that ext4 has noted on all its disks, also before the start.
    """

    started: float
    disk_total: int
    disk_free: int
    is_read_only: bool
    celsius: float | None = None
    undervoltage: bool | None = None
    throttled: bool | None = None
    supply_was_low: bool | None = None
    was_throttled: bool | None = None
    memory_total: int | None = None
    memory_available: int | None = None
    disk_errors: int | None = None
    has_watchdog: bool = False


def read_machine(state: Path, now: float, root: Path = Path("/")) -> Readings:
    """Read the machine whose state directory is `state`. Raises OSError if that is gone."""
    disk, memory, flags = os.statvfs(state), _memory(root), _firmware(root)
    supply = _supply_alarm(root)
    if flags is not None:
        supply = bool(supply) or bool(flags & _LOW_NOW)
    return Readings(
        started=now - time.clock_gettime(time.CLOCK_BOOTTIME),
        disk_total=disk.f_blocks * disk.f_frsize,
        disk_free=disk.f_bavail * disk.f_frsize,
        is_read_only=_is_read_only(root, state),
        celsius=max(_temperatures(root), default=None),
        undervoltage=supply,
        throttled=None if flags is None else bool(flags & _SLOWED_NOW),
        supply_was_low=None if flags is None else bool(flags & _LOW_BEFORE),
        was_throttled=None if flags is None else bool(flags & _SLOWED_BEFORE),
        memory_total=None if memory is None else memory[0],
        memory_available=None if memory is None else memory[1],
        disk_errors=_disk_errors(root),
        has_watchdog=bool(_found(root, "sys/class/watchdog/watchdog*")),
    )


def _found(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern))[:_MOST_SENSORS]


def _text(file: Path) -> str:
    """Return the text of a file of the kernel, empty if there is none."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_LONGEST).strip()
    except OSError:
        return ""


def _number(text: str, base: int = 10) -> int | None:
    try:
        return int(text, base)
    except ValueError:
        return None


def _temperatures(root: Path) -> Iterator[float]:
    files = [
        *_found(root, "sys/class/thermal/thermal_zone*/temp"),
        *(
            file
            for folder in _found(root, "sys/class/hwmon/hwmon*")
            if _text(folder / "name") in _CPU_SENSORS
            for file in _found(folder, "temp*_input")
        ),
    ]
    for file in files:
        value = _number(_text(file))
        if value is not None and _COLDEST < value / 1000 < _HOTTEST:
            yield value / 1000


def _supply_alarm(root: Path) -> bool | None:
    for folder in _found(root, "sys/class/hwmon/hwmon*"):
        if _text(folder / "name") == "rpi_volt":
            value = _number(_text(folder / "in0_lcrit_alarm"))
            return None if value is None else value != 0
    return None


def _firmware(root: Path) -> int | None:
    return _number(_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled"), 16)


def _memory(root: Path) -> tuple[int, int] | None:
    """Return the memory of the machine, and what programs can have of it.

    A service without sight of /proc/meminfo (`ProcSubset=pid`) finds as much in the files of the kernel's nodes.
    """
    sizes: Counter[str] = Counter()
    for file in (root / "proc/meminfo", *_found(root, "sys/devices/system/node/node*/meminfo")):
        for name, size in _SIZE.findall(_text(file)):
            sizes[name] += int(size) * 1024
        if "MemAvailable" in sizes:
            break
    if not sizes["MemTotal"]:
        return None
    return sizes["MemTotal"], sizes["MemAvailable"] or sum(sizes[name] for name in _FOR_PROGRAMS)


def _disk_errors(root: Path) -> int | None:
    counts = [_number(_text(file)) for file in _found(root, "sys/fs/ext4/*/errors_count")]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _is_read_only(root: Path, state: Path) -> bool:
    """Return True if the file system of the state directory takes no writes. Of two mounts, the later one counts."""
    longest, found = -1, False
    for line in _text(root / "proc/self/mounts").splitlines():
        words = line.split(" ")
        if len(words) < 4:
            continue
        place = Path(words[1].replace("\\040", " "))
        if state.absolute().is_relative_to(place) and len(place.parts) >= longest:
            longest, found = len(place.parts), "ro" in words[3].split(",")
    return found
