"""Sites that are new to this network: the table of sites seen, and the decisions that follow from it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.explain import explain
from hedgerow.policies.model import Decision, DeviceId, Grant, Reason, Request, RequestKind, Verdict
from hedgerow.policies.person_access import SubjectAccess, person_access
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.sites_seen import (
    DAY_S,
    MAX_REGISTERED,
    MAX_SITES,
    NEW_DOMAINS,
    SitesSeen,
    closes_new_sites,
    own_sites,
    registration_of,
)
from hedgerow.policies.unlisted import site_to_ask_about

TODAY = 20_781  # 2026-11-24
NOON = TODAY * DAY_S + 43_200.0
SITE = "www.kleine-eisenbahn-freunde.net"
SITE_NAME = "kleine-eisenbahn-freunde.net"
POLICY = """
network: {new_sites_days: 7}
people:
  mia: {age: 6, devices: [tablet]}
  ben: {age: 9, devices: [laptop]}
  eva: {age: 9, devices: [phone], block: [new-domains]}
  ida: {age: 6, devices: [watch], privacy: none}
  jan: {age: 6, devices: [reader], privacy: category}
devices:
  tablet: {ip: 192.168.1.6}
  laptop: {ip: 192.168.1.9}
  phone: {ip: 192.168.1.10}
  watch: {ip: 192.168.1.11}
  reader: {ip: 192.168.1.12}
