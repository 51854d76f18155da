from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.rules import Origin
from hedgerow.policies import identity
from hedgerow.policies import ruleset as ruleset_module
from hedgerow.policies.activity import total_meters
from hedgerow.policies.decide import decide
from hedgerow.policies.expiry import PersonTimes, person_times
from hedgerow.policies.model import (
    Device,
    DeviceId,
    Grant,
    Pause,
    Privacy,
    Reason,
    Request,
    RequestKind,
    SafeSearch,
    Session,
    Verdict,
)
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import LATER_BEDTIME, PauseKind, SpentBudget
from hedgerow.policies.times.budget import balances, spent_budgets
from hedgerow.policies.times.closing import is_in_force

MAC = "02:00:00:00:00:07"
NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC
POLICY = b"""
network: {timezone: Europe/Lisbon, lan: [192.168.1.0/24, "fd12:3456::/64"]}
people:
  mia: {age: 9, devices: [tablet, console], bedtime: "20:30-07:00"}
  tom: {age: 9, devices: [phone]}
devices:
  tablet: {ip: 192.168.1.9, mac: "AA:BB:CC:DD:EE:09"}
  console: {ip: 192.168.1.10}
  phone: {cidr: 192.168.1.16/28, privacy: full}
"""


def _rulesets(catalogue: Catalogue, *given: Grant | Pause, policy: bytes = POLICY) -> Rulesets:
    grants = [each for each in given if isinstance(each, Grant)]
    pauses = [each for each in given if isinstance(each, Pause)]
    return Rulesets(parse_policy(policy, None), grants, pauses, catalogue)


def _at(rulesets: Rulesets, address: str, mac: str | None = None) -> Device:
    device = rulesets.devices.find(address, mac)
    assert device is not None
    return device


def test_equal_rulesets_are_one_object(catalogue: Catalogue) -> None:
    rulesets = _rulesets(catalogue)
    tablet, console = (rulesets.ruleset(_at(rulesets, address), NOON) for address in ("192.168.1.9", "192.168.1.10"))
    assert tablet is console
    strangers = [rulesets.ruleset(_at(rulesets, f"192.168.1.{n}"), NOON) for n in (100, 101, 102)]
    assert len({each.id for each in strangers}) == 1
    assert strangers[0] is strangers[1]
    assert strangers[0].id != tablet.id


def test_a_ruleset_stays_the_same_until_a_boundary(catalogue: Catalogue) -> None:
    rulesets = _rulesets(catalogue)
    tablet = _at(rulesets, "192.168.1.9")
    day = rulesets.ruleset(tablet, NOON)
    assert day.until == NOON + 8.5 * 3600
    assert rulesets.ruleset(tablet, day.until - 0.001) is day
    night = rulesets.ruleset(tablet, day.until)
    assert night is not day
    assert night.closed is not None
    assert rulesets.ruleset(tablet, NOON).closed is None, "somebody set the clock back"


def test_settings_come_from_the_nearest_scope(catalogue: Catalogue) -> None:
    rulesets = _rulesets(catalogue)
    phone = rulesets.ruleset(_at(rulesets, "192.168.1.20"), NOON)
    assert (phone.privacy, phone.person, phone.profile, phone.safe_search) == (
        Privacy.FULL,
        "tom",
        "child-8-12",
        SafeSearch.STRICT,
    )


def test_youtube_follows_safe_search_by_default(catalogue: Catalogue) -> None:
    rulesets = _rulesets(
        catalogue, policy=b"people: {a: {profile: adult, safe_search: strict, youtube: off, devices: [192.168.1.9]}}"
    )
    ruleset = rulesets.ruleset(_at(rulesets, "192.168.1.9"), NOON)
    assert (ruleset.safe_search, ruleset.youtube) == (SafeSearch.STRICT, SafeSearch.OFF)


def test_a_mac_outranks_addresses(catalogue: Catalogue) -> None:
    rulesets = _rulesets(catalogue)
    assert _at(rulesets, "192.168.1.20", "aa:bb:cc:dd:ee:09").id == "tablet"
    assert _at(rulesets, "2001:db8::77", "AA:BB:CC:DD:EE:09").id == "tablet", (
        "a device is inside by its MAC, whatever its prefix"
    )
    assert _at(rulesets, "192.168.1.20", "aa:bb:cc:dd:ee:77").id == "phone"


