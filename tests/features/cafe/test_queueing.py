"""The queueing discipline of seats at a real interface, as `tc` shows it, through each change that sessions make."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

pytestmark = pytest.mark.root

MBIT = 1_000_000
CHANGES: dict[str, Sequence[Mapping[int, int]]] = {
    "a session with a limit ends": ({1: 8 * MBIT, 2: 8 * MBIT}, {1: 8 * MBIT}),
    "a session of a kind without a limit begins at the first seat": ({1: 8 * MBIT, 2: 8 * MBIT}, {2: 8 * MBIT}),
    "all sessions have no limit": ({1: 8 * MBIT, 2: 8 * MBIT}, {}),
    "no session has a limit yet": ({}, {1: 8 * MBIT}),
    "a seat gets another kind of session": ({1: 8 * MBIT, 2: 8 * MBIT}, {1: 8 * MBIT, 2: 20 * MBIT}),
    "a seat loses its limit and gets it back": (
        {1: 8 * MBIT, 2: 20 * MBIT},
        {1: 8 * MBIT},
        {1: 8 * MBIT, 2: 20 * MBIT},
    ),
    "everything changes at once": ({1: 8 * MBIT, 2: 20 * MBIT, 3: 5 * MBIT}, {2: 8 * MBIT, 4: 20 * MBIT}),
    "the same limits again": ({1: 8 * MBIT}, {1: 8 * MBIT}),
    "more than ten gigabits, and hardly any": ({1: 40_000 * MBIT, 2: MBIT // 10}, {2: MBIT // 10}),
}
PROGRAM = """
import ast, subprocess, sys
from hedgerow.features.cafe import queueing
for rates in ast.literal_eval(sys.argv[1]):
    queueing.limit_interface("seats", rates)
    print(subprocess.run(["tc", "class", "show", "dev", "seats"], capture_output=True, text=True, check=True).stdout, end="---")
queueing.free_interface("seats")
print(subprocess.run(["tc", "class", "show", "dev", "seats"], capture_output=True, text=True, check=True).stdout, end="")
"""  # noqa: E501
UNITS = {"Kbit": 1000, "Mbit": MBIT, "Gbit": 1000 * MBIT, "bit": 1}


@pytest.mark.parametrize("change", CHANGES)
def test_an_interface_has_exactly_the_limits_of_the_sessions(change: str) -> None:
    if not all(map(shutil.which, ("unshare", "ip", "tc"))):
        pytest.skip("unshare, ip and tc are not installed")
    link = "ip link add seats type veth peer name far && ip link set seats up && ip link set far up"
    command = (
        "unshare",
        "--net",
        "sh",
        "-c",
        f'{link} && exec "$@"',
        "sh",
        sys.executable,
        "-c",
        PROGRAM,
        repr(CHANGES[change]),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("network namespaces are not permitted here")
    assert done.returncode == 0, done.stderr
    *after_each, freed = done.stdout.split("---")
    assert [_rates(shown) for shown in after_each] == [dict(rates) for rates in CHANGES[change]]
    assert not _rates(freed)


def _rates(shown: str) -> dict[int, int]:
    """Return the classes' rates in bit/s by number, from the output of `tc class show`."""
    found = re.findall(r"class htb 5ea7:([0-9a-f]+) .*?rate (\d+)([A-Z]?bit) ceil \2\3 ", shown)
    return {int(number, 16): int(value) * UNITS[unit] for number, value, unit in found}
