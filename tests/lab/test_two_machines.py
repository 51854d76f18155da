"""Two machines in the house, as `docs/install/two-machines.md` shows them: both addresses by DHCP, and one address for
both.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from lab import House, Space, spaces
from lab.house import LAN4
from lab.spaces import connect
from small_internet.running import wait_until

pytestmark = pytest.mark.root
PAGE = (Path(__file__).parents[2] / "docs/install/two-machines.md").read_text()
HERE = {"192.168.1.2": f"{LAN4}.1", "192.168.1.3": f"{LAN4}.2", "192.168.1.4": f"{LAN4}.4"}
ROUTER, OTHER, VIRTUAL = HERE.values()
CLIENT = """#!/bin/sh
[ "$1" = bound ] && echo "$dns"
exit 0
"""


def shown(pattern: str) -> str:
    """Return what the page shows, with the addresses of this house."""
    found = re.search(pattern, PAGE, re.DOTALL)
    assert found
    return re.sub("|".join(map(re.escape, HERE)), lambda address: HERE[address[0]], found[1])


@pytest.fixture
def other(house: House) -> Iterator[House]:
    """A second machine with Hedgerow in the house."""
    if shutil.which("keepalived", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("keepalived is not installed")
    with spaces("other") as (space,):
        connect(house.router, "other", space, "eth0")
        house.router.ip("link", "set", "other", "master", "lan")
        space.ip("address", "add", f"{OTHER}/24", "dev", "eth0")
        folder = house.folder / "other"
        folder.mkdir()
        for file in (house.policy, house.folder / "adult.txt"):
            shutil.copy(file, folder)
        second = House(space, house.devices, house.net, house.vpn, folder)
        second.start()
        yield second
        second.stop()


def blocks(device: Space, server: str) -> bool:
    return device.run("kdig", "+short", "+time=1", "+retry=0", f"@{server}", "adult.example").stdout == "0.0.0.0\n"


def test_devices_get_both_addresses_and_one_moves_to_the_machine_that_answers(house: House, other: House) -> None:
    phone, script = house.devices["phone"], other.folder / "udhcpc.sh"
    script.write_text(CLIENT)
    script.chmod(0o755)
    words = (
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--interface=lan",
    )
    option = shown(r"\n(dhcp-option=\S+)")
    places = (f"--dhcp-range={LAN4}.60,{LAN4}.69,2m", f"--dhcp-leasefile={other.folder}/leases", "--no-ping")
    server = house.router.start(*words, "--bind-interfaces", "--dhcp-authoritative", *places, f"--{option}")
    try:
        lease = phone.must("busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", str(script), "-t", "20")
    finally:
        server.terminate()
    assert lease.split() == [ROUTER, OTHER]
    for machine in (ROUTER, OTHER):  # a busy machine may be late with its first answer
        wait_until(partial(blocks, phone, machine), 20, f"{machine} blocks")

    def holds(machine: House) -> bool:
        return f" {VIRTUAL}/" in machine.router.must("ip", "address")

    with keepalived(house, other):
        wait_until(
            lambda: holds(other) and blocks(phone, VIRTUAL), 60, "the machine with the higher priority has the address"
        )
        other.router.ip("link", "set", "eth0", "down")
        wait_until(lambda: holds(house) and blocks(phone, VIRTUAL), 60, "the network of that machine is gone")
        other.router.set_up("eth0")
        wait_until(lambda: holds(other) and not holds(house) and blocks(phone, VIRTUAL), 60, "it is back")
        assert other.process
        other.process.kill()
        wait_until(
            lambda: holds(house) and not holds(other) and blocks(phone, VIRTUAL), 60, "only Hedgerow has ended there"
        )
    wait_until(lambda: not holds(house), 10, "the house is as it was")


@contextlib.contextmanager
def keepalived(house: House, other: House) -> Iterator[None]:
    """Run keepalived on both machines with the configuration that the page shows.

    At its end it gives back the address.
    """
    config, started = shown(r"```\n(global_defs.*?)```"), []
    for machine, interface, priority in ((other, "eth0", 150), (house, "lan", 100)):
        file = other.folder / f"keepalived-{priority}.conf"
        file.write_text(
            config.replace("interface eth0", f"interface {interface}").replace("priority 150", f"priority {priority}")
        )
        file.chmod(0o644)
        pids = [f"--{name}={file}.{name}" for name in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")]
        words = ("keepalived", "-n", "-P", "-f", str(file), *pids, "--log-console")
        started.append(machine.router.start(*words, stderr=file.with_suffix(".log")))
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait(60)