def test_unknown_devices(catalogue: Catalogue) -> None:
    rulesets = _rulesets(catalogue)
    stranger = _at(rulesets, "192.168.1.200")
    assert (stranger.id, stranger.known, stranger.person, stranger.profile) == (
        "192.168.1.200",
        False,
        None,
        "child-8-12",
    )
    assert _at(rulesets, "fd12:3456::1", "AA:BB:CC:00:00:01").id == "aa:bb:cc:00:00:01"
    assert _at(rulesets, "::ffff:192.168.1.9").id == "tablet"
    for outside in ("8.8.8.8", "192.168.2.1", "2001:db8::1", "127.0.0.1", "", "nonsense", "192.168.1.1.1"):
        assert rulesets.devices.find(outside) is None


def test_link_local_addresses_can_have_a_zone(catalogue: Catalogue) -> None:
    rulesets = _rulesets(catalogue, policy=b"")
    assert _at(rulesets, "fe80::1%eth0").id == "fe80::/64"


def test_ipv6_addresses_without_a_mac_are_one_stranger_per_link(catalogue: Catalogue) -> None:
    """A device takes any number of addresses, each of which would have limits of its own."""
    rulesets = _rulesets(catalogue)
    assert {_at(rulesets, f"fd12:3456::{number:x}").id for number in range(1, 3000)} == {"fd12:3456::/64"}
    assert _at(rulesets, "fd12:3456::1", "02:00:00:00:00:07").id == "02:00:00:00:00:07"


def test_a_future_grant_is_a_boundary_for_its_person_only(catalogue: Catalogue) -> None:
    grant = Grant("g", "roblox", "ana", NOON + 60, NOON + 120, person="tom")
    rulesets = _rulesets(catalogue, grant)
    tom, stranger = _at(rulesets, "192.168.1.20"), _at(rulesets, "192.168.1.200")
    assert rulesets.ruleset(stranger, NOON).until == NOON + 8.5 * 3600, "when the child's night begins"
    assert rulesets.ruleset(tom, NOON).until == NOON + 60
    assert rulesets.ruleset(tom, NOON + 60).until == NOON + 120
    assert rulesets.ruleset(tom, NOON + 120).until is None


def test_memory_is_bounded(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleset_module, "MAX_CACHED_DEVICES", 100)
    monkeypatch.setattr(identity, "MAX_CACHED_DEVICES", 100)
    rulesets = _rulesets(catalogue)
    for n in range(1000):
        rulesets.ruleset(_at(rulesets, f"fd12:3456::{n:x}"), NOON)
    assert len(rulesets.devices.known) <= 100
    assert len(rulesets._held) <= 100
    tablet = _at(rulesets, "192.168.1.9")
    ids = set()
    for day in range(3000):
        ids.add(rulesets.ruleset(tablet, NOON + day * 86_400).id)
    assert len(ids) == 3000, "a day of its own for every day"
    assert len(rulesets._interned) < 1100


def _closed(rulesets: Rulesets, address: str, now: float = NOON) -> str | None:
    closed = rulesets.ruleset(_at(rulesets, address), now).closed
    return closed.reason.value if closed else None


def test_strangers_are_closed_while_a_child_is_in_bed_or_paused(catalogue: Catalogue) -> None:
    """One switch on a phone gives it another MAC address, which must not end the night."""
    stranger, night = "192.168.1.100", NOON + 8.5 * 3600
    rulesets = _rulesets(catalogue)
    assert [_closed(rulesets, stranger, at) for at in (NOON, night - 1, night)] == [None, None, "unnamed-device"]
    assert _closed(rulesets, "192.168.1.16", night) is None, "another child's own device"
    pause = Pause("p", "parent", NOON, NOON + 60, person="tom")
    paused = _rulesets(catalogue, pause)
    assert [_closed(paused, stranger, at) for at in (NOON, NOON + 60)] == ["unnamed-device", None]
    assert _closed(paused, "192.168.1.9") is None


@pytest.mark.parametrize(
    "policy",
    [
        POLICY.replace(b"network: {", b"network: {unknown_devices: guest, "),
        POLICY.replace(b"mia: {age: 9, ", b"mia: {age: 40, "),
    ],
)
def test_strangers_stay_open_where_they_are_guests_and_for_adults(catalogue: Catalogue, policy: bytes) -> None:
    assert _closed(_rulesets(catalogue, policy=policy), "192.168.1.100", NOON + 8.5 * 3600) is None