"""


def seen(found: Mapping[str, int], since: int = TODAY - 30) -> SitesSeen:
    """Return a table with the first days of these sites."""
    empty = SitesSeen(7, TODAY, since)
    return empty.with_sites({empty.hash_of(host): day for host, day in found.items()}, TODAY)


def dated(found: Mapping[str, int], registered: Mapping[str, int], since: int = TODAY - 30) -> SitesSeen:
    """Return a table with the first days of these sites, and the days of their registration."""
    sites = seen(found, since)
    return sites.with_sites({}, TODAY, {sites.hash_of(host): day for host, day in registered.items()})


def decision(
    catalogue: Catalogue,
    sites: SitesSeen | None,
    host: str,
    address: str = "192.168.1.6",
    grants: tuple[Grant, ...] = (),
) -> Decision:
    rulesets = Rulesets(parse_policy(POLICY.encode(), Path("hedgerow.yaml")), grants, (), catalogue, sites=sites)
    device = rulesets.devices.find(address)
    assert device is not None
    return decide(rulesets.ruleset(device, NOON), catalogue, Request(device.id, RequestKind.DNS, host, dns_type="A"))


@pytest.mark.parametrize(
    ("found", "since", "is_new"),
    [
        ({}, TODAY - 30, True),
        ({}, TODAY - 7, True),  # the first day after learning
        ({}, TODAY - 6, False),  # still learning
        ({SITE_NAME: TODAY - 6}, TODAY - 30, True),
        ({SITE_NAME: TODAY - 7}, TODAY - 30, False),
        ({SITE_NAME: TODAY - 4}, TODAY - 8, False),  # seen while learning
    ],
)
def test_a_site_is_new_for_some_days_unless_everything_is(found: dict[str, int], since: int, is_new: bool) -> None:
    assert seen(found, since).is_new(SITE) is is_new


@pytest.mark.parametrize(
    ("registered", "is_new"), [(TODAY - 3000, False), (TODAY - 7, False), (TODAY - 6, True), (TODAY + 1, True)]
)
def test_a_site_that_was_registered_long_ago_is_not_new(catalogue: Catalogue, registered: int, is_new: bool) -> None:
    sites = dated({SITE_NAME: TODAY}, {SITE_NAME: registered})
    found = decision(catalogue, sites, SITE)
    assert (sites.is_new(SITE), found.verdict is Verdict.BLOCK) == (is_new, is_new)
    if is_new:
        assert registration_of(str(found.rule)) == date(1970, 1, 1) + timedelta(days=registered)


def test_the_policys_own_names_are_never_new() -> None:
    names = (
        "records: {nas.example.net: 192.168.1.5}, forward: {intern.example.com: 192.168.1.1}, server_name:"
        " dns.example.de"
    )
    own = own_sites(parse_policy(f"network: {{{names}}}".encode(), None).network)
    sites = replace(seen({}), own=own)
    assert own == {"example.net", "example.com", "example.de"}
    assert [sites.is_new(host) for host in ("nas.example.net", "a.intern.example.com", "dns.example.de", SITE)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_new_registration_closes_nothing_that_is_known_here(catalogue: Catalogue) -> None:
    assert not dated({SITE_NAME: TODAY - 7}, {SITE_NAME: TODAY}).is_new(SITE)
    assert not dated({}, {SITE_NAME: TODAY}, since=TODAY - 6).is_new(SITE)  # still learning
    assert registration_of(str(decision(catalogue, seen({}), SITE).rule)) is None


def test_days_of_registration_are_kept_only_while_they_matter() -> None:
    sites = dated({"a.net": TODAY - 6, "b.net": TODAY}, {"a.net": TODAY - 20, "b.net": TODAY - 20})
    later = sites.with_sites({}, TODAY + 1)
    assert [len(each.registered) for each in (sites, later, sites.with_sites({}, TODAY + 7))] == [2, 1, 0]
    many = sites.with_sites({}, TODAY, dict.fromkeys(range(MAX_REGISTERED), TODAY))
    assert list(many.registered) == list(range(MAX_REGISTERED))


@pytest.mark.parametrize(
    ("host", "address", "told"),
    [
        (SITE, "192.168.1.6", SITE_NAME),  # without the machine's name
        (f"a.b.{SITE}", "192.168.1.6", SITE_NAME),
        (SITE, "192.168.1.9", ""),  # open for this child
        (SITE, "192.168.1.11", ""),  # nothing is recorded of her
        (SITE, "192.168.1.12", ""),  # nor sites of him
        ("somebody.github.io", "192.168.1.6", ""),
        ("kleines-dings.duckdns.org", "192.168.1.6", ""),
        ("hilfe-bei-depression.net", "192.168.1.6", ""),
        ("lgbt-treff-kleinstadt.com", "192.168.1.6", ""),
        ("grundschule-kleinstadt.de", "192.168.1.6", ""),
        ("bunny-club.org", "192.168.1.6", ""),
        ("xn--kleine-zge-weitere-22b.de", "192.168.1.6", ""),
        ("childline.org.uk", "192.168.1.6", ""),
        ("en.wikipedia.org", "192.168.1.6", ""),
        ("printer.local", "192.168.1.6", ""),
    ],
)
def test_registries_learn_of_nothing_that_would_be_told_of_a_child(
    catalogue: Catalogue, host: str, address: str, told: str
) -> None:
    rulesets = Rulesets(parse_policy(POLICY.encode(), Path("hedgerow.yaml")), (), (), catalogue, sites=seen({}))
    device = rulesets.devices.find(address)
    assert device is not None
    ruleset = rulesets.ruleset(device, NOON)
    decided = decide(ruleset, catalogue, Request(device.id, RequestKind.DNS, host, dns_type="A"))
    assert site_to_ask_about(ruleset, catalogue, host, decided) == told


def test_a_site_with_a_known_date_is_not_asked_about_again(catalogue: Catalogue) -> None:
    rulesets = Rulesets(parse_policy(POLICY.encode(), None), (), (), catalogue, sites=dated({}, {SITE_NAME: TODAY}))
    device = rulesets.devices.find("192.168.1.6")
    assert device is not None
    ruleset = rulesets.ruleset(device, NOON)
    decided = decide(ruleset, catalogue, Request(device.id, RequestKind.DNS, SITE, dns_type="A"))
    assert (decided.what, site_to_ask_about(ruleset, catalogue, SITE, decided)) == (NEW_DOMAINS, "")


def test_only_the_youngest_are_asked_to_ask(catalogue: Catalogue) -> None:
    found = decision(catalogue, seen({}), SITE)
    assert (found.verdict, found.reason, found.what) == (Verdict.BLOCK, Reason.RECOGNISED, NEW_DOMAINS)
    assert decision(catalogue, seen({}), SITE, "192.168.1.9").verdict is Verdict.ALLOW
    assert decision(catalogue, seen({}), SITE, "192.168.1.10").what == NEW_DOMAINS  # by a rule of her own
    assert decision(catalogue, None, SITE).verdict is Verdict.ALLOW  # nothing is known yet


@pytest.mark.parametrize(
    "host",
    [
        "en.wikipedia.org",
        "www.gnu.org",
        "physics.kleine-universitaet.edu",
        "www.google.com",
        "childline.org.uk",
        "news.example",
        "printer",
        "printer.local",
        "1.1.168.192.in-addr.arpa",
        "fritz.box",
    ],
)
def test_what_somebody_knows_is_not_new(catalogue: Catalogue, host: str) -> None:
    assert decision(catalogue, seen({}), host).what != NEW_DOMAINS


def test_a_grant_opens_the_site_or_all_new_ones(catalogue: Catalogue) -> None:
    for subject in (SITE_NAME, NEW_DOMAINS):
        grant = Grant("g", subject, "ana", NOON - 1, None, DeviceId("tablet"))
        assert decision(catalogue, seen({}), SITE, grants=(grant,)).verdict is Verdict.ALLOW


def test_explain_says_what_is_new_and_what_is_still_learnt(catalogue: Catalogue) -> None:
    policy = parse_policy(POLICY.encode(), Path("hedgerow.yaml"))

    def sentence(sites: SitesSeen) -> str:
        rulesets = Rulesets(policy, (), (), catalogue, sites=sites)
        device = rulesets.devices.find("192.168.1.6")
        assert device is not None
        steps = explain(rulesets, catalogue, device, SITE, NOON).points[0].steps
        return next(step.why for step in steps if step.name == "recognised")

    assert sentence(seen({})).startswith(
        "nobody lists it or knows it well, and this network has not known it for 7 days yet"
    )
    assert sentence(seen({}, TODAY - 2)).endswith("no site counts as new before Sun 29 Nov 00:00")
    assert sentence(dated({}, {SITE_NAME: TODAY - 2})).endswith(
        "its registration is too recent (registered 2026-11-22)"
    )
    assert sentence(dated({}, {SITE_NAME: 16_558})).endswith("it is new here, but was registered on 2015-05-03")


def test_the_switch_says_when_it_begins(catalogue: Catalogue) -> None:
    policy = parse_policy(POLICY.encode(), Path("hedgerow.yaml"))

    def topic(sites: SitesSeen | None) -> SubjectAccess:
        rulesets = Rulesets(policy, (), (), catalogue, sites=sites)
        return person_access(rulesets, catalogue, policy.people["mia"], [], NOON).subjects[NEW_DOMAINS]

    assert (topic(seen({}, TODAY - 2)).begins, topic(seen({}, TODAY - 2)).has_list) == ((TODAY + 5) * DAY_S, True)
    assert (topic(seen({})).begins, topic(seen({})).has_list) == (None, True)
    assert not topic(None).has_list


@pytest.mark.parametrize(
    ("text", "closes"),
    [
        (POLICY, True),
        ("people: {ben: {age: 9}}\nnetwork: {new_sites_days: 7}", False),
        ("people: {ben: {age: 9, block: [new-domains]}}\nnetwork: {new_sites_days: 7}", True),
        (
            (
                "people: {ben: {age: 9, schedules: {nights: {block: [new-domains], when: '20:00-22:00'}}}}\nnetwork:"
                " {new_sites_days: 7}"
            ),
            True,
        ),
        ("people: {mia: {age: 6}}\nnetwork: {new_sites_days: 0}", False),
    ],
)
def test_nothing_is_remembered_that_nobody_needs(text: str, closes: bool) -> None:
    assert closes_new_sites(parse_policy(text.encode(), Path("hedgerow.yaml"))) is closes


DAYS = st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 65_535), max_size=50)


@given(DAYS, DAYS)
def test_the_file_keeps_everything(found: dict[int, int], registered: dict[int, int]) -> None:
    sites = SitesSeen(7, TODAY, TODAY - 9).with_sites(found, TODAY, registered)
    assert SitesSeen.unpack(sites.pack()) == sites
    assert all(sites.first_day(site) == day for site, day in found.items())


@given(st.binary(max_size=80))
def test_a_damaged_file_is_refused(data: bytes) -> None:
    two = dated({SITE: TODAY}, {SITE: TODAY}).pack()
    for good in (seen({SITE: TODAY}).pack(), two):
        for each in (data, good[:-1], data + good, two[:-20]):
            if each != good:
                with pytest.raises(ValueError, match="not a table"):
                    SitesSeen.unpack(each)


def test_the_table_forgets_what_was_seen_first() -> None:
    full = SitesSeen(7, 2, 0, hashes=array("Q", range(MAX_SITES)), first=array("H", [1] * MAX_SITES))
    fuller = full.with_sites({2**63: 2}, 2)
    assert (len(fuller.hashes), fuller.first_day(2**63)) == (MAX_SITES, 2)


def test_a_name_is_not_written_down() -> None:
    packed = seen({SITE: TODAY}).pack()
    assert b"eisenbahn" not in packed
    assert seen({SITE: TODAY}).key != seen({SITE: TODAY}).key  # another network's table cannot be compared with it
