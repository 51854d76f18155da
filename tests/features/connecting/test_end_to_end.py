"""The guide on a phone in three kinds of home: what it says of each child's device is what kdig sees there."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.spaces import Space, connect, spaces
from parent_jobs import Hand
from playwright.sync_api import Error, Page, expect
from simulated_apps import Reach, app, usual_hosts
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.forked import run_command
from small_internet.running import setup_code, wait_until, without_internet

from hedgerow.policies.reading.load import load_policy

pytestmark = [
    pytest.mark.root,
    pytest.mark.browser,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium"),
]

SERVER, ROUTER, PROVIDERS_ANSWER = "192.168.77.1", "192.168.77.254", "203.0.113.7"
DEVICES = {"phone": 10, "tablet": 11, "laptop": 12}
PAGES = f"http://{SERVER}:8053"
PASSWORD = "otter lake"
JOBS = Path(__file__).parents[3] / "docs" / "parent-jobs.md"
CLIENT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/24" dev "$interface"
echo "$dns" >"{dns}"
"""
"""The script that udhcpc calls with a lease: it keeps the DNS servers that the router hands out."""


@dataclass
class Home:
    """A home: the machine with Hedgerow, the provider's router, and devices that take leases from it."""

    server: Space
    router: Space
    devices: dict[str, Space]
    folder: Path

    def serve_leases(self, dns: str) -> None:
        """Let the router hand out addresses and a DNS server. It answers every name itself, as the provider's would."""
        hosts = [f"--dhcp-host=02:00:00:00:77:{number:02x},192.168.77.{number}" for number in DEVICES.values()]
        words = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]
        words += ["--pid-file=", "--interface=eth0", "--bind-interfaces", "--no-ping", "--dhcp-authoritative"]
        words += [
            f"--address=/#/{PROVIDERS_ANSWER}",
            f"--dhcp-option=6,{dns}",
            f"--dhcp-leasefile={self.folder}/leases",
        ]
        self.router.start(*words, "--dhcp-range=192.168.77.10,192.168.77.99,1h", *hosts)

    def join(self, name: str) -> None:
        """Take a lease, as a device does whose Wi-Fi was switched on."""
        script = self.folder / f"{name}.sh"
        script.write_text(CLIENT.format(dns=self.folder / f"{name}.dns"))
        script.chmod(0o755)
        device = self.devices[name]
        device.ip("address", "flush", "dev", "eth0", "scope", "global")
        device.must("busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", str(script), "-t", "20")

    def resolver_of(self, name: str) -> str:
        """Return the DNS server that a device asks."""
        return (self.folder / f"{name}.dns").read_text().split()[0]

    def set_by_hand(self, name: str, dns: str) -> None:
        (self.folder / f"{name}.dns").write_text(dns)

    def asks(self, name: str, host: str) -> str:
        """Return what a device gets for a name from its own DNS server."""
        server = f"@{self.resolver_of(name)}"
        return self.devices[name].run("kdig", server, "+short", "+timeout=5", "+retry=0", host).stdout.strip()

    def hedgerow(self, *words: str) -> str:
        """Run a command of Hedgerow on its machine, and return what it says."""
        command = ["hedgerow", *words, "--state", str(self.folder / "state")]
        return run_command(command, environment=without_internet(), timeout=60, network=self.server.network).stdout

    def is_filtered(self, name: str) -> bool:
        return self.asks(name, "www.pornhub.com") in ("0.0.0.0", SERVER)

    def reach(self, name: str) -> Reach:
        """Return the reach of an app on a device."""
        return lambda host: self.asks(name, host) not in ("0.0.0.0", SERVER)

    def check_says_yes(self, name: str) -> bool:
        """Return whether `/check`, opened on a device, has its green tick: a name that only Hedgerow knows."""
        page = self.devices[name].run("curl", "-s", f"{PAGES}/check").stdout
        picture = re.search(r'<object [^>]*data="http://([^:/"]+)', page)
        assert picture, page[:500]
        return self.asks(name, picture[1]) == SERVER


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    roles = ("server", "router", *DEVICES)
    with spaces(*roles) as made:
        named = dict(zip(roles, made, strict=True))
        server = named["server"]
        server.ip("link", "add", "br0", "type", "bridge")
        server.ip("link", "set", "br0", "up")
        server.ip("address", "add", f"{SERVER}/24", "dev", "br0")
        for name, number in {"router": 254, **DEVICES}.items():
            connect(server, name, named[name], "eth0", f"02:00:00:00:77:{number:02x}")
            server.ip("link", "set", name, "master", "br0")
        server.ip("route", "add", "default", "via", ROUTER)
        named["router"].ip("address", "add", f"{ROUTER}/24", "dev", "eth0")
        yield Home(server, named["router"], {name: named[name] for name in DEVICES}, tmp_path)