def test_a_parents_device_without_a_name_is_spared_and_no_other_stranger(catalogue: Catalogue) -> None:
    pause = Pause("p", "ana", NOON - 1, NOON + 60, spared_device=DeviceId("192.168.1.100"))
    rulesets = _rulesets(catalogue, pause)
    assert [_closed(rulesets, address) for address in ("192.168.1.100", "192.168.1.101", "192.168.1.9")] == [
        None,
        "pause",
        "pause",
    ]
    assert _closed(rulesets, "192.168.1.100", NOON + 8.5 * 3600) == "unnamed-device", "spared by the pause alone"


def test_a_pause_names_its_actor(catalogue: Catalogue) -> None:
    rulesets = _rulesets(catalogue, Pause("p", "ana", NOON - 1, None, device=DeviceId("tablet"), note="dinner"))
    closed = rulesets.ruleset(_at(rulesets, "192.168.1.9"), NOON).closed
    assert closed is not None
    assert (closed.what, str(closed.rule), closed.until) == ("dinner", "pause by ana", None)


def test_people_have_separate_rules(catalogue: Catalogue) -> None:
    policy = b"""
people:
  mia: {age: 9, devices: [pc, tablet], block: [mia.example]}
  tom: {age: 9, devices: [phone], block: [tom.example]}
  kim: {age: 9, devices: [watch], budget: 1h}
devices:
  pc: {ip: 192.168.1.1, block: [pc.example]}
  tablet: {ip: 192.168.1.2}
  phone: {ip: 192.168.1.3}
  watch: {ip: 192.168.1.4}
"""
    rulesets = _rulesets(catalogue, Grant("g", "kim.example", "ana", NOON, None, person="kim"), policy=policy)
    named = {
        name: {host for host in rulesets.ruleset(device, NOON).rules.hosts if host.endswith(".example")}
        for name, device in rulesets.policy.devices.items()
    }
    assert named == {
        "pc": {"pc.example", "mia.example"},
        "tablet": {"mia.example"},
        "phone": {"tom.example"},
        "watch": {"kim.example"},
    }


def _verdict(rulesets: Rulesets, catalogue: Catalogue, host: str, now: float) -> tuple[Verdict, Reason]:
    device = _at(rulesets, "192.168.1.9")
    decision = decide(rulesets.ruleset(device, now), catalogue, Request(device.id, RequestKind.DNS, host))
    return decision.verdict, decision.reason


def test_homework_closes_what_distracts_until_it_ends(catalogue: Catalogue) -> None:
    """Services that the policy allows are closed too; other sites stay open, and so does what somebody grants
    meanwhile.
    """
    homework = Pause("p1", "Ana", NOON, NOON + 3600, person="mia", kind=PauseKind.HOMEWORK)
    policy = POLICY.replace(
        b"{age: 9, devices: [tablet", b"{age: 9, allow: [netflix, scratch.mit.edu], devices: [tablet"
    )
    rulesets = _rulesets(catalogue, homework, policy=policy)
    ruleset = rulesets.ruleset(_at(rulesets, "192.168.1.9"), NOON)
    assert ruleset.closed is None
    assert ruleset.until == NOON + 3600
    assert _verdict(rulesets, catalogue, "www.netflix.com", NOON) == (Verdict.BLOCK, Reason.SERVICE)
    assert _verdict(rulesets, catalogue, "minecraft.net", NOON) == (Verdict.BLOCK, Reason.SERVICE)
    for host in ("de.wikipedia.org", "scratch.mit.edu"):
        assert _verdict(rulesets, catalogue, host, NOON)[0] is Verdict.ALLOW
    assert _verdict(rulesets, catalogue, "www.netflix.com", NOON + 3600) == (Verdict.ALLOW, Reason.EXCEPTION)
    granted = _rulesets(
        catalogue, homework, Grant("g1", "netflix", "Ana", NOON, NOON + 600, person="mia"), policy=policy
    )
    assert _verdict(granted, catalogue, "www.netflix.com", NOON) == (Verdict.ALLOW, Reason.GRANT)
    phone = _at(rulesets, "192.168.1.17")
    assert rulesets.ruleset(phone, NOON).until is None, "tom has no homework"


