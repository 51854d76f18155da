"""Seats by switch port, with dnsmasq configured as documented: any device at the port has the seat's session."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from lab import House, Space, spaces
from lab import house as build_house
from lab.aims import asks, datagram
from lab.house import LAN4, POLICY
from lab.internet import PEER4
from lab.switch import plug_in, pull_out, switch

pytestmark = pytest.mark.root
DOCUMENT = (Path(__file__).parents[2] / "docs" / "install" / "cafe.md").read_text(encoding="utf-8")
LAPTOPS = {"first": "02:00:00:00:51:01", "second": "02:00:00:00:51:02", "third": "02:00:00:00:51:03"}
CLIENT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address flush dev "$interface" scope global
ip address add "$ip/$mask" dev "$interface"
ip route replace default via "$router"
"""


def shown(kind: str, word: str) -> str:
    """Return the document's example with this word, with the lab's network."""
    (found,) = (each for each in re.findall(rf"```{kind}\n(.*?)```", DOCUMENT, re.DOTALL) if word in each)
    return found.replace("192.168.60.", f"{LAN4}.")


def policy() -> str:
    seats = yaml.safe_load(shown("yaml", "elsewhere"))
    return POLICY + yaml.safe_dump({"seats": seats["seats"], "unopened_seats": seats["unopened_seats"]})


@pytest.fixture(scope="module")
def cafe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if shutil.which("dnsmasq", path="/usr/sbin:/usr/bin") is None or shutil.which("busybox") is None:
        pytest.skip("dnsmasq and busybox are not installed")
    folder = tmp_path_factory.mktemp("ports")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    with build_house(folder, policy=policy()) as whole:
        whole.hedgerow("gateway", "apply", "--no-strict")
        (folder / "udhcpc.sh").write_text(CLIENT)
        (folder / "udhcpc.sh").chmod(0o755)
        yield whole


@pytest.fixture
def seats(cafe: House) -> Iterator[tuple[Space, dict[str, Space]]]:
    """A switch behind the router with empty ports, and the guests' laptops."""
    (cafe.folder / "dnsmasq.conf").write_text(shown("ini", "dhcp-circuitid"))
    with spaces("switch", *LAPTOPS) as (box, *laptops):
        switch(box, cafe.router, "seats")
        cafe.router.ip("link", "set", "seats", "master", "lan")
        server = serve(cafe)
        try:
            yield box, dict(zip(LAPTOPS, laptops, strict=True))
        finally:
            server.terminate()
            server.wait(60)
            cafe.router.ip("link", "delete", "seats")  # the kernel removes the other end later


def serve(cafe: House) -> subprocess.Popen[str]:
    words = (
        "--keep-in-foreground",
        f"--conf-file={cafe.folder / 'dnsmasq.conf'}",
        "--port=0",
        "--user=root",
        "--pid-file=",
    )
    more = ("--interface=lan", "--bind-interfaces", "--no-ping", "--log-dhcp", "--log-facility=-")
    return cafe.router.start("dnsmasq", *words, *more, stderr=cafe.folder / "dnsmasq.log")


def sit_down(cafe: House, box: Space, port: int, laptop: Space, name: str) -> str:
    """Plug a laptop in and return the address that it gets."""
    plug_in(box, port, laptop, LAPTOPS[name])
    laptop.files["/etc/resolv.conf"] = cafe.folder / "tablet.resolv.conf"
    done = laptop.run(
        "busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", str(cafe.folder / "udhcpc.sh"), "-t", "20", seconds=70
    )
    assert done.returncode == 0, done.stderr + (cafe.folder / "dnsmasq.log").read_text()
    return str(json.loads(laptop.must("ip", "-j", "-4", "address", "show", "dev", "eth0"))[0]["addr_info"][0]["local"])


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def is_on_line(cafe: House, laptop: Space) -> bool:
    return datagram(PEER4, 3074)(cafe, laptop)


@pytest.mark.timeout(300)
def test_a_session_belongs_to_the_port(cafe: House, seats: tuple[Space, dict[str, Space]]) -> None:
    box, laptops = seats
    addresses = {name: sit_down(cafe, box, port, laptops[name], name) for port, name in ((2, "first"), (1, "second"))}
    cafe.hedgerow("seat", "open", "seat-2", "--as", "adult", "--minutes", "60")
    until(lambda: is_on_line(cafe, laptops["first"]), "the seat that was opened is on line")
    until(lambda: asks("8.8.8.8")(cafe, laptops["first"]), "as an adult's")
    assert not is_on_line(cafe, laptops["second"]), "the next seat is closed"
    sessions = json.loads(cafe.hedgerow("seat", "list", "--json").stdout)

    pull_out(box, 2)
    addresses["third"] = sit_down(cafe, box, 2, laptops["third"], "third")
    assert len(set(addresses.values())) == 3, "the lease of the first is still its own"
    until(lambda: is_on_line(cafe, laptops["third"]), "another laptop at the same port goes on")
    assert asks("8.8.8.8")(cafe, laptops["third"])
    assert json.loads(cafe.hedgerow("seat", "list", "--json").stdout) == sessions, (
        "in the same session, to the same minute"
    )

    pull_out(box, 1)
    sit_down(cafe, box, 1, laptops["first"], "first")
    assert not is_on_line(cafe, laptops["first"]), "a laptop takes no session to another port"
    cafe.hedgerow("seat", "end", "seat-2")
    until(lambda: not is_on_line(cafe, laptops["third"]), "the session is over")


@pytest.mark.timeout(300)
def test_an_address_outside_the_ports_stays_closed(cafe: House, seats: tuple[Space, dict[str, Space]]) -> None:
    box, laptops = seats
    sit_down(cafe, box, 2, laptops["first"], "first")
    cafe.hedgerow("seat", "open", "seat-2", "--as", "child", "--minutes", "60")
    until(lambda: is_on_line(cafe, laptops["first"]), "the seat that was opened is on line")
    laptop = laptops["first"]
    laptop.ip("address", "flush", "dev", "eth0", "scope", "global")
    laptop.ip("address", "add", f"{LAN4}.250/24", "dev", "eth0")
    laptop.ip("route", "replace", "default", "via", f"{LAN4}.1")
    assert not is_on_line(cafe, laptop)
    answer = laptop.run("kdig", "+short", "+time=3", f"@{LAN4}.1", "www.school.example").stdout
    assert answer.strip() == "0.0.0.0"
    cafe.hedgerow("seat", "end", "seat-2")
