"""What belongs to the home by this machine's routes, in a network namespace."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

READ = """
import json
from ipaddress import ip_network
from pathlib import Path
from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.gateway.controller import build_gateway
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.network import interfaces
from hedgerow.policies.network import NetworkSettings

def local(lan, *named):
    network = NetworkSettings(lan=tuple(map(ip_network, named))) if named else NetworkSettings()
    gateway = build_gateway(GatewayConfig((lan,)), SETTINGS, network)
    return gateway.one_armed, [str(each) for each in gateway.local if not each.is_link_local]

SETTINGS = Settings(Path("/nonexistent"), None, *[Endpoint("0.0.0.0", 53)] * 3)
print(json.dumps([sorted(interfaces.uplinks()), local("lan0"), local("wan0", "192.168.1.0/24", "192.168.20.0/24", "192.168.0.0/16", "fd00::/8")]))
"""  # noqa: E501
LINKS = """
for name in lan0 wan0 wan1 tun0; do ip link add dev $name type bridge && ip link set dev $name up; done
ip address add 192.168.1.2/24 dev lan0
ip address add 192.168.7.2/24 dev wan0
ip address add 192.168.8.2/24 dev wan1
ip address add 10.8.0.2/24 dev tun0
"""
ONE_PROVIDER = "ip route add default via 192.168.7.1\n"
CASES = {
    "OpenVPN": ONE_PROVIDER + "ip route add 0.0.0.0/1 via 10.8.0.1; ip route add 128.0.0.0/1 via 10.8.0.1",
    "6in4": ONE_PROVIDER + "ip -6 route add 2000::/3 dev tun0",
    "NAT64": ONE_PROVIDER + "ip -6 route add 64:ff9b::/96 dev tun0",
    "WireGuard in a table of its own": ONE_PROVIDER + "ip route add default dev tun0 table 51820",
    "two providers": "ip route add default nexthop via 192.168.7.1 nexthop via 192.168.8.1 nexthop via 10.8.0.1",
}


def read(*commands: str) -> list[list[object]]:
    script = f'set -e\n{"".join(commands)}\nexec {sys.executable} -c "$1"'
    words = ["unshare", "--net", "sh", "-c", script, "sh", READ]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@pytest.mark.root
@pytest.mark.parametrize("routes", CASES.values(), ids=CASES)
def test_what_leads_to_the_internet_is_outside(routes: str) -> None:
    uplinks, behind_two, one_armed = read(LINKS, routes)
    outer = {"tun0", "wan0", "wan1"} if "192.168.8.1" in routes else {"tun0", "wan0"}
    assert set(uplinks) == outer
    inner = ["192.168.1.0/24"] if "wan1" in outer else ["192.168.1.0/24", "192.168.8.0/24"]
    assert behind_two == [False, inner]
    ours = sorted([*inner, "192.168.7.0/24"])
    assert one_armed == [True, [*ours, "192.168.20.0/24"]], "the networks that the policy names"