def test_a_later_bedtime_lifts_bedtime_until_it_ends_and_nothing_else(catalogue: Catalogue) -> None:
    bed = NOON + 8.5 * 3600
    later = Grant("g1", LATER_BEDTIME, "Ana", NOON, bed + 1800, person="mia")
    rulesets = _rulesets(catalogue, later)
    tablet = _at(rulesets, "192.168.1.9")
    assert rulesets.ruleset(tablet, bed).closed is None
    assert rulesets.ruleset(tablet, bed).until == bed + 1800
    closed = rulesets.ruleset(tablet, bed + 1800).closed
    assert closed is not None
    assert closed.reason is Reason.BEDTIME
    tomorrow = rulesets.ruleset(tablet, bed + 86400).closed
    assert tomorrow is not None
    assert _verdict(rulesets, catalogue, "pornhub.com", bed)[0] is Verdict.BLOCK
    paused = _rulesets(catalogue, later, Pause("p1", "Ana", NOON, None, person="mia"))
    assert paused.ruleset(tablet, bed).closed is not None
    other = _rulesets(catalogue, Grant("g1", LATER_BEDTIME, "Ana", NOON, bed + 1800, person="tom"))
    assert other.ruleset(tablet, bed).closed is not None


def test_tonights_bedtime_is_the_next_one_and_includes_what_was_put_off(catalogue: Catalogue) -> None:
    bed = NOON + 8.5 * 3600
    rulesets = _rulesets(catalogue)
    mia, tom = rulesets.policy.people["mia"], rulesets.policy.people["tom"]
    assert person_times(rulesets, mia, NOON) == PersonTimes(None, bed)
    assert person_times(rulesets, tom, NOON) == PersonTimes(None, None)
    in_bed = person_times(rulesets, mia, bed + 60)
    assert in_bed.bedtime == bed + 60
    assert in_bed.closed is not None
    put_off = _rulesets(catalogue, Grant("g1", LATER_BEDTIME, "Ana", NOON, bed + 1800, person="mia"))
    assert person_times(put_off, mia, NOON).bedtime == bed + 1800
    morning = bed + 11 * 3600
    assert person_times(rulesets, mia, morning) == PersonTimes(None, morning + 13 * 3600)


def test_nothing_open_ended_depends_on_the_clock(catalogue: Catalogue) -> None:
    """A machine without a clock boots in 1970, or with the time of its last shutdown."""
    clocks = (NOON, NOON - 3600, NOON - 30 * 86_400, 60.0)
    paused = _rulesets(catalogue, Pause("p", "parent", NOON, None, person="tom"))
    assert [_closed(paused, "192.168.1.16", at) for at in clocks] == ["pause"] * 4
    assert all(is_in_force(Grant("g", "x.example", "parent", NOON, None), at) for at in clocks)
    bounded = Grant("g", "x.example", "parent", NOON, NOON + 60)
    assert [is_in_force(bounded, at) for at in clocks] == [True, False, False, False], "a wrong clock opens nothing"
    timed = Pause("p", "parent", NOON, NOON + 3600)
    assert [is_in_force(timed, at) for at in (NOON + 3599, NOON - 5, 0.0, NOON + 3600)] == [True, True, True, False]


TIMES = b"""
network: {timezone: UTC}
people:
  mia: {age: 9, devices: [tablet], bedtime: "20:30-07:00"}
  tom: {age: 9, devices: [phone], schedules: {school: {block: internet, when: "08:00-13:00"}}}
  eve: {age: 9, devices: [laptop], schedules: {weekend: {block: [games], allow: [forum.example], when: {weekend: "10:00-18:00"}}}}
  kim: {age: 9, devices: [watch], budget: 1h}
devices: {tablet: {ip: 192.168.1.9}, phone: {ip: 192.168.1.10}, laptop: {ip: 192.168.1.11}, watch: {ip: 192.168.1.12}}
"""  # noqa: E501


