"""The house: a router that runs Hedgerow as users start it, devices on a LAN, and an uplink to the internet."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from small_internet.forked import ForkedProcess, run_command
from small_internet.running import wait_until

from lab.internet import OWN_RESOLVER, PEER_NAME, VPN_NAME, Internet, internet
from lab.spaces import Space, connect, spaces
from lab.vpn import Vpn, vpn

LAN4, LAN6 = "192.168.50", "2600:9000:5400:"
ROUTER_OUTSIDE = "100.64.0.2"
BOX = 254
"""The provider's router, behind Hedgerow's bridge."""
MACS = {
    "tablet": "02:00:00:00:50:0a",
    "laptop": "02:00:00:00:50:0b",
    "phone": "02:00:00:00:50:0c",
    "parent": "02:00:00:00:50:0d",
}
"""tablet: Mia's, aged nine. laptop: Tom's, aged fifteen. phone: an unknown device. parent: an adult's."""
NUMBERS = {"tablet": 10, "laptop": 11, "phone": 12, "parent": 13}

POLICY = f"""
network:
  timezone: UTC
  country: GB
  lists: starter
  lan: [{LAN4}.0/24, "{LAN6}:/64", "fe80::/10"]
  upstream: [9.9.9.9]
  wpad: [lan]
people:
  mia: {{age: 9, devices: [tablet]}}
  tom: {{age: 15, devices: [laptop]}}
  ana: {{profile: adult, devices: [parent]}}
devices:
  tablet: {{mac: "{MACS["tablet"]}"}}
  laptop: {{mac: "{MACS["laptop"]}"}}
  parent: {{mac: "{MACS["parent"]}"}}
lists:
  - {{category: adult, path: adult.txt}}
"""

HOST_RULES = """
table ip host_nat {
    chain out {
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade
    }
}
table inet host_filter {
    chain forward {
        type filter hook forward priority filter
        ct state established,related accept
    }
}
"""
"""The router's own rules, which Hedgerow must never touch."""


