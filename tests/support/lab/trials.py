"""Many bypasses tried side by side on one device: nearly all of their time is spent waiting for an answer that must not
come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.aims import reached
from lab.attempts import Attempt
from lab.house import House

TOGETHER = 20
_SLOWEST = ("wireguard", "openvpn", "Chromium", "iodine", "ssh")
"""Tools that wait longest. They begin first."""
_LIMITED = (("ping", "raw packets"), ("datagrams",))
"""Tools whose packets share a limit: those of ICMP, and those of the time.

One at a time, each has all of it, and measures its own.
"""


def unexpected(house: House, who: str, expected: Mapping[Attempt, bool]) -> list[str]:
    """Try attempts on a device, and return those with another result than expected.

    Those that change the device itself run alone.
    """
    device = house.devices[who]

    def are_wrong(attempts: Sequence[Attempt]) -> list[str]:
        return [
            each.what for each in attempts if reached(each.aim, house, device, hoped=expected[each]) != expected[each]
        ]

    alone = [attempt for attempt in expected if attempt.tool.startswith("ip ")]
    limited = [[attempt for attempt in expected if attempt.tool.startswith(tools)] for tools in _LIMITED]
    rest = [attempt for attempt in expected if attempt not in alone and not any(attempt in each for each in limited)]
    rest.sort(key=lambda attempt: not attempt.tool.startswith(_SLOWEST))
    with ThreadPoolExecutor(TOGETHER) as threads:
        found = threads.map(are_wrong, [*limited, *([attempt] for attempt in rest)])
        wrong = [what for each in found for what in each]
    return wrong + are_wrong(alone)