@pytest.fixture
def hand(home: Home, tmp_path: Path) -> Iterator[Hand]:
    """A hand on the phone's Chromium. The phone has no address yet."""
    errors, state = tmp_path / "stderr", tmp_path / "state"
    home.server.must("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")  # as the packaged service may
    listening = ("--dns", f"{SERVER}:53", "--proxy", f"{SERVER}:3128", "--web", "0.0.0.0:8053")
    process = home.server.start_hedgerow(
        "up", "--state", str(state), *listening, stderr=errors, directory=tmp_path, environment=without_internet()
    )
    assert process.stdout
    assert "ready" in process.stdout.readline(), errors.read_text()
    browser = tmp_path / "chromium"
    browser.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{home.devices["phone"].name} {FOR_PAGES} "$@"\n')
    browser.chmod(0o755)
    with browser_for_pages(program=browser) as chromium:
        context = chromium.new_context(
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, timezone_id="Europe/Lisbon"
        )
        yield Hand(context.new_page())
        context.close()


def begin(hand: Hand, home: Home) -> None:
    """Do the guide up to the step that connects the home."""
    page = hand.page
    page.goto(f"{PAGES}/start#{setup_code(home.folder / 'state')}")
    hand.type(page.locator("[name=name]"), "Ana")
    hand.type(page.locator("[name=password]"), PASSWORD)
    go_on(hand, "people")
    for row, (name, age) in enumerate((("Mia", "9"), ("Tom", "15")), 1):
        hand.type(page.locator(f"[name=name-{row}]"), name)
        hand.type(page.locator(f"[name=age-{row}]"), age)
    go_on(hand, "connect")


def sign_in_again(hand: Hand) -> None:
    """Sign in, as a phone with another MAC address must, and go on with the guide where it was."""
    page = hand.page
    wait_until(lambda: opens(page, "/start/devices"), 30, "the phone has a new address")
    expect(page.get_by_text("the guide goes on here")).to_be_visible()
    hand.type(page.locator("[name=name]"), "Ana")
    hand.type(page.locator("[name=password]"), PASSWORD)
    go_on(hand, "connect")


def opens(page: Page, path: str) -> bool:
    with contextlib.suppress(Error):  # Chromium aborts a page if its machine gets another address
        page.goto(f"{PAGES}{path}")
        return True
    return False


def go_on(hand: Hand, step: str) -> None:
    hand.tap(hand.page.locator("main form button.yes").last)
    hand.page.wait_for_url(f"**/start/{step}")


def assign(hand: Hand) -> None:
    """Say whose the devices are, and come to the end of the guide."""
    hand.tap(hand.page.locator("main a.button.yes"))
    hand.page.wait_for_url("**/start/devices")
    for number, owner in ((11, "Mia"), (12, "Tom")):
        field = hand.page.locator("fieldset.belongs", has_text=f"02:00:00:00:77:{number:02x}")
        hand.tap(field.locator(".owners label", has_text=owner))
    go_on(hand, "done")


def check_end(hand: Hand, home: Home) -> None:
    """Check the guide's end, Today and Devices against what kdig gets on each child's device."""
    page = hand.page
    names = {device.macs[0][-2:]: name for name, device in load_policy(home.folder / "hedgerow.yaml").devices.items()}
    filtered = {names["0b"]: home.is_filtered("tablet"), names["0c"]: home.is_filtered("laptop")}
    dating = app("tinder", usual_hosts()["tinder"])
    for name, is_filtered in zip(("tablet", "laptop"), filtered.values(), strict=True):
        assert home.check_says_yes(name) is is_filtered, name
        assert dating.works(home.reach(name)) is not is_filtered, name
    heading: dict[int, str | re.Pattern[str]] = {
        0: "Nothing is filtered yet",
        1: "Almost set up",
        2: re.compile("Hedgerow is set up|Almost set up"),
    }
    expect(page.locator("h1")).to_have_text(heading[sum(filtered.values())])
    for name, is_filtered in filtered.items():
        said = page.locator(".arrival", has_text=name)
        expect(said).to_contain_text("Filtered" if is_filtered else "Not connected yet")
    hand.tap(page.locator("main a.button", has_text="Today"))
    page.wait_for_url(f"{PAGES}/")
    page.goto(f"{PAGES}/devices")
    for name, is_filtered in filtered.items():
        expect(page.locator(f"[id='device-{name}'] .verdict")).to_contain_text(
            "Filtered" if is_filtered else "Not connected yet"
        )
    page.goto(PAGES)
    waiting = [name for name, is_filtered in filtered.items() if not is_filtered]
    expect(page.locator(".notconnected, #unused")).to_have_count(1 if waiting else 0)
    if waiting:
        expect(page.locator(".notconnected, #unused")).to_contain_text("used Hedgerow yet")
        page.locator(".notconnected a, #unused a").tap()
        expect(page.locator("h1")).to_have_text("Connect your home")


