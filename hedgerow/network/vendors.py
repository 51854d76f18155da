"""Who made a device, by its MAC address: the registers of the IEEE as Debian's package `ieee-data` keeps them up to date.

They are read only when a device is new, and nothing of them is kept in memory but the answers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

REGISTERS = (("oui36.csv", 9), ("mam.csv", 7), ("oui.csv", 6))
"""The files with the hexadecimal digits that name a maker there; the longer decide, since they share a shorter one."""
PLACE = Path("/usr/share/ieee-data")


def is_random(mac: str) -> bool:
    """Whether a device has made its address up, as phones do for each Wi-Fi: the bit for local administration (IEEE 802, clause 8.4).

    >>> is_random("da:a1:19:00:00:01"), is_random("00:16:3e:00:00:01")
    (True, False)
    """
    return bool(int(mac[:2], 16) & 2)


class Vendors:
    """Looks makers up, each device once. `vendor` may read some megabytes: call it from a thread."""

    def __init__(self, place: Path = PLACE) -> None:
        self._place = place
        self._found: dict[str, str] = {}

    def vendor(self, mac: str) -> str:
        """The maker's name; empty for a random address, and where the registers do not have it or are not installed."""
        if is_random(mac):
            return ""
        if mac not in self._found:
            if len(self._found) >= 4096:
                self._found.clear()
            self._found[mac] = self._look_up(mac.replace(":", "").upper())
        return self._found[mac]

    def _look_up(self, digits: str) -> str:
        for name, length in REGISTERS:
            try:
                with (self._place / name).open(encoding="utf-8", errors="replace", newline="") as file:
                    found = _maker(file, digits[:length])
            except OSError:
                continue
            # Whoever has a part only of such a block stands in the register of the parts.
            if found and found != "IEEE Registration Authority":
                return found
        return ""


def _maker(lines: Iterable[str], prefix: str) -> str:
    """The organisation in a register with the columns Registry, Assignment, Organization Name, Organization Address."""
    for row in csv.reader(line for line in lines if prefix in line):
        if len(row) > 2 and row[1] == prefix:
            return " ".join(row[2].split())[:60]
    return ""
