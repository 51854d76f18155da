"""A machine in the web server of tests: a Raspberry Pi, as files of its kernel below a folder."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from web_server import NOW

from hedgerow.features.machine.watch import Machine, machine_of

FILES = {
    "sys/class/thermal/thermal_zone0/temp": "61234\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/class/watchdog/watchdog0/identity": "Broadcom BCM2835 Watchdog timer\n",
    "sys/fs/ext4/mmcblk0p2/errors_count": "0\n",
    "proc/meminfo": "MemTotal:     948000 kB\nMemAvailable:     512000 kB\nHugePages_Total: 0\n",
}


def write_machine(root: Path, **changed: str) -> None:
    """Write the files of a machine, some of which say something else."""
    for name, text in (FILES | changed).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def parts(**_core: Any) -> dict[Any, Any]:
    """Return the machine, read once."""
    with tempfile.TemporaryDirectory() as folder:
        write_machine(Path(folder))
        machine = Machine(Path(folder), Path(folder), lambda: NOW, kept_s=math.inf)
        machine.read()
    return {machine_of: machine}
