"""Busy connections by bytes per minute, and the sum of a device's connections to background hosts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.policies.activity import MIN_BUSY_BYTES
from hedgerow.policies.model import DeviceId, Request, RequestKind
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.proxy.connections import BusyTracker, report_busy

NOON = 1_800_014_400.0


@dataclass(eq=False)
class Connection:
    bytes_moved: int = 0


def test_a_connection_is_busy_by_the_bytes_of_the_running_minute() -> None:
    tracker, old, new = BusyTracker[Connection](), Connection(10**9), Connection()
    assert dict(tracker.busy([old], NOON)) == {old: 10**9}, "new to us, so all of it is of this minute"
    assert dict(tracker.busy([old], NOON + 60)) == {}
    old.bytes_moved += MIN_BUSY_BYTES
    new.bytes_moved = MIN_BUSY_BYTES - 1
    assert dict(tracker.busy([old, new], NOON + 61)) == {old: MIN_BUSY_BYTES, new: MIN_BUSY_BYTES - 1}
    new.bytes_moved += 1
    assert dict(tracker.busy([new], NOON + 62)) == {old: MIN_BUSY_BYTES, new: MIN_BUSY_BYTES}, "an ended one counts too"
    assert dict(tracker.busy([new], NOON + 120)) == {}


@pytest.fixture(scope="module")
def ruleset(tmp_path_factory: pytest.TempPathFactory) -> Ruleset:
    out = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), out)
    rulesets = Rulesets(parse_policy(b"", None), (), (), Catalogue.open(out))
    device = rulesets.devices.find("192.168.1.9")
    assert device is not None
    return rulesets.ruleset(device, NOON)


type Moved = list[tuple[str, str, int]]


def reported(ruleset: Ruleset, moved: Moved) -> Moved:
    """Return the devices, hosts and bytes that are reported of those of connections."""
    seen: Moved = []
    requests = (
        (ruleset, Request(DeviceId(device), RequestKind.TUNNEL, host, 443), octets) for device, host, octets in moved
    )
    report_busy(requests, lambda _, request, octets: seen.append((request.device, request.host, octets)))
    return seen


def test_connections_to_background_hosts_add_up_by_device(ruleset: Ruleset) -> None:
    busy = [
        ("tv", "dl.google.com", 3),
        ("tv", "example.org", MIN_BUSY_BYTES),
        ("tv", "push.apple.com", 4),
        ("pad", "dl.google.com", 1),
    ]
    assert reported(ruleset, busy) == [
        ("tv", "dl.google.com", 3),
        ("tv", "push.apple.com", 7),
        ("pad", "dl.google.com", 1),
        ("tv", "example.org", MIN_BUSY_BYTES),
    ]


def test_many_slow_connections_are_as_busy_as_a_fast_one(ruleset: Ruleset) -> None:
    """As a chat over forty WebSockets, each of which moves less than would count by itself."""
    half = MIN_BUSY_BYTES // 2
    assert reported(ruleset, [("pad", "a.example.org", half - 1), ("pad", "b.example.org", half)]) == []
    one_site = [("pad", "a.example.org", half), ("pad", "b.example.org", half), ("tv", "a.example.org", half)]
    assert reported(ruleset, one_site) == one_site[:2]
    sites = [("pad", f"ws.example{number}.com", half + number) for number in range(40)]
    assert reported(ruleset, sites) == sites[-1:], "the busiest site stands for all of them"
    few = [("pad", "www.example.com", 2 * half), ("pad", "chat.example.org", 10)]
    assert reported(ruleset, few) == few[:1], "what hardly moves is not used because something else is"
