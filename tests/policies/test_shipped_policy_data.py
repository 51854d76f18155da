"""Consistency of the shipped data files with each other and with the code."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.names import is_beneath, parse_host, parse_url
from hedgerow.policies.decide import decide
from hedgerow.policies.host_facts import HostFactIndex, Lifelines, Service, Services
from hedgerow.policies.model import Device, DeviceId, Request, RequestKind, Verdict
from hedgerow.policies.reading.load import load_policy
from hedgerow.policies.reading.profiles import BUILTIN_PROFILE_NAMES
from hedgerow.policies.rule_index import BYPASS, UNSAFE_SEARCH
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.safe_search import SearchEngines
from hedgerow.policies.text.locales import COUNTRIES

SHARED = Path(__file__).parents[3] / "shared" / "data" / "helplines"


def test_names_are_unique() -> None:
    categories = {category.name for category in builtin_categories()}
    services = Services.load().by_id
    assert len(services) >= 40
    assert not categories & services.keys(), "a name is a service or a category"
    assert {BYPASS, UNSAFE_SEARCH} <= categories
    assert all(name == name.lower() and name.replace("-", "").isalnum() for name in [*categories, *services])


def test_hosts_are_canonical() -> None:
    host_facts = HostFactIndex.load()
    assert all(parse_host(host) == host for host in host_facts.by_host)
    assert all(parse_host(host) == host for host in host_facts.engines.by_host)
    for service in host_facts.services.by_id.values():
        assert service.domains or service.urls, service.id
        assert service.part_of is None or service.part_of in host_facts.services.by_id
        for url in service.urls:
            canonical = parse_url(f"http://{url}")
            assert canonical is not None
            assert canonical.rstrip("/") == f"http://{url}".rstrip("/"), service.id


def test_no_lifeline_covers_a_service_or_an_engine() -> None:
    lifelines = Lifelines.load()
    for host in lifelines.hosts:
        assert "." in host
        known_hosts = [
            *SearchEngines.load().by_host,
            *(domain for service in Services.load().by_id.values() for domain in service.domains),
        ]
        assert not [known for known in known_hosts if known == host or known.endswith(f".{host}")], host


def test_countries() -> None:
    lifelines = Lifelines.load()
    countries = {lifeline.country for lifeline in lifelines.all}
    assert len(countries) >= 30
    assert {country.upper() for country in countries - {"int"}} <= COUNTRIES
    international = lifelines.for_country(None)
    assert international
    portugal = lifelines.for_country("PT")
    assert portugal[0].country == "pt"
    assert portugal[0].purpose == "children"
    assert portugal[-len(international) :] == international
    assert is_beneath("chat.kidshelpphone.ca", lifelines.hosts)
    assert not is_beneath("notkidshelpphone.ca", lifelines.hosts)


def test_built_in_profiles_allow_every_lifeline(catalogue: Catalogue) -> None:
    rulesets = Rulesets(load_policy(None), (), (), catalogue)
    for profile in BUILTIN_PROFILE_NAMES:
        ruleset = rulesets.ruleset(Device(DeviceId(profile), profile), 1_795_521_600.0)
        for host in Lifelines.load().hosts:
            for kind in RequestKind:
                request = Request(
                    DeviceId(profile),
                    kind,
                    f"www.{host}",
                    url=f"https://www.{host}/" if kind is RequestKind.HTTP else None,
                )
                assert decide(ruleset, catalogue, request).verdict is Verdict.ALLOW


def _is_within(host: str, service: Service) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in service.domains)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real data beside the checkout is not here")
def test_built_in_profiles_allow_helplines_of_other_directories(catalogue: Catalogue) -> None:
    lines = [line for path in sorted(SHARED.glob("*.tsv")) for line in path.read_text(encoding="utf-8").splitlines()]
    hosts = {host for row in csv.DictReader(lines, delimiter="\t") if (host := parse_host(row["host"]))}
    assert len(hosts) > 100
    # Some helplines only have a page on a social network or with a messenger, and a block of that service holds for it.
    tenants = {host for host in hosts if any(_is_within(host, service) for service in Services.load().by_id.values())}
    assert len(tenants) < 10
    rulesets = Rulesets(load_policy(None), (), (), catalogue)
    for profile in BUILTIN_PROFILE_NAMES:
        ruleset = rulesets.ruleset(Device(DeviceId(profile), profile), 1_795_521_600.0)
        decisions = {
            host: decide(ruleset, catalogue, Request(DeviceId("x"), RequestKind.DNS, host)) for host in hosts - tenants
        }
        assert not [host for host, decision in decisions.items() if decision.verdict is Verdict.BLOCK]
