"""Two days in the life of an example: its policy file with addresses of loopback, its devices, and what is pressed
when.
"""

from __future__ import annotations

import itertools
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from dnslib import DNSRecord

from hedgerow.app.snapshot import LoadedSnapshot, Snapshot
from hedgerow.policies.decide import decide
from hedgerow.policies.model import Device, Request, RequestKind, Verdict
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow
from small_internet.whole import SmallInternet

PLACE = Path(__file__).parents[3] / "examples"
FRIDAY = datetime(2027, 1, 8)
DAYS = (FRIDAY, FRIDAY + timedelta(days=1))
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Example:
    """`devices` are label → address as in the file; `events` are a day, a time of its clocks, and a command."""

    file: str
    devices: Mapping[str, str]
    sites: tuple[str, ...]
    events: tuple[tuple[int, str, tuple[str, ...]], ...] = ()


_MACS = {
    "aa:bb:cc:dd:ee:01": "192.168.1.101",
    "aa:bb:cc:dd:ee:06": "192.168.1.106",
    "aa:bb:cc:dd:ee:09": "192.168.1.109",
    "aa:bb:cc:dd:ee:42": "192.168.1.142",
    "aa:bb:cc:dd:ee:11": "192.168.178.111",
}
_ON_LOOPBACK = (("192.168.1.", "127.168.1."), ("192.168.178.", "127.168.178."), ("10.0.", "127.10."))
_EVERYWHERE = (
    "www.wikipedia.org",
    "www.youtube.com",
    "www.tiktok.com",
    "www.roblox.com",
    "www.pornhub.com",
    "www.childline.org.uk",
)

EXAMPLES = (
    Example(
        "family.yaml",
        {
            "Leo’s tablet": _MACS["aa:bb:cc:dd:ee:06"],
            "Mia’s tablet": _MACS["aa:bb:cc:dd:ee:09"],
            "Tom’s phone": _MACS["aa:bb:cc:dd:ee:01"],
            "Ana’s laptop": "192.168.1.41",
            "the television": "192.168.1.50",
            "a stranger’s phone": "192.168.1.200",
        },
        _EVERYWHERE,
        ((0, "18:00", ("pause", "tom", "--minutes", "30")), (1, "15:00", ("grant", "mia", "roblox", "--for", "hour"))),
    ),
    Example(
        "cafe.yaml",
        {
            "a seat for children": "10.0.1.5",
            "a seat for adults": "10.0.2.5",
            "the tournament": "10.0.1.70",
            "seat-1": "10.0.3.1",
            "the owner’s desk": "10.0.0.2",
            "a guest’s laptop": "10.0.9.9",
        },
        (
            "www.wikipedia.org",
            "discord.com",
            "www.tiktok.com",
            "gambling.example",
            "www.pornhub.com",
            "www.childline.org.uk",
        ),
        (
            (0, "14:00", ("seat", "open", "seat-1", "--as", "adult", "--minutes", "90")),
            (1, "10:00", ("seat", "open", "seat-1", "--as", "adult")),
            (1, "10:45", ("seat", "end", "seat-1")),
        ),
    ),
    Example(
        "shared-house.yaml",
        {
            "Jo’s laptop": "192.168.178.21",
            "Kim’s laptop": "192.168.178.31",
            "Noa’s phone": _MACS["aa:bb:cc:dd:ee:11"],
            "a visitor’s phone": "192.168.178.99",
        },
        (
            "www.wikipedia.org",
            "www.tiktok.com",
            "gambling.example",
            "news.example",
            "www.pornhub.com",
            "www.childline.org.uk",
        ),
    ),
)

LISTS = {"lists/our-list.txt": "news.example\n", "lists/gambling.txt": "gambling.example\n"}
"""Files beside the policy file; the category of the second is in every example's policy."""

type Pair = tuple[str, str]
type _Point = Callable[[Hedgerow, SmallInternet, str, str], bool | None]
Seen = dict[float, dict[Pair, bool]]
"""Instant of a change (or of a day's beginning) → who can reach what from then on."""


def policy_of(example: Example, net: SmallInternet) -> dict[str, Any]:
    """The file's policy; other addresses, upstream and ports are all that is changed about it."""
    text = (PLACE / example.file).read_text(encoding="utf-8")
    text = re.sub(r'url: "https://example.org/our-list.txt"', "path: lists/our-list.txt", text)
    for mac, address in _MACS.items():
        text = text.replace(f'mac: "{mac}"', f"ip: {address}").replace(f'"{mac}"', address)
    for old, new in _ON_LOOPBACK:
        text = text.replace(old, new)
    policy: dict[str, Any] = yaml.safe_load(text)
    ours = yaml.safe_load(network_section(net))["network"]
    policy["network"] |= {key: ours[key] for key in ("upstream", "reachable", "ports", "lists")}
    if all(entry.get("category") != "gambling" for entry in policy.setdefault("lists", [])):
        policy["lists"].append({"category": "gambling", "path": "lists/gambling.txt"})
    return policy


def watch(example: Example, net: SmallInternet, directory: Path) -> Seen:
    """Lives through both days; AssertionError where a point does not say within a minute what `decide` says."""
    policy = policy_of(example, net)
    zone = ZoneInfo(policy["network"]["timezone"])
    begin, end = _instant(DAYS[0], zone), _instant(DAYS[-1] + timedelta(days=1), zone)
    events = [(_instant(_at(day, time), zone), words) for day, time, words in example.events]
    clock, seen, now = WallClock(directory, begin), Seen(), begin
    with running_hedgerow(yaml.safe_dump(policy), lists=LISTS, environment=clock.environment) as running:
        while now < end:
            clock.set(now)
            for words in (words for instant, words in events if instant == now):
                done = hedgerow_command(*words, "--state", str(running.state))
                assert done.returncode == 0, done.stderr
            seen[now], following = _look(example, running, net, clock)
            before, now = (
                now,
                min(instant for instant in (*following, *(instant for instant, _ in events), end) if instant > now),
            )
            clock.set(now - 60)
            assert _look(example, running, net, clock)[0] == seen[before], "nothing changes before its time"
    return seen


