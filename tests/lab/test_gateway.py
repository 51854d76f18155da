"""The gateway in operation: pauses, policy changes, firewall reloads, stops, emergency removal, and other tables left
alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from lab import House, Space
from lab.aims import asks, datagram, reached, reads
from lab.attempts import ALLOWED
from lab.house import LAN4, LAN6, MACS, NUMBERS, command
from lab.internet import BIG_FILE, PEER4, PEER6, address4
from lab.spaces import PYTHON
from small_internet.running import wait_until

pytestmark = pytest.mark.root

STREAMS = """
import socket, sys, time
kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[sys.argv[1]]
peer = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
peer.settimeout(0.5)
peer.connect((sys.argv[2], int(sys.argv[3])))
while True:
    try:
        peer.send(b"x")
        assert peer.recv(100)
        print(time.time(), flush=True)
    except (OSError, AssertionError):
        time.sleep(0.1)
    time.sleep(0.05)
"""
"""A game or a call: sends bytes twenty times per second, and prints when they come back."""
PAGES = """
import http.client, ssl, sys, time
kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[sys.argv[1]]
open_tls = {"context": ssl._create_unverified_context()} if sys.argv[1] == "https" else {}
web = kind(sys.argv[2], timeout=2, **open_tls)
web.connect()
web.auto_open = False  # one connection, as a video would use it
while True:
    try:
        web.request("GET", "/")
        page = web.getresponse().read()
        if b"page of" in page:
            print(time.time(), flush=True)
    except (OSError, http.client.HTTPException):
        pass
    time.sleep(0.05)
"""
"""Requests pages over one connection, and prints when each arrives."""
MANY_TIMES = """
from hedgerow.network import gateway
from hedgerow.network.gateway_rules import RedirectPorts, Gateway
from hedgerow.network.access_state import DeviceStates
for count in range(100):
    gateway.install(Gateway(("lan",), RedirectPorts(53), strict=bool(count % 2)), DeviceStates())
    assert gateway.is_installed()
    if count % 3 == 0:
        gateway.remove()
        assert not gateway.is_installed()
