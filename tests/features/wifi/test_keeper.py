"""The Wi-Fi's process on a machine with a cable in place of the radio: nothing is open that should not be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KEEPER = """
import json, subprocess, sys, time
from pathlib import Path
from hedgerow.features.wifi.keeper import Wanted, WifiKeeper
from hedgerow.features.wifi.radios import Radio
from hedgerow.features.wifi.settings import WifiSettings

def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout

def look(keeper, wanted):
    report = keeper.step(wanted, time.monotonic())
    rules = run("nft", "list", "ruleset")
    return {"state": report.state, "reason": report.reason, "network": report.network, "rules": rules}

state, folder = Path(sys.argv[1]), Path(sys.argv[2])
run("ip", "link", "add", "wlan0", "type", "veth", "peer", "name", "tablet")
run("ip", "link", "add", "wan", "type", "veth", "peer", "name", "router")
run("ip", "address", "add", sys.argv[3], "dev", "wan")
keeper = WifiKeeper(state, folder, lambda: [Radio("phy0", "wlan0", opens=True)])
wanted, found = Wanted(WifiSettings("Children"), "GB"), []
found.append(look(keeper, None))
found.append(look(keeper, wanted))
found.append(look(keeper, wanted) | {"addresses": run("ip", "-brief", "-4", "address", "show", "wlan0")})
run("nft", "add", "table", "inet", "hedgerow")
for _ in range(300):
    found.append(look(keeper, wanted))
    if found[-1]["state"] != "starting":
        break
    time.sleep(0.1)
keeper.close()
print(json.dumps(found))
"""


def steps(tmp_path: Path, router: str) -> list[dict[str, Any]]:
    """Return what was found after each step of a process in a network namespace of its own."""
    state, folder = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    folder.mkdir()
    words = ["unshare", "--net", sys.executable, "-c", KEEPER, str(state), str(folder), router]
    found: list[dict[str, Any]] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return found


@pytest.mark.root
def test_nothing_passes_before_the_gateway_and_nothing_stays_open_without_a_radio(tmp_path: Path) -> None:
    off, first, second, *_, last = steps(tmp_path, "10.43.1.7/24")
    assert (off["state"], off["rules"]) == ("off", "")
    for found in (first, second):
        assert found["state"] == "starting"
        assert 'iifname "wlan0" drop' in found["rules"]
        assert found["network"] == "172.29.43.0/24", "the router has the first one"
    assert "172.29.43.1/24" in second["addresses"]
    assert json.loads((tmp_path / "state/gateway.json").read_bytes())["lan"] == ["wlan0"]
    assert last["state"] == "failed", "a cable is not a radio, and hostapd may be missing"
    assert last["reason"]
    assert "hedgerow_wifi" not in last["rules"]