def test_whatever_time_closes_is_closed_while_the_clock_is_wrong(catalogue: Catalogue) -> None:
    spent = [SpentBudget("person:kim", "", NOON - 3600, NOON + 3600, 60, Origin("x"))]
    rulesets = Rulesets(parse_policy(TIMES, None), (), (), catalogue, spent, trusted_from=NOON)
    addresses = [f"192.168.1.{number}" for number in (9, 10, 11, 12)]
    right = [rulesets.ruleset(_at(rulesets, address), NOON + 2 * 3600) for address in addresses]  # Tuesday, 14:00
    assert [ruleset.closed for ruleset in right] == [None] * 4
    in_bed = rulesets.ruleset(_at(rulesets, "192.168.1.9"), NOON + 10 * 3600).closed
    assert in_bed is not None
    assert not in_bed.by_wrong_clock
    for wrong in (60.0, NOON - 86_400 + 2 * 3600):
        closed = [rulesets.ruleset(_at(rulesets, address), wrong) for address in addresses]
        reasons = [None if ruleset.closed is None else ruleset.closed.reason for ruleset in closed]
        assert reasons == [Reason.BEDTIME, Reason.SCHEDULE, None, Reason.BUDGET]
        assert all(each.closed.by_wrong_clock for each in closed if each.closed is not None)
        assert "games" in closed[2].rules.categories
        assert not any(rule.allow for rule in closed[2].rules.hosts.values())
        assert all(ruleset.until is not None and ruleset.until <= NOON for ruleset in closed), (
            "a right clock is noticed at once"
        )
        assert rulesets.ruleset(_at(rulesets, "192.168.1.200"), wrong).closed is not None, (
            "a stranger could be the child"
        )


HOME = b"""
network: {timezone: Europe/Lisbon, lan: [192.168.1.0/24]}
people:
  mia: {age: 15, devices: [phone], block: [play.example], budget: {every-day: 2h, games: 30m}}
  tom: {age: 9, devices: [tablet], budget: 1h, schedules: {reading: {block: internet, when: "15:00-16:00"}}}
  ana: {age: 40, devices: [laptop]}
devices:
  phone: {ip: 192.168.1.9, block: [phone.example]}
  tablet: {ip: 192.168.1.10}
  laptop: {ip: 192.168.1.20}
"""
STRANGERS = ("192.168.1.100", "192.168.1.101")


def _home(catalogue: Catalogue, *spent: SpentBudget, policy: bytes = HOME) -> Rulesets:
    return Rulesets(parse_policy(policy, None), (), (), catalogue, spent)


def _spent(account: str, subject: str = "") -> SpentBudget:
    return SpentBudget(account, subject, NOON - 60, NOON + 3600, 60, Origin("hedgerow.yaml"))


def _asked(rulesets: Rulesets, catalogue: Catalogue, address: str, host: str) -> tuple[Verdict, Reason]:
    device = _at(rulesets, address)
    decision = decide(rulesets.ruleset(device, NOON), catalogue, Request(device.id, RequestKind.DNS, host))
    return decision.verdict, decision.reason


def test_a_new_mac_address_does_not_end_a_spent_budget(catalogue: Catalogue) -> None:
    for account in ("person:mia", "person:tom"):
        rulesets = _home(catalogue, _spent(account))
        assert [_closed(rulesets, address) for address in (*STRANGERS, "192.168.1.20")] == [
            "unnamed-device",
            "unnamed-device",
            None,
        ]
        assert _closed(rulesets, STRANGERS[0], NOON + 3600) is None


def test_a_new_mac_address_does_not_end_a_time_without_internet(catalogue: Catalogue) -> None:
    rulesets = _home(catalogue)
    assert [_closed(rulesets, STRANGERS[0], NOON + hours * 3600) for hours in (0, 3, 4)] == [
        None,
        "unnamed-device",
        None,
    ]
    assert rulesets.ruleset(_at(rulesets, STRANGERS[0]), NOON).until == NOON + 3 * 3600


def test_a_new_mac_address_opens_nothing_that_is_closed_to_a_child(catalogue: Catalogue) -> None:
    rulesets = _home(catalogue)
    for host in ("play.example", "phone.example"):
        assert _asked(rulesets, catalogue, STRANGERS[0], host) == (Verdict.BLOCK, Reason.RULE)
        assert _asked(rulesets, catalogue, "192.168.1.10", host)[0] is Verdict.ALLOW, "another child's own device"


def test_a_new_mac_address_ends_no_budget_of_a_category(catalogue: Catalogue) -> None:
    rulesets = _home(catalogue, _spent("person:mia", "category:games"))
    ruleset = rulesets.ruleset(_at(rulesets, STRANGERS[0]), NOON)
    assert [each.subject for each in ruleset.used_up] == ["category:games"]


