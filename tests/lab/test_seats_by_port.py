"""A seat that is a port of a switch: whatever is plugged in there belongs to the session, with dnsmasq set up as the documents show it."""

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
    """The example of this kind in the document that has this word; its café's network is the laboratory's here."""
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
    """A switch behind the router, nothing in its ports yet, and the guests' laptops."""
    (cafe.folder / "dnsmasq.conf").write_text(shown("ini", "dhcp-circuitid"))
    with spaces("switch", *LAPTOPS) as (box, *laptops):
        switch(box, cafe.router, "seats")
        cafe.router.ip("link", "set", "seats", "master", "lan")
        server = serve(cafe)
        try:
            yield box, dict(zip(LAPTOPS, laptops, strict=True))
        finally:
            server.terminate()
            server.wait(10)
            cafe.router.ip("link", "delete", "seats")  # its other end goes when the kernel comes to it, and takes the name along


def serve(cafe: House) -> subprocess.Popen[str]:
    words = ("--keep-in-foreground", f"--conf-file={cafe.folder / 'dnsmasq.conf'}", "--port=0", "--user=root", "--pid-file=")
    more = ("--interface=lan", "--bind-interfaces", "--log-dhcp", "--log-facility=-")
    return cafe.router.start("dnsmasq", *words, *more, stderr=cafe.folder / "dnsmasq.log")


def sit_down(cafe: House, box: Space, port: int, laptop: Space, name: str) -> str:
    """Plugs a laptop in, which asks for an address; returns it."""
    plug_in(box, port, laptop, LAPTOPS[name])
    laptop.files["/etc/resolv.conf"] = cafe.folder / "tablet.resolv.conf"
    done = laptop.run("busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", str(cafe.folder / "udhcpc.sh"), "-t", "20", seconds=70)
    assert done.returncode == 0, done.stderr + (cafe.folder / "dnsmasq.log").read_text()
    return str(json.loads(laptop.must("ip", "-j", "-4", "address", "show", "dev", "eth0"))[0]["addr_info"][0]["local"])


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def is_on_line(cafe: House, laptop: Space) -> bool:
    return datagram(PEER4, 27015)(cafe, laptop)


@pytest.mark.timeout(300)
def test_a_session_is_the_ports_whatever_is_plugged_in(cafe: House, seats: tuple[Space, dict[str, Space]]) -> None:
    box, laptops = seats
    addresses = {name: sit_down(cafe, box, port, laptops[name], name) for port, name in ((2, "first"), (1, "second"))}
    cafe.hedgerow("seat", "open", "seat-2", "--as", "adult", "--minutes", "60")
    until(lambda: is_on_line(cafe, laptops["first"]), "the seat that was opened is on line")
    until(lambda: asks("8.8.8.8")(cafe, laptops["first"]), "as an adult's")
    assert not is_on_line(cafe, laptops["second"]), "the seat beside it is not"
    sessions = json.loads(cafe.hedgerow("seat", "list", "--json").stdout)

    pull_out(box, 2)
    addresses["third"] = sit_down(cafe, box, 2, laptops["third"], "third")
    assert len(set(addresses.values())) == 3, "the lease of the first is still its own"
    until(lambda: is_on_line(cafe, laptops["third"]), "another laptop at the same port goes on")
    assert asks("8.8.8.8")(cafe, laptops["third"])
    assert json.loads(cafe.hedgerow("seat", "list", "--json").stdout) == sessions, "in the same session, to the same minute"

    pull_out(box, 1)
    sit_down(cafe, box, 1, laptops["first"], "first")
    assert not is_on_line(cafe, laptops["first"]), "the laptop that was there before takes nothing along to another port"
    cafe.hedgerow("seat", "end", "seat-2")
    until(lambda: not is_on_line(cafe, laptops["third"]), "what is over is over")


@pytest.mark.timeout(300)
def test_an_address_set_by_hand_is_no_seat_that_somebody_opens(cafe: House, seats: tuple[Space, dict[str, Space]]) -> None:
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