def check_count(hand: Hand, *, again: bool = False) -> None:
    """Check the taps and keystrokes of the guide. `again`: the phone had to sign in once more."""
    taps, keys = (3, len("Ana" + PASSWORD)) if again else (0, 0)
    assert (hand.taps - taps, hand.keys - keys) == (11, 22)
    told = JOBS.read_text(encoding="utf-8")
    assert "11 taps and 22 keystrokes" in told
    assert "3 taps and 13 keystrokes more" in told


def test_a_home_where_nothing_is_connected_is_told_so(home: Home, hand: Hand) -> None:
    """The provider's DNS is still in force, and every device has opened a page of Hedgerow by its address."""
    home.serve_leases(ROUTER)
    for name in DEVICES:
        home.join(name)
    begin(hand, home)
    page = hand.page
    expect(page.locator("input.address")).to_have_value(SERVER)
    for name in ("tablet", "laptop"):
        assert home.devices[name].run("curl", "-s", f"{PAGES}/check").returncode == 0
        assert home.asks(name, "www.pornhub.com") == PROVIDERS_ANSWER
    expect(page.locator(".arrival", has_text="192.168.77.12")).to_contain_text("not connected yet", timeout=20_000)
    expect(page.get_by_text("No device uses Hedgerow yet")).to_be_visible()
    expect(page.get_by_text(f"Your router ({ROUTER}) hands out {ROUTER} for DNS.")).to_be_visible()
    assign(hand)
    check_end(hand, home)
    check_count(hand)
    for path in ("/start/done", "/", "/day", "/devices", "/people", "/people/Mia", "/people/Tom"):
        page.goto(f"{PAGES}{path}")
        assert not re.search(r"\bFiltered\b|every device is|Hedgerow is set up", page.locator("main").inner_text()), (
            path
        )
    page.goto(f"{PAGES}/start/connect")
    wait_until(lambda: "asks another DNS server" in page.locator("main").inner_text(), 90, "two are here and silent")
    assert home.hedgerow("devices").count("nothing yet") >= 2
    told = re.sub(r"\s+", " ", home.hedgerow("doctor"))
    assert "not connected: " in told
    assert f"{ROUTER} hands out {ROUTER} for DNS" in told


def test_a_home_whose_router_hands_out_hedgerow_is_set_up(home: Home, hand: Hand) -> None:
    """A device that is switched on while the step is on the screen gets its tick without a reload."""
    home.serve_leases(SERVER)
    home.join("phone")
    begin(hand, home)
    page = hand.page
    page.evaluate("window.notReloaded = true")
    for name, number in (("tablet", 11), ("laptop", 12)):
        home.join(name)
        assert home.is_filtered(name)
        expect(page.locator(".arrival.here", has_text=f"192.168.77.{number}")).to_be_visible(timeout=20_000)
    assert page.evaluate("window.notReloaded")
    assign(hand)
    check_end(hand, home)
    check_count(hand)


def test_one_device_set_by_hand_is_the_only_one_that_counts(home: Home, hand: Hand) -> None:
    """The phone changes its MAC address meanwhile, and goes on as the same parent after signing in again."""
    home.serve_leases(ROUTER)
    for name in DEVICES:
        home.join(name)
    begin(hand, home)
    page = hand.page
    home.set_by_hand("tablet", SERVER)
    assert home.is_filtered("tablet")
    assert home.devices["laptop"].run("curl", "-s", f"{PAGES}/check").returncode == 0
    expect(page.locator(".arrival.here", has_text="192.168.77.11")).to_be_visible(timeout=20_000)
    phone = home.devices["phone"]
    phone.ip("link", "set", "eth0", "down")
    phone.ip("link", "set", "eth0", "address", "02:00:00:00:77:1f")
    phone.set_up("eth0")
    home.join("phone")
    sign_in_again(hand)
    assign(hand)
    named = load_policy(home.folder / "hedgerow.yaml").devices.values()
    assert [device.macs for device in named if device.person == "Ana"] == [("02:00:00:00:77:1f",)]
    check_end(hand, home)
    check_count(hand, again=True)
