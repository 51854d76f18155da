"""Set elements written to the kernel's nftables, in a network namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.root
PROGRAM = """
import json, subprocess, sys
from hedgerow.network import gateway
from hedgerow.network.access_state import DeviceStates
from hedgerow.network.admissions import Destination, elements_by_set
from hedgerow.network.gateway_rules import Gateway, RedirectPorts
from hedgerow.network.nft_sets import SetWriter

writer = SetWriter()
mac = bytes.fromhex("02000000000a")
first, second, third = (Destination(mac, address) for address in (bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), bytes(15) + b"\\x09"))

def elements():
    sets = gateway.installed_table().sets
    found = {name: [each["elem"] for each in sets[name]] for name in ("admitted_v4", "admitted_v6")}
    return {name: sorted((each["val"]["concat"][1], each["timeout"], each["expires"] > 50) for each in found[name]) for name in found}

def fails(name):
    try:
        writer.write({name: [first.element(60)]})
    except OSError as error:
        return error.errno

seen = [fails("admitted_v4")]
gateway.install(Gateway(("lan",), RedirectPorts(53)), DeviceStates())
generations = [writer.generation() - writer.commits]
writer.write(elements_by_set([(first, 100), (second, 100), (third, 200)]))
writer.write(elements_by_set([(first, 7200)]), elements_by_set([(second, 1)]))
writer.write({}, elements_by_set([(second, 1)]))
generations.append(writer.generation() - writer.commits)
seen += [elements(), fails("no_such_set"), fails("cut_v4")]
gateway.install(Gateway(("lan",), RedirectPorts(53), strict=True), DeviceStates())
seen.append(elements())
generations.append(writer.generation() - writer.commits)
print(json.dumps([seen, generations]))
"""  # noqa: E501


@pytest.fixture
def space() -> Iterator[str]:
    name = f"hedgerow-{os.getpid()}-sets"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_elements_are_added_renewed_removed_and_kept(space: str) -> None:
    words = ["ip", "netns", "exec", space, sys.executable, "-P", "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (without_table, written, no_set, wrong_key, kept), generations = json.loads(done.stdout)
    assert without_table == no_set == 2, "ENOENT"
    assert wrong_key == 22, "EINVAL"
    assert written == {"admitted_v4": [["192.0.2.1", 7200, True]], "admitted_v6": [["::9", 200, True]]}
    assert kept == written, "a new table has the destinations of the old one"
    assert generations[0] == generations[1] < generations[2], "a writer's own changes do not count as others'"