gateway.remove()
"""
LEARNED = re.compile(r"(\n\t\tflags [a-z,]*timeout\n)\t\telements = \{[^}]*\}\n")
"""Elements of a set that end by themselves."""


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    house.hedgerow("gateway", "apply", "--no-strict")
    yield house
    house.hedgerow("gateway", "remove")


class Stream:
    """A stream on a device. `count` is how often its bytes have come back."""

    def __init__(self, device: Space, script: str, *arguments: object) -> None:
        self._process = device.start(*PYTHON, script, *map(str, arguments))
        self.count = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for _ in self._process.stdout:
            self.count += 1

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._reader.join(60)


def is_cut(streams: Sequence[Stream], others: Sequence[Stream]) -> bool:
    """True if nothing came back of any of `streams` while bytes of each of `others` came back twenty times."""
    before, moved = [stream.count for stream in streams], [other.count + 20 for other in others]
    wait_until(
        lambda: all(other.count >= least for other, least in zip(others, moved, strict=True)), 30, "the others go on"
    )
    return [stream.count for stream in streams] == before


def test_a_pause_cuts_the_connections_of_its_person_only(gateway: House) -> None:
    tablet, parent = gateway.devices["tablet"], gateway.devices["parent"]
    places = (("udp", PEER4, 3074), ("udp", PEER6, 3074), ("tcp", PEER4, 5222), ("tcp", PEER6, 5222))
    for device in ("tablet", "parent"):
        gateway.meet(device)
    gateway.resolve("tablet")
    streams, others = (
        [Stream(device, STREAMS, *place) for place in places]
        + [Stream(device, PAGES, kind, "www.school.example") for kind in ("http", "https")]
        for device in (tablet, parent)
    )
    wait_until(lambda: all(stream.count >= 3 for stream in (*streams, *others)), 30, "all run")
    gateway.hedgerow("pause", "mia")
    try:
        wait_until(lambda: is_cut(streams, others), 15, "the child's are cut, and the parent's are not")
        for stream in (*streams, *others):
            stream.end()
        assert reached(datagram(PEER4, 123, 48), gateway, tablet, hoped=True), "the time"
        assert not reads(f"http://{address4('www.wikipedia.org')}/", page="www.wikipedia.org")(gateway, tablet)
        helpline = gateway.devices["tablet"].run("kdig", "+short", "@8.8.8.8", "www.childline.org.uk").stdout
        assert helpline.strip() == f"{address4('www.childline.org.uk')}"
    finally:
        gateway.hedgerow("resume", "mia")
    wait_until(lambda: datagram(PEER4, 3074)(gateway, tablet), 20, "the resume")


def test_an_unknown_device_is_held_and_can_be_paused(gateway: House) -> None:
    phone = gateway.devices["phone"]
    gateway.meet("phone")
    page = reads("https://www.school.example/", page="www.school.example")
    assert reached(page, gateway, phone, hoped=True)
    for aim in (datagram(PEER4, 3074), datagram(PEER6, 3074)):
        assert not reached(aim, gateway, phone, hoped=False), "names and pages only, until somebody names it"
    assert reached(datagram(PEER4, 123, 48), gateway, phone, hoped=True), "the time"
    gateway.hedgerow("pause", f"{LAN4}.12")
    try:
        wait_until(lambda: not page(gateway, phone), 20, "the pause of the phone")
        assert reached(datagram(PEER4, 3074), gateway, gateway.devices["tablet"], hoped=True)
    finally:
        gateway.hedgerow("resume", f"{LAN4}.12")


def test_all_addresses_of_a_device_have_its_state(gateway: House) -> None:
    parent = gateway.devices["parent"]
    fresh = [f"{LAN6}:{number:x}:1" for number in range(0xA1, 0xA5)]
    for address in fresh:
        parent.ip("address", "add", f"{address}/64", "dev", "eth0", "nodad")
    try:
        for address in fresh:
            assert reached(asks("2001:4860:4860::8888", "-b", address), gateway, parent, hoped=True), (
                f"{address} is still an adult's"
            )
    finally:
        for address in fresh:
            parent.ip("address", "delete", f"{address}/64", "dev", "eth0")


def test_a_policy_change_updates_the_states(gateway: House) -> None:
    parent, before = gateway.devices["parent"], gateway.policy.read_text()
    assert reached(asks("8.8.8.8"), gateway, parent, hoped=True)
    gateway.policy.write_text(before.replace("ana: {profile: adult", "ana: {profile: teen-16-17"))
    try:
        wait_until(lambda: not asks("8.8.8.8")(gateway, parent), 20, "the parent is guarded")
    finally:
        gateway.policy.write_text(before)
    wait_until(lambda: asks("8.8.8.8")(gateway, parent), 20, "the parent is open again")


def let_control_take_over(house: House) -> None:
    """Wait until control has installed the table itself: then a rule that somebody has added is gone."""
    house.router.must("nft", 'insert rule inet hedgerow fence accept comment "probe"')

    def is_replaced() -> bool:
        listed = house.router.run("nft", "list", "table", "inet", "hedgerow")
        return listed.returncode == 0 and "probe" not in listed.stdout

    wait_until(is_replaced, 20, "control installs its own table")


def test_a_changed_table_is_restored(gateway: House) -> None:
    owner = f"{LAN4}.{NUMBERS['tablet']} . {MACS['tablet']}"

    def table() -> str:
        """The table without what it learns of neighbours, who come and go. The tablet is among them."""
        listed = gateway.router.run("nft", "-s", "list", "table", "inet", "hedgerow").stdout
        return LEARNED.sub(r"\1", listed) if owner in listed else ""

    let_control_take_over(gateway)
    gateway.meet("tablet")
    others = gateway.rules()
    for hand in (
        "delete table inet hedgerow",
        "delete table inet hedgerow; add table ip hedgerow",
        "flush table inet hedgerow",
        "insert rule inet hedgerow fence accept",
        "flush set inet hedgerow encrypted_dns_v4",
    ):
        own = table()
        assert own
        gateway.router.must("nft", hand)
        try:
            wait_until(lambda: table() == own, 20, f"it is as it was before: {hand}")  # noqa: B023
            assert not asks("8.8.8.8")(gateway, gateway.devices["tablet"]), hand
        finally:
            if "table ip hedgerow" in gateway.router.must("nft", "list", "tables"):
                gateway.router.must("nft", "delete", "table", "ip", "hedgerow")
        assert gateway.rules() == others, hand


def test_counters_and_cut_addresses_do_not_trigger_a_restore(gateway: House) -> None:
    """A restore would reset the counters and reconnect cut devices."""
    asked = asks("8.8.8.8")
    wait_until(lambda: not asked(gateway, gateway.devices["tablet"]), 10, "it is held")
    handles = gateway.router.must("nft", "-a", "list", "chain", "inet", "hedgerow", "fence")
    gateway.hedgerow("pause", "mia")
    try:
        time.sleep(5)  # two checks
        assert gateway.router.must("nft", "-a", "list", "chain", "inet", "hedgerow", "fence") == handles
    finally:
        gateway.hedgerow("resume", "mia")


def test_a_hundred_installs_leave_no_trace(house: House) -> None:
    house.hedgerow("gateway", "remove")  # of whoever had this house before
    own = house.router.must("nft", "-s", "list", "ruleset")
    done = house.router.run(sys.executable, "-P", "-c", MANY_TIMES, seconds=240)
    assert done.returncode == 0, done.stderr
    assert house.router.must("nft", "-s", "list", "ruleset") == own


def test_status_counts_refusals(gateway: House) -> None:
    def is_counted() -> bool:
        gateway.devices["tablet"].run("kdig", "+tls", "+time=1", "+retry=0", "@1.1.1.1", "adult.example")
        said = json.loads(gateway.hedgerow("gateway", "status", "--json").stdout)
        return bool(said["in_place"] and said["packets"]["encrypted dns address"])

    wait_until(is_counted, 15, "a refusal is counted")
    gateway.hedgerow("gateway", "remove")
    assert gateway.hedgerow("gateway", "status", must=False).returncode == 0, "not chosen, so not missing"


def test_one_interface_for_devices_and_internet(house: House) -> None:
    """Answers from the internet come in by the devices' interface."""
    house.hedgerow("gateway", "apply", "--lan", "lan", "--lan", "wan", "--strict")
    try:
        for who in ("tablet", "parent"):
            house.meet(who)
            shut = [attempt.what for attempt in ALLOWED if not attempt.aim(house, house.devices[who])]
            assert not shut, who
        assert reached(datagram(PEER4, 3074), house, house.devices["parent"], hoped=True)
        for aim in (asks("8.8.8.8"), asks("1.1.1.1", "+tls"), datagram(PEER4, 3074), datagram(PEER6, 40000)):
            assert not aim(house, house.devices["tablet"])
    finally:
        house.hedgerow("gateway", "remove")


