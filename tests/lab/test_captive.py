"""Captive portal of a café: DHCP announces it, the phone's own check redirects to it, and a voucher opens the seat."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from lab import House, Space
from lab import house as build_house
from lab.aims import asks, datagram, reached, reads
from lab.house import LAN4, MACS, POLICY, give_address
from lab.internet import PEER4

pytestmark = pytest.mark.root
PORTAL = f"http://{LAN4}.1:8053/device"
API = "https://hedgerow.cafe.example:8053/captive-portal"
PAGE = f"  blocked_answer: page\n  block_page: {LAN4}.1\n"
CAFE = (
    f"{POLICY.replace('people:', f'{PAGE}people:')}unopened_seats: closed\nseats:\n  seat-1: {{mac:"
    f' "{MACS["phone"]}"}}\n'
)
CLIENT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
ip route replace default via "$router"
echo "$opt114" > "$PLACE"
"""


@pytest.fixture(scope="module")
def cafe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("cafe")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    with build_house(folder, policy=CAFE) as whole:
        whole.hedgerow("gateway", "apply", "--no-strict")
        yield whole


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def checked(phone: Space) -> str:
    """Return the status and redirect of the vendor's page that phones request."""
    words = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "--max-time", "5")
    return phone.run(
        *words, "-A", "CaptiveNetworkSupport", "http://captive.apple.com/hotspot-detect.html"
    ).stdout.strip()


def typed(phone: Space, url: str) -> tuple[int, str]:
    """Return curl's exit status, and the HTTP status and redirect of an entered address."""
    words = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "--max-time", "5")
    done = phone.run(*words, "-H", "Accept: text/html", url)
    return done.returncode, done.stdout.strip()


def portal_state(phone: Space) -> dict[str, object]:
    reported: dict[str, object] = json.loads(phone.must("curl", "-sk", f"https://{LAN4}.1:8053/captive-portal"))
    return reported


@pytest.mark.timeout(300)
def test_a_guest_uses_a_voucher(cafe: House) -> None:
    phone = cafe.devices["phone"]
    cafe.meet("phone")
    until(lambda: checked(phone) == f"302 {PORTAL}", "the phone finds the welcome page")
    assert typed(phone, "http://www.school.example/") == (0, f"302 {PORTAL}"), "any page redirects there"
    assert typed(phone, "https://www.school.example/")[0] == 35, "refused without a certificate warning"
    portal = {"captive": True, "user-portal-url": f"https://{LAN4}.1:8053/device"}
    assert portal.items() <= portal_state(phone).items()
    welcome = phone.must("curl", "-s", PORTAL)
    assert "Your voucher code" in welcome
    assert "/device/code" not in welcome, "access codes are not offered here"
    assert reached(reads("https://www.childline.org.uk/", page="www.childline.org.uk"), cafe, phone, hoped=True)
    for aim in (
        datagram(PEER4, 3074),
        asks("8.8.8.8"),
        reads("https://www.school.example/", page="www.school.example"),
    ):
        assert not aim(cafe, phone)

    (code,) = cafe.hedgerow("seat", "vouchers", "1", "--minutes", "60", "--as", "child").stdout.split()
    phone.must(
        "curl",
        "-sf",
        "-H",
        f"Origin: http://{LAN4}.1:8053",
        "-d",
        f"code={code}",
        f"http://{LAN4}.1:8053/device/voucher",
    )
    until(lambda: datagram(PEER4, 3074)(cafe, phone), "the seat is open")
    until(lambda: checked(phone) == "200", "the phone sees the internet")
    assert "page of captive.apple.com" in phone.must("curl", "-s", "http://captive.apple.com/")
    assert not asks("8.8.8.8")(cafe, phone), "as a child's seat"
    assert not portal_state(phone)["captive"]

    cafe.hedgerow("seat", "end", "seat-1")
    until(lambda: not datagram(PEER4, 3074)(cafe, phone), "running connections are cut")
    until(lambda: checked(phone) == f"302 {PORTAL}", "the welcome page again")


def test_dhcp_announces_the_portal(cafe: House) -> None:
    """By option 114 (RFC 8910), with dnsmasq configured as documented."""
    phone, place = cafe.devices["phone"], cafe.folder / "option114"
    words = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--interface=lan",
    ]
    words += ["--bind-interfaces", "--no-ping", f"--dhcp-range={LAN4}.100,{LAN4}.109,2m", f"--dhcp-option=114,{API}"]
    server = cafe.router.start(*words, stderr=cafe.folder / "dnsmasq.log")
    script = cafe.folder / "udhcpc.sh"
    script.write_text(CLIENT.replace("$PLACE", str(place)))
    script.chmod(0o755)
    try:
        phone.ip("address", "flush", "dev", "eth0", "scope", "global")
        phone.must("busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", str(script), "-O", "114", "-t", "10")
        assert bytes.fromhex(place.read_text().strip()).decode() == API
    finally:
        server.terminate()
        server.wait(60)
        give_address(phone, 12)
