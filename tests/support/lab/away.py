"""A device of the house that is out: a mobile network on the internet's side, and its end of the tunnel home."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from lab.house import House, give_address
from lab.spaces import Space, connect

MOBILE4, MOBILE6 = "45.55.30", "2600:9000:5310:"
_NUMBERS = itertools.count(1)
_PATIENCE_S = 20.0


@contextlib.contextmanager
def roaming(house: House, who: str, number: int) -> Iterator[Space]:
    """Take a device from the LAN to a mobile network, and home again. `number` is that of its addresses at home."""
    device, outside = house.devices[who], house.net.space
    device.ip("link", "set", "eth0", "down")
    join_mobile_network(outside, device)
    try:
        yield device
    finally:
        outside.ip("link", "delete", "mobile")
        device.set_up("eth0")
        give_address(device, number)


def join_mobile_network(
    outside: Space, device: Space, net4: str = MOBILE4, net6: str = MOBILE6, link: str = "mobile"
) -> None:
    """Connect a device to a mobile network of its own."""
    connect(outside, link, device, "mobile0")
    outside.ip("address", "add", f"{net4}.1/24", "dev", link)
    outside.ip("address", "add", f"{net6}:1/64", "dev", link, "nodad")
    device.ip("address", "add", f"{net4}.2/24", "dev", "mobile0")
    device.ip("address", "add", f"{net6}:2/64", "dev", "mobile0", "nodad")
    device.ip("route", "replace", "default", "via", f"{net4}.1")
    device.ip("-6", "route", "replace", "default", "via", f"{net6}:1")


@contextlib.contextmanager
def tunnelled(device: Space, config: str, folder: Path, router: str = f"{MOBILE4}.1") -> Iterator[None]:
    """Put a file of `hedgerow away add` into use as wg-quick would, by wireguard-go.

    The tunnel need not be answered.
    """
    name = f"wg{os.getpid()}-away{next(_NUMBERS)}"
    values = {
        key: [part.strip() for part in value.split(",")]
        for key, value in re.findall(r"^(\w+) = (.+)$", config, re.MULTILINE)
    }
    file = folder / f"{name}.conf"
    file.touch(mode=0o600)
    file.write_text(
        "".join(line for line in config.splitlines(keepends=True) if not line.startswith(("Address", "DNS")))
    )
    resolv = device.files["/etc/resolv.conf"]
    before = resolv.read_text()
    process = device.start("wireguard-go", "-f", name)
    try:
        _wait_for(Path(f"/var/run/wireguard/{name}.sock"))
        device.must("wg", "setconf", name, str(file))
        for address in values["Address"]:
            device.ip("address", "add", address, "dev", name)
        device.ip("link", "set", name, "up", "mtu", "1420")
        endpoint = values["Endpoint"][0].rpartition(":")[0]
        device.ip("route", "replace", endpoint, "via", router)
        for network in values["AllowedIPs"]:
            # Two halves outrank the default route, which stays.
            halves = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}.get(network, (network,))
            for half in halves:
                device.ip(*(["-6"] if ":" in half else []), "route", "add", half, "dev", name)
        resolv.write_text("".join(f"nameserver {each}\n" for each in values["DNS"]) + "options timeout:2 attempts:2\n")
        yield
    finally:
        resolv.write_text(before)
        process.terminate()
        process.wait(60)
        device.run("ip", "route", "delete", endpoint)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"wireguard-go did not make {path}"
        time.sleep(0.05)
