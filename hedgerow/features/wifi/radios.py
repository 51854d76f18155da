"""Radios of this machine, as `iw phy` lists them and the kernel names their interfaces."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 30
_CHANNELS = {2412: 1, 2437: 6, 2462: 11}
"""The channels that do not overlap in any country, by their frequency in MHz."""
_REACH_MHZ = 20


class RadioError(Exception):
    """A program that the radio needs is missing or failed. The message is one plain sentence."""


@dataclass(frozen=True, slots=True)
class Radio:
    """A radio with its first interface. `opens`: it can be an access point at 2.4 GHz."""

    phy: str
    interface: str
    opens: bool


def parse_phys(text: str) -> dict[str, bool]:
    """Return, for each radio of `iw phy`, if it can be an access point at 2.4 GHz.

    >>> parse_phys("Wiphy phy0\\n\\tSupported interface modes:\\n\\t\\t * AP\\n\\t\\t\\t* 2412.0 MHz [1]\\n")
    {'phy0': True}
    """
    found = {}
    for part in re.split(r"^Wiphy (?=\S)", text, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        modes = re.search(r"Supported interface modes:\n((?:\t+ \* .*\n)+)", rest)
        has_access_point = modes is not None and re.search(r"\* AP$", modes[1], re.MULTILINE) is not None
        usable = re.search(r"\* 24\d\d(?:\.\d)? MHz(?!.*disabled)", rest) is not None
        found[name.strip()] = has_access_point and usable
    return found


def find_radios(system: Path = Path("/sys/class/net")) -> list[Radio]:
    """Return the radios that have an interface, in the order of their names. Raises `RadioError` without `iw`."""
    links = {link.parent.name: link.resolve().name for link in sorted(system.glob("*/phy80211"))}
    if not links:
        return []
    phys = parse_phys(run_tool("iw", "phy"))
    first = {phy: interface for interface, phy in reversed(links.items())}
    return [Radio(phy, interface, phys.get(phy, False)) for phy, interface in sorted(first.items())]


def quietest_channel(scan: str) -> int:
    """Return the channel of 1, 6 and 11 with the fewest networks nearby, from `iw dev NAME scan`.

    >>> quietest_channel("freq: 2437\\nfreq: 2412.0\\n")
    11
    """
    heard = [float(text) for text in re.findall(r"^\s*freq: ([\d.]+)", scan, re.MULTILINE)]
    near = Counter(channel for mhz in heard for at, channel in _CHANNELS.items() if abs(mhz - at) < _REACH_MHZ)
    return min(_CHANNELS.values(), key=lambda channel: (near[channel], abs(channel - 6)))


def count_stations(interface: str) -> int:
    """Return the number of devices that are connected to an access point. Raises `RadioError`."""
    return run_tool("iw", "dev", interface, "station", "dump").count("Station ")


def run_tool(*words: str) -> str:
    """Return what a program prints. Raises `RadioError`."""
    program = shutil.which(words[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise RadioError(f"{words[0]} was not found: install the package {words[0]}.")
    try:
        done = subprocess.run(
            [program, *words[1:]], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RadioError(f"{words[0]} did not answer within {_TIMEOUT_S} seconds.") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RadioError(f"{words[0]} refused: {lines[-1]}")
    return done.stdout
