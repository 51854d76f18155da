"""A WireGuard peer on the internet and its clients, in user space, so that no kernel module is needed."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

from lab.spaces import Space, connect

VPN4, VPN6 = "45.55.20.2", "2600:9000:5301::2"
_PORT = 51820
_MORE_PORTS = (53, 123, 443, 40000)
_PATIENCE_S = 12.0
"""Seconds after which a lost first message is sent again (the WireGuard paper, section 6.1, Rekey-Timeout)."""

# The sockets of all namespaces are in one folder, and a peer that ends leaves its own behind: no name is used twice.
_NUMBERS = itertools.count(1)


@dataclass
class Vpn:
    """The peer, at its usual port and at other common ones."""

    space: Space
    folder: Path
    interface: str

    def carries(self, device: Space, address: str, port: int) -> bool:
        """Return True if `device` completes a handshake with the peer at `address` and `port`."""
        number = next(_NUMBERS)
        name = f"wg{os.getpid()}-{number}"
        private, public = _new_keys(device, self.folder / f"{name}.key")
        self.space.must(
            "wg", "set", self.interface, "peer", public, "allowed-ips", f"10.99.{number >> 8}.{number & 255}/32"
        )
        process = device.start("wireguard-go", "-f", name)
        try:
            _wait_for_interface(name)
            endpoint = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            peer = (
                "peer",
                self.public,
                "endpoint",
                endpoint,
                "allowed-ips",
                "10.99.0.1/32",
                "persistent-keepalive",
                "1",
            )
            device.must("wg", "set", name, "private-key", str(private), *peer)
            device.ip("link", "set", name, "up")
            return _has_handshake(device, name)
        finally:
            process.terminate()
            process.wait(60)

    @property
    def public(self) -> str:
        return self.space.must("wg", "show", self.interface, "public-key").strip()


def vpn(space: Space, outside: Space, folder: Path) -> Vpn:
    """Connect `space` to the internet and start the peer there."""
    connect(outside, "vpn", space, "eth0")
    outside.ip("address", "add", "45.55.20.1/24", "dev", "vpn")
    outside.ip("address", "add", "2600:9000:5301::1/64", "dev", "vpn", "nodad")
    outside.must("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    space.ip("address", "add", f"{VPN4}/24", "dev", "eth0")
    space.ip("address", "add", f"{VPN6}/64", "dev", "eth0", "nodad")
    space.ip("route", "add", "default", "via", "45.55.20.1")
    space.ip("-6", "route", "add", "default", "via", "2600:9000:5301::1")
    ports = ", ".join(map(str, _MORE_PORTS))
    chain = f"type nat hook prerouting priority dstnat; udp dport {{ {ports} }} redirect to :{_PORT};"
    done = space.run("nft", "-f", "-", text=f"table inet ports {{\nchain in {{\n{chain}\n}}\n}}\n")
    assert done.returncode == 0, done.stderr
    interface = f"wg{os.getpid()}-{next(_NUMBERS)}"
    private, _public = _new_keys(space, folder / f"{interface}.key")
    space.start("wireguard-go", "-f", interface)
    _wait_for_interface(interface)
    space.must("wg", "set", interface, "private-key", str(private), "listen-port", str(_PORT))
    space.ip("address", "add", "10.99.0.1/16", "dev", interface)
    space.ip("link", "set", interface, "up")
    return Vpn(space, folder, interface)


def _new_keys(space: Space, path: Path) -> tuple[Path, str]:
    """Create a key pair. Returns the private key's file and the public key."""
    path.touch(mode=0o600)
    path.write_text(space.must("wg", "genkey"))
    return path, space.run("wg", "pubkey", text=path.read_text()).stdout.strip()


def _wait_for_interface(name: str) -> None:
    deadline = time.monotonic() + 60
    while not Path(f"/var/run/wireguard/{name}.sock").exists():
        assert time.monotonic() < deadline, f"wireguard-go did not make {name}"
        time.sleep(0.05)


def _has_handshake(space: Space, name: str) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if int(space.must("wg", "show", name, "latest-handshakes").split()[-1]):
            return True
        time.sleep(0.1)
    return False