def test_the_kernel_forwards_the_traffic_of_open_devices(gateway: House) -> None:
    """A guarded device's traffic passes through Hedgerow; `bench/gateway.py` measures both."""
    for who, comes_by in (("parent", False), ("tablet", True)):
        device = gateway.devices[who]
        gateway.meet(who)
        fetch = device.start(
            "curl", "-4sk", "--limit-rate", "1M", "-o", "/dev/null", f"https://www.school.example{BIG_FILE}"
        )
        try:
            opened = ("ss", "-Htn", "state", "established", "dport", "=", ":443")
            wait_until(lambda: device.must(*opened).strip(), 10, "the fetch goes on")  # noqa: B023
            ours = gateway.router.must("ss", "-Htn", "state", "established", "dst", f"{LAN4}.{NUMBERS[who]}")
            assert bool(ours.strip()) == comes_by, who
        finally:
            fetch.terminate()
            fetch.wait(60)


def test_the_gateway_can_be_applied_before_its_interface_exists(house: House) -> None:
    (house.state / "gateway.json").write_text('{"lan": ["later0"]}')
    try:
        house.hedgerow("gateway", "apply")
        assert 'iifname != "later0" accept' in house.router.must("nft", "list", "table", "inet", "hedgerow")
    finally:
        house.hedgerow("gateway", "remove")


@pytest.mark.parametrize("text", ["", '{"lan": []}', '{"lan": "lan"}'])
def test_an_unreadable_choice_is_refused_and_can_be_replaced(house: House, text: str) -> None:
    (house.state / "gateway.json").write_text(text)
    try:
        done = house.hedgerow("gateway", "apply", must=False)
        assert done.returncode == 2
        assert "hedgerow gateway apply --lan" in done.stderr
        house.hedgerow("gateway", "apply", "--lan", "lan")
        assert house.hedgerow("gateway", "status").stdout.startswith("The gateway is in place.")
    finally:
        house.hedgerow("gateway", "remove")


