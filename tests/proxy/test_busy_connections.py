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
    assert dict(tracker.busy([old, new], NOON + 61)) == {old: MIN_BUSY_BYTES}
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


def test_connections_to_background_hosts_add_up_by_device(ruleset: Ruleset) -> None:
    def request(device: str, host: str) -> Request:
        return Request(DeviceId(device), RequestKind.TUNNEL, host, 443)

    busy = [
        ("tv", "dl.google.com", 3),
        ("tv", "example.org", 5),
        ("tv", "push.apple.com", 4),
        ("pad", "dl.google.com", 1),
    ]
    seen: list[tuple[str, str, int]] = []
    report_busy(
        ((ruleset, request(device, host), octets) for device, host, octets in busy),
        lambda _, request, octets: seen.append((request.device, request.host, octets)),
    )
    assert seen == [
        ("tv", "dl.google.com", 3),
        ("tv", "example.org", 5),
        ("tv", "push.apple.com", 7),
        ("pad", "dl.google.com", 1),
    ]
