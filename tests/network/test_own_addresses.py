"""Under which addresses this machine is reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hedgerow.network.own_addresses import OwnAddresses, addresses_on, gateway_addresses, own_addresses


def test_the_loopback_is_ours() -> None:
    assert "127.0.0.1" in own_addresses()


def test_they_are_looked_up_again_after_a_while() -> None:
    given: list[Sequence[str]] = [["192.0.2.1"], ["192.0.2.2"]]
    own = OwnAddresses(lambda: given.pop(0), seconds=3600)
    assert own() == {"192.0.2.1"}
    assert own() == {"192.0.2.1"}
    own = OwnAddresses(lambda: given.pop(0) if given else [], seconds=0)
    assert own() == {"192.0.2.2"}
    assert own() == set()


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
wg0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
NEIGHBOURS = """IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         44:4e:6d:00:00:01     *        eth0
192.168.1.10     0x1         0x2         02:00:00:00:00:10     *        eth0
"""


def test_the_default_gateway_is_known_by_its_addresses(tmp_path: Path) -> None:
    assert gateway_addresses(tmp_path) == frozenset(), "a machine without routes"
    (tmp_path / "route").write_text(ROUTES)
    assert gateway_addresses(tmp_path) == {"192.168.1.1"}
    (tmp_path / "arp").write_text(NEIGHBOURS)
    assert gateway_addresses(tmp_path) == {"192.168.1.1", "44:4e:6d:00:00:01"}


LOCAL = """Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.2
        /32 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.168.1.1
        /32 host LOCAL
"""
ROUTER_ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wan\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
wan\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
lan\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
SIX = """fd000000000000000000000000000001 03 40 00 80      lan
20010db8000000000000000000000002 02 40 00 80      wan
"""


def test_the_addresses_of_some_interfaces(tmp_path: Path) -> None:
    for name, text in {"fib_trie": LOCAL, "route": ROUTER_ROUTES, "if_inet6": SIX}.items():
        (tmp_path / name).write_text(text)
    assert set(addresses_on(["lan"], tmp_path)) == {"192.168.1.1", "fd00::1"}
    assert set(addresses_on(["wan"], tmp_path)) == {"10.0.0.2", "2001:db8::2"}
    assert addresses_on(["gone"], tmp_path) == []