def test_all_unnamed_devices_together_have_the_time_of_one_child(catalogue: Catalogue) -> None:
    rulesets = _home(catalogue)
    first, second = (rulesets.ruleset(_at(rulesets, address), NOON) for address in STRANGERS)
    assert first.meters == second.meters
    assert [meter.subject for meter in first.meters] == ["", "category:games"]
    policy = rulesets.policy
    minutes = {(first.meters[0].account, ""): {int(NOON) // 3600: (1 << 60) - 1}}
    (spent,) = spent_budgets(balances(policy, minutes, (), NOON + 3600))
    assert (spent.account, spent.minutes) == (first.meters[0].account, 60), "the fewest of any child"
    closed = Rulesets(policy, (), (), catalogue, (spent,))
    assert [_closed(closed, address, NOON + 3600) for address in (*STRANGERS, "192.168.1.10")] == [
        "budget",
        "budget",
        None,
    ]


@pytest.mark.parametrize(
    "policy",
    [
        HOME.replace(b"network: {", b"network: {unknown_devices: guest, "),
        HOME.replace(b"age: 15", b"age: 50").replace(b"age: 9", b"age: 50"),
    ],
)
def test_guests_and_strangers_among_adults_have_their_own_rules(catalogue: Catalogue, policy: bytes) -> None:
    rulesets = _home(catalogue, _spent("person:mia"), policy=policy)
    assert _closed(rulesets, STRANGERS[0]) is None
    ruleset = rulesets.ruleset(_at(rulesets, STRANGERS[0]), NOON)
    assert ruleset.limited_as(DeviceId("a")) == "a"
    assert ruleset.meters == ()


NAMED = b"""
network: {timezone: UTC, lan: [192.168.1.0/24]}
people:
  mia: {age: 9, budget: 1h, devices: [family-tablet]}
  ana: {age: 40, devices: [family-tablet]}
devices:
  family-tablet: {hostname: family-tablet}
"""


def test_a_host_name_that_anybody_can_take_opens_nothing(catalogue: Catalogue) -> None:
    """Neither a session at the device of that name, nor minutes that nobody counts."""
    policy, pause = parse_policy(NAMED, None), Pause("p", "ana", NOON - 1, NOON + 60, person="mia")
    session = Session("s", DeviceId("family-tablet"), "ana", NOON - 1, NOON + 60, person="ana")
    rulesets = Rulesets(policy, (), (pause,), catalogue, sessions=(session,), names={MAC: "family-tablet"})
    device = _at(rulesets, "192.168.1.100", MAC)
    assert device.claims == "family-tablet"
    ruleset = rulesets.ruleset(device, NOON)
    assert ruleset.closed is not None
    later = rulesets.ruleset(device, NOON + 3600)
    assert [meter.account for meter in total_meters(later, device.id)] == [f"device:{later.limited_as(device.id)}"]


def test_the_rules_of_unnamed_devices_are_combined_once_for_all_of_them(catalogue: Catalogue) -> None:
    rulesets = _home(catalogue)
    first, second = (rulesets.ruleset(_at(rulesets, address), NOON) for address in STRANGERS)
    assert first is second
    assert len(rulesets._held) == 1
    grant = Grant("g", "play.example", "ana", NOON - 1, NOON + 60, device=DeviceId(STRANGERS[0]))
    pause = Pause("p", "ana", NOON - 1, NOON + 60, spared_device=DeviceId(STRANGERS[1]))
    given = Rulesets(rulesets.policy, (grant,), (pause,), catalogue)
    assert [_closed(given, address) for address in (*STRANGERS, "192.168.1.102")] == [
        "pause",
        None,
        "pause",
    ]
    granted = Rulesets(rulesets.policy, (grant,), (), catalogue)
    assert [_asked(granted, catalogue, address, "play.example")[0] for address in STRANGERS] == [
        Verdict.ALLOW,
        Verdict.BLOCK,
    ]


def test_attempts_of_unnamed_devices_in_a_home_with_children_are_counted_together(catalogue: Catalogue) -> None:
    rulesets = _home(catalogue)
    strangers = [rulesets.ruleset(_at(rulesets, address), NOON) for address in STRANGERS]
    assert len({each.limited_as(DeviceId(address)) for each, address in zip(strangers, STRANGERS, strict=True)}) == 1
    named = rulesets.ruleset(_at(rulesets, "192.168.1.9"), NOON)
    assert named.limited_as(DeviceId("phone")) == "phone"