def test_without_privileges_the_choice_stays(gateway: House) -> None:
    """Otherwise control would stop updating a table that is still in place."""
    chosen = (gateway.state / "gateway.json").read_bytes()
    words = (*command(), "gateway", "remove", "--state", str(gateway.state))
    done = gateway.router.run("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--", *words, seconds=60)
    assert (done.returncode, done.stderr) == (2, "hedgerow: No permission to change nftables: run this as root.\n")
    assert (gateway.state / "gateway.json").read_bytes() == chosen


def on_read_only_disk(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `hedgerow gateway` with a read-only state directory, as on a worn memory card."""
    state = str(house.state)
    seal = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    whole = ("unshare", "--mount", "sh", "-c", seal, "sh", state, *command(), "gateway", *words, "--state", state)
    return house.router.run(*whole, seconds=60)


def test_a_choice_that_cannot_be_saved_is_not_applied(house: House) -> None:
    """Otherwise the table would be gone after a boot, and nothing would update it."""
    done = on_read_only_disk(house, "apply", "--lan", "lan")
    assert (done.returncode, "Read-only file system" in done.stderr) == (2, True), done.stderr
    assert "inet hedgerow" not in house.router.must("nft", "list", "tables")


def test_removal_works_on_a_read_only_disk(gateway: House) -> None:
    let_control_take_over(gateway)
    gateway.stop()
    try:
        done = on_read_only_disk(gateway, "remove")
        assert (done.returncode, "The gateway is removed, but" in done.stderr) == (2, True), done.stderr
        assert "inet hedgerow" not in gateway.router.must("nft", "list", "tables")
    finally:
        gateway.start()


def test_an_unknown_interface_is_reported(house: House) -> None:
    done = house.hedgerow("gateway", "apply", "--lan", "eth9", must=False)
    assert done.returncode == 2
    assert done.stderr.startswith("hedgerow: There is no interface eth9: there are ")


def test_without_hedgerow_children_are_closed_and_adults_online(gateway: House) -> None:
    """The last test, since it restarts Hedgerow."""
    tablet, parent = gateway.devices["tablet"], gateway.devices["parent"]
    let_control_take_over(gateway)
    gateway.stop()
    try:
        assert not asks("8.8.8.8")(gateway, tablet)
        assert not asks("1.1.1.1", "+tls")(gateway, tablet)
        assert reached(asks("8.8.8.8"), gateway, parent, hoped=True)
        assert reached(
            reads(f"http://{address4('www.wikipedia.org')}/", page="www.wikipedia.org"), gateway, parent, hoped=True
        )
        doctor = gateway.hedgerow("doctor", "--json", must=False)
        bad = {row["what"] for row in json.loads(doctor.stdout) if row["health"] == "bad"}
        assert gateway.hedgerow("gateway", "status").stdout.startswith("The gateway is in place.")
        gateway.router.must("nft", "flush table inet hedgerow")
        status = gateway.hedgerow("gateway", "status", must=False)
        assert (status.returncode, "something else has changed its rules" in status.stdout) == (1, True)
        ways = json.loads(gateway.hedgerow("doctor", "tablet", "--json", must=False).stdout)
        assert [row["health"] for row in ways if row["what"] == "another resolver"] == ["bad"]
        emptied = json.loads(gateway.hedgerow("doctor", "--json", must=False).stdout)
        assert [row["health"] for row in emptied if row["what"] == "gateway"] == ["bad"]
        gateway.hedgerow("gateway", "apply")
        assert gateway.hedgerow("gateway", "status").returncode == 0
        assert bad == {"proxy", "web", "control"} | {f"dns over {kind}" for kind in ("UDP", "TCP")} | {
            f"DNS over {kind}" for kind in ("TLS", "HTTPS", "QUIC")
        }
        gateway.hedgerow("gateway", "remove")
        assert reached(asks("8.8.8.8"), gateway, tablet, hoped=True), "removal works without Hedgerow"
    finally:
        gateway.start()
        gateway.hedgerow("gateway", "apply")
