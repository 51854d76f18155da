"""Minutes by forwarded bytes, from successive readings of the gateway's counters."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from hedgerow.app.gateway.traffic import READ_INTERVAL_S, TrafficMeter
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.network.traffic_rules import TrafficCounters
from hedgerow.policies.activity import MIN_BUSY_BYTES
from hedgerow.policies.model import Pause
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import ActiveMinute

POLICY = parse_policy(
    b"""
network: {timezone: UTC, lan: [192.168.1.0/24, "fd00::/64"]}
people: {mia: {age: 9, budget: {every-day: 1h, games: 30m}, devices: [tablet, pad]}, ana: {profile: adult, devices: [laptop]}}
devices:
  tablet: {mac: "02:00:00:00:00:01"}
  pad: {ip: 192.168.1.7}
  laptop: {mac: "02:00:00:00:00:02"}
""",  # noqa: E501
    None,
)
MAC, OTHER_MAC, ADULT_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99", "02:00:00:00:00:02"
NEIGHBOURS = {"192.168.1.5": MAC, "fd00::5": MAC, "192.168.1.7": OTHER_MAC, "192.168.1.8": ADULT_MAC}
NOON = 1_800_014_400.0
NOTHING = TrafficCounters()
MINUTE = [ActiveMinute(int(NOON // 60), "person:mia", "")]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    out = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), out)
    return Catalogue.open(out)


class _Stand:
    """A meter that has read the counters once."""

    def __init__(self, catalogue: Catalogue, before: TrafficCounters = NOTHING, *pauses: Pause) -> None:
        self._meter, self._rulesets = TrafficMeter(), Rulesets(POLICY, (), pauses, catalogue)
        assert self._meter.read(before, NEIGHBOURS, self._rulesets, NOON) == []

    def read(
        self, sent: Mapping[str, int], received: Mapping[str, int] | None = None, after: float = READ_INTERVAL_S
    ) -> list[ActiveMinute]:
        return self._meter.read(TrafficCounters(sent, received or {}), NEIGHBOURS, self._rulesets, NOON + after)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ({MAC: MIN_BUSY_BYTES}, {}),
        ({}, {"192.168.1.5": MIN_BUSY_BYTES}),
        ({MAC: MIN_BUSY_BYTES // 2}, {"192.168.1.5": MIN_BUSY_BYTES // 4, "fd00::5": MIN_BUSY_BYTES // 4}),
        ({OTHER_MAC: MIN_BUSY_BYTES}, {}),  # the policy knows this one by its IP address
    ],
)
def test_both_directions_count_for_the_budget_of_all_use(
    catalogue: Catalogue, sent: dict[str, int], received: dict[str, int]
) -> None:
    assert _Stand(catalogue).read(sent, received) == MINUTE


def test_little_traffic_does_not_count(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue)
    assert stand.read({MAC: MIN_BUSY_BYTES - 1}) == []
    assert stand.read({MAC: 2 * MIN_BUSY_BYTES - 3}, after=70) == [], "a minute of its own"
    assert stand.read({MAC: 2 * MIN_BUSY_BYTES}, after=80) == [ActiveMinute(MINUTE[0].minute + 1, "person:mia", "")]


def test_only_what_was_moved_since_the_first_reading_counts(catalogue: Catalogue) -> None:
    stand = _Stand(catalogue, TrafficCounters({MAC: 10**9}, {"192.168.1.5": 10**9}))
    assert stand.read({MAC: 10**9}, {"192.168.1.5": 10**9}) == []
    assert stand.read({MAC: 100}, {"192.168.1.5": MIN_BUSY_BYTES}, after=20) == MINUTE, "the counters began anew"


def test_nothing_counts_for_devices_without_a_budget_or_while_closed(catalogue: Catalogue) -> None:
    pause = Pause("1", "ana", NOON - 60, None, person="mia")
    assert _Stand(catalogue, NOTHING, pause).read({MAC: 10**9}) == []
    assert {
        each.account
        for each in _Stand(catalogue).read({ADULT_MAC: 10**9, "02:00:00:00:00:77": 10**9}, {"8.8.8.8": 10**9})
    } == set()


def test_a_removed_table_is_forgotten(catalogue: Catalogue) -> None:
    rulesets, meter = Rulesets(POLICY, (), (), catalogue), TrafficMeter()
    for counters in (TrafficCounters(), None, TrafficCounters({MAC: 10**9})):
        assert meter.read(counters, NEIGHBOURS, rulesets, NOON) == []