def _look(
    example: Example, running: Hedgerow, net: SmallInternet, clock: WallClock
) -> tuple[dict[Pair, bool], set[float]]:
    """The sites that each device can reach now, and the instants at which that may change.

    Asking takes time, on a busy machine more than a minute. Nothing else shall happen meanwhile: before each question,
    the clock is set back to now.
    """
    now, deadline = clock.now(), time.monotonic() + PATIENCE_S
    agreed: dict[tuple[Pair, _Point], bool] = {}
    while True:
        expected, changes = _decided(example, LoadedSnapshot(Snapshot.load(running.state)), now)
        different = []
        for pair, point in itertools.product(expected, (_over_dns, _over_proxy)):
            clock.set(now)
            if agreed.get((pair, point)) is expected[pair]:
                continue
            if point(running, net, _moved(example.devices[pair[0]]), pair[1]) is expected[pair]:
                agreed[pair, point] = expected[pair]
            else:
                different.append((pair, point, expected[pair]))
        if not different:
            return expected, changes
        assert time.monotonic() < deadline, different


def _decided(example: Example, view: LoadedSnapshot, now: float) -> tuple[dict[Pair, bool], set[float]]:
    """The same as `decide` says."""
    expected: dict[Pair, bool] = {}
    changes: set[float] = set()
    for label, device in _devices(example, view):
        ruleset = view.rulesets.ruleset(device, now)
        changes |= {ruleset.until} if ruleset.until is not None else set()
        for site in example.sites:
            requests = (
                Request(device.id, RequestKind.DNS, site),
                Request(device.id, RequestKind.HTTP, site, 80, f"http://{site}/"),
            )
            allows = {decide(ruleset, view.catalogue, request).verdict is not Verdict.BLOCK for request in requests}
            assert len(allows) == 1, "decide says the same for both points"
            expected[label, site] = allows.pop()
    return expected, changes


def _devices(example: Example, view: LoadedSnapshot) -> Iterator[tuple[str, Device]]:
    for label, address in example.devices.items():
        device = view.rulesets.devices.find(_moved(address))
        assert device is not None, label
        yield label, device


def _moved(address: str) -> str:
    for old, new in _ON_LOOPBACK:
        if address.startswith(old):
            return new + address.removeprefix(old)
    return address


def _over_dns(running: Hedgerow, _net: SmallInternet, source: str, site: str) -> bool | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))
        client.settimeout(5)
        client.sendto(bytes(DNSRecord.question(site).pack()), running.dns)
        try:
            answer = DNSRecord.parse(client.recv(4096))
        except TimeoutError:
            return None
    addresses = {str(record.rdata) for record in answer.rr if record.rtype == 1}
    return None if not addresses else "0.0.0.0" not in addresses


def _over_proxy(running: Hedgerow, net: SmallInternet, source: str, site: str) -> bool | None:
    url = net.url(site, scheme="http")
    host = url.removeprefix("http://").rstrip("/")
    head = f"GET {url} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(running.proxy, timeout=10, source_address=(source, 0)) as client:
            client.sendall(head.encode())
            status = client.recv(64).split(b" ")[1:2]
    except OSError:
        return None
    return {b"200": True, b"403": False}.get(status[0]) if status else None


def _at(day: int, clock: str) -> datetime:
    hours, minutes = clock.split(":")
    return DAYS[day] + timedelta(hours=int(hours), minutes=int(minutes))


def _instant(moment: datetime, zone: ZoneInfo) -> float:
    return moment.replace(tzinfo=zone).timestamp()


def render(example: Example, seen: Seen) -> str:
    """A table: devices by day and site, with the times at which the site can be reached."""
    zone = ZoneInfo(yaml.safe_load((PLACE / example.file).read_text(encoding="utf-8"))["network"]["timezone"])
    rows = ["| who | day | " + " | ".join(example.sites) + " |", "|---|---|" + "---|" * len(example.sites)]
    for label in example.devices:
        for day in DAYS:
            cells = (_times(seen, (label, site), day, zone) for site in example.sites)
            rows.append(f"| {label} | {day:%A} | " + " | ".join(cells) + " |")
    reported = [f"{DAYS[day]:%A} {clock}: `hedgerow {' '.join(words)}`" for day, clock, words in example.events]
    return "\n".join(rows) + "\n" + (f"\nPressed in these days: {'; '.join(reported)}.\n" if reported else "")


def _times(seen: Seen, pair: Pair, day: datetime, zone: ZoneInfo) -> str:
    begin, end = _instant(day, zone), _instant(day + timedelta(days=1), zone)
    edges = [begin, *(instant for instant in sorted(seen) if begin < instant < end), end]
    stretches: list[list[float]] = []
    for start, stop in itertools.pairwise(edges):
        at_start = seen[max(instant for instant in seen if instant <= start)]
        if not at_start[pair]:
            continue
        if stretches and stretches[-1][1] == start:
            stretches[-1][1] = stop
        else:
            stretches.append([start, stop])
    if stretches == [[begin, end]]:
        return "all day"
    return (
        ", ".join(
            f"{_clock(start, zone)}–{'24:00' if stop == end else _clock(stop, zone)}" for start, stop in stretches
        )
        or "—"
    )


def _clock(instant: float, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(instant, zone):%H:%M}"