@dataclass
class House:
    """The whole house. `hedgerow` runs a command of the installed program on the router."""

    router: Space
    devices: dict[str, Space]
    net: Internet
    vpn: Vpn
    folder: Path
    options: tuple[str, ...] = ()
    process: ForkedProcess | None = None
    gateway: int = 1
    """The number of the devices' router: another machine than `router` where that is a bridge."""

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def policy(self) -> Path:
        return self.folder / "hedgerow.yaml"

    def hedgerow(self, *words: str, must: bool = True) -> subprocess.CompletedProcess[str]:
        done = run_command(
            ["hedgerow", *words, "--state", str(self.state)],
            environment=os.environ,
            timeout=60,
            network=self.router.network,
            files=self.router.files,
        )
        assert done.returncode == 0 or not must, f"hedgerow {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def start(self) -> None:
        """Start `hedgerow up` and wait until it is ready."""
        words = ["up", "--policy", str(self.policy), "--state", str(self.state), "--transparent", "0.0.0.0:3129"]
        words += ["--upstream-ca", str(self.net.authority.root)]
        words += self.options
        self.process = self.router.start_hedgerow(*words, stderr=self.folder / "hedgerow.log")
        assert self.process.stdout
        watchdog = threading.Timer(150, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
            watchdog.join()
        assert line.startswith("hedgerow ready"), self.log

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(60)

    @property
    def log(self) -> str:
        return (self.folder / "hedgerow.log").read_text(errors="replace")[-6000:]

    @property
    def steers_pages(self) -> bool:
        """True if web traffic is redirected to the proxy."""
        return '"pages"' in self.hedgerow("gateway", "plan", "--json").stdout

    def meet(self, who: str) -> None:
        """Let Hedgerow see a device: until it knows the MAC address of an IP address, half a second at most, the device
        is unknown.

        The gateway's process, which sees the same at the same time as others, puts what it knows into the table.

        Where another device has worn that address, the kernel would ask half a minute later who has it now. It is made
        to forget.
        """
        device = self.devices[who]
        self._forget_others_at(device)
        wait_until(lambda: self._has_met(device), 60, f"{who} is known")

    def _forget_others_at(self, device: Space) -> None:
        """Let the router forget which other device had an address of this one."""
        (link,) = json.loads(device.must("ip", "-j", "address", "show", "dev", "eth0"))
        own = {info["local"] for info in link["addr_info"]}
        for entry in json.loads(self.router.must("ip", "-j", "neigh")):
            if entry["dst"] in own and entry.get("lladdr", link["address"]) != link["address"]:
                self.router.run("ip", "neigh", "del", entry["dst"], "dev", entry["dev"])

    def _has_met(self, device: Space) -> bool:
        for server in (f"{LAN4}.1", f"{LAN6}:1"):
            device.run("kdig", "+time=1", "+retry=0", f"@{server}", "www.school.example")
        (link,) = json.loads(device.must("ip", "-j", "address", "show", "dev", "eth0"))
        own = [info for info in link["addr_info"] if info["scope"] == "global"]
        behind = {
            entry["dst"]: entry["lladdr"]
            for entry in json.loads(self.router.must("ip", "-j", "neigh"))
            if "lladdr" in entry
        }
        met = [info for info in own if info["local"] in behind]
        families = [{info["family"] for info in infos} for infos in (own, met)]
        owners = [f"{info['local']} . {link['address']}" for info in met if info["local"].startswith(LAN4)]
        return (
            families[0] == families[1]
            and all(behind[info["local"]] == link["address"] for info in met)
            and self._lists("owners_v4", owners)
        )

    def _lists(self, name: str, entries: Sequence[str]) -> bool:
        """True if a set of the gateway's table, if there is one, has these elements."""
        listed = self.router.run("nft", "list", "set", "inet", "hedgerow", name)
        return listed.returncode != 0 or all(entry in listed.stdout for entry in entries)

    def resolve(self, who: str, *names: str) -> None:
        """Look up names on a guarded device until it is admitted to their addresses, if the gateway admits by name.

        A name that is closed to the device has no address.
        """
        device = self.devices[who]
        mac = json.loads(device.must("ip", "-j", "link", "show", "dev", "eth0"))[0]["address"]

        def is_admitted() -> bool:
            found = [
                device.run("kdig", "+short", "+time=2", "+retry=2", f"@{LAN4}.1", name, kind).stdout
                for name in names or (PEER_NAME, VPN_NAME, OWN_RESOLVER)
                for kind in ("A", "AAAA")
            ]
            addresses = [line for line in "".join(found).split() if line.count(".") == 3 and not line.endswith(".")]
            entries = [f"{mac} . {address}" for address in addresses if address != "0.0.0.0"]
            return all(found[::2]) and self._lists("admitted_v4", entries)

        wait_until(is_admitted, 60, f"{who} is admitted")

    def rules(self) -> str:
        """Return the router's ruleset with counters, without Hedgerow's table."""
        tables = [
            line.split(None, 1)[1]
            for line in self.router.must("nft", "list", "tables").splitlines()
            if line != "table inet hedgerow"
        ]
        return "\n".join(self.router.must("nft", "list", "table", *table.split()) for table in tables)


def command() -> list[str]:
    return [sys.executable, "-P", "-c", "from hedgerow.app.cli import main; main()"]


@contextlib.contextmanager
def house(
    folder: Path, lan: str = "lan", options: tuple[str, ...] = (), *, policy: str = POLICY, bridged: bool = False
) -> Iterator[House]:
    """Build the house with its devices and a running Hedgerow (`up` with these `options`), without the gateway.

    `bridged`: Hedgerow's machine is no router but a bridge between the devices and the provider's box, which is their
    router.
    """
    folder.chmod(0o755)
    with spaces("internet", "vpn", "router", *MACS) as made:
        outside, peer, router, *rest = made
        devices = dict(zip(MACS, rest, strict=True))
        (_bridge if bridged else _wire_up)(outside, router, devices, lan)
        for name, device in devices.items():
            (folder / f"{name}.resolv.conf").write_text(f"nameserver {LAN4}.1\noptions timeout:2 attempts:1\n")
            device.files["/etc/resolv.conf"] = folder / f"{name}.resolv.conf"
        (folder / "hedgerow.yaml").write_text(policy)
        (folder / "adult.txt").write_text("adult.example\n")
        (folder / "dnsmasq.leases").touch()
        router.files["/var/lib/misc"] = folder  # dnsmasq's lease directory
        # The tunnel's socket has the same name in every house.
        (folder / "wireguard").mkdir()
        Path("/run/wireguard").mkdir(mode=0o755, exist_ok=True)
        router.files["/run/wireguard"] = folder / "wireguard"
        whole = House(router, devices, internet(outside, folder), vpn(peer, outside, folder), folder, options)
        whole.gateway = BOX if bridged else 1
        whole.start()
        try:
            yield whole
        except BaseException as error:
            error.add_note(f"--- hedgerow ---\n{whole.log}")
            raise


def _wire_up(outside: Space, router: Space, devices: dict[str, Space], lan: str) -> None:
    connect(outside, "eth0", router, "wan")
    outside.ip("address", "add", "100.64.0.1/24", "dev", "eth0")
    outside.ip("address", "add", "2600:9000:5500::1/64", "dev", "eth0", "nodad")
    outside.ip("route", "add", f"{LAN6}:/64", "via", "2600:9000:5500::2")
    router.ip("address", "add", "100.64.0.2/24", "dev", "wan")
    router.ip("address", "add", "2600:9000:5500::2/64", "dev", "wan", "nodad")
    router.ip("route", "add", "default", "via", "100.64.0.1")
    router.ip("route", "add", "default", "via", "2600:9000:5500::1")
    router.ip("link", "add", lan, "type", "bridge")
    router.ip("address", "add", f"{LAN4}.1/24", "dev", lan)
    router.ip("address", "add", f"{LAN6}:1/64", "dev", lan, "nodad")
    router.ip("link", "set", lan, "up")
    router.must("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    done = router.run("nft", "-f", "-", text=HOST_RULES)
    assert done.returncode == 0, done.stderr
    _plug_in(router, devices, lan, 1)


def _bridge(outside: Space, middle: Space, devices: dict[str, Space], lan: str) -> None:
    """Make Hedgerow's machine a bridge with the LAN's usual router address. The router is the provider's, at .254."""
    middle.ip("link", "add", lan, "type", "bridge")
    connect(outside, "eth0", middle, "wan")
    middle.ip("link", "set", "wan", "master", lan)
    outside.ip("address", "add", f"{LAN4}.{BOX}/24", "dev", "eth0")
    outside.ip("address", "add", f"{LAN6}:{BOX}/64", "dev", "eth0", "nodad")
    middle.ip("address", "add", f"{LAN4}.1/24", "dev", lan)
    middle.ip("address", "add", f"{LAN6}:1/64", "dev", lan, "nodad")
    middle.ip("link", "set", lan, "up")
    middle.ip("route", "add", "default", "via", f"{LAN4}.{BOX}")
    middle.ip("route", "add", "default", "via", f"{LAN6}:{BOX}")
    _plug_in(middle, devices, lan, BOX)


def _plug_in(router: Space, devices: dict[str, Space], lan: str, gateway: int) -> None:
    for name, device in devices.items():
        connect(router, name, device, "eth0", MACS[name])
        router.ip("link", "set", name, "master", lan)
        give_address(device, NUMBERS[name], gateway)


def give_address(device: Space, number: int, gateway: int = 1) -> None:
    """Replace a device's IPv4 and IPv6 addresses, as a user would by hand."""
    device.ip("address", "flush", "dev", "eth0", "scope", "global")
    device.ip("address", "add", f"{LAN4}.{number}/24", "dev", "eth0")
    device.ip("address", "add", f"{LAN6}:{number}/64", "dev", "eth0", "nodad")
    device.ip("route", "replace", "default", "via", f"{LAN4}.{gateway}")
    device.ip("-6", "route", "replace", "default", "via", f"{LAN6}:{gateway}")
