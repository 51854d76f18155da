"""The ages of services against the built-in profiles: a stance with a reason for every service in every band, and it is
enforced.
"""

from __future__ import annotations

import re

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide
from hedgerow.policies.host_facts import AGE_BANDS, Service, Services, service_ages
from hedgerow.policies.model import Device, DeviceId, Request, RequestKind, Verdict
from hedgerow.policies.reading.load import load_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.text.data_files import names_in, read_data

NOW = 1_795_521_600.0


def main_request(service: Service, profile: str) -> Request:
    """Return a visit to the service's main site, or to its part of another site."""
    host = service.domains[0] if service.domains else service.urls[0].partition("/")[0]
    url = f"https://{host}/" if service.domains else f"https://{service.urls[0].replace('*', 'x')}"
    return Request(DeviceId(profile), RequestKind.HTTP, host, url=url)


@pytest.mark.parametrize(("age", "profile"), AGE_BANDS.items())
def test_each_service_is_open_from_its_age_on_and_closed_below(catalogue: Catalogue, age: int, profile: str) -> None:
    ruleset = Rulesets(load_policy(None), (), (), catalogue).ruleset(Device(DeviceId(profile), profile), NOW)
    services = Services.load().by_id
    found = {
        id: decide(ruleset, catalogue, main_request(services[id], profile)).verdict is Verdict.BLOCK
        for id in service_ages()
    }
    assert {id for id, closed in found.items() if closed != (age < service_ages()[id].open_from)} == set()


def test_every_service_has_an_age_and_a_reason() -> None:
    ages = service_ages()
    assert ages.keys() == Services.load().by_id.keys()
    for id, stance in ages.items():
        assert stance.open_from in AGE_BANDS, id
        assert len(stance.why) >= 12, id
        assert stance.why.endswith("."), id


def test_an_exception_differs_from_its_group_and_names_a_service() -> None:
    data, services = read_data("service_ages.yaml"), Services.load().by_id
    assert data["groups"].keys() == set(names_in("services"))
    assert data["services"].keys() <= services.keys()
    same = [id for id, entry in data["services"].items() if entry["from"] == data["groups"][services[id].group]["from"]]
    assert same == [], "the reason of the group says it"


def test_a_game_is_open_from_its_lowest_rating_on() -> None:
    for id, stance in service_ages().items():
        ratings = [int(number) for number in re.findall(r"\b(\d+) (?:\(PEGI\)|and \d+ \(|\(ESRB\))", stance.why)]
        if ratings:
            lowest = max(13, min(ratings))  # a band of its own for 12 would be for one year
            assert stance.open_from == max(age for age in AGE_BANDS if age <= lowest), id


@pytest.mark.parametrize("service", ["steam", "fortnite", "dota-2", "league-of-legends", "sims", "geforce-now"])
@pytest.mark.parametrize("profile", ["child-under-8", "child-8-12", "seat-child"])
def test_a_child_does_not_get_games_rated_12(catalogue: Catalogue, profile: str, service: str) -> None:
    ruleset = Rulesets(load_policy(None), (), (), catalogue).ruleset(Device(DeviceId("mia"), profile), NOW)
    for domain in Services.load().by_id[service].domains:
        assert decide(ruleset, catalogue, Request(DeviceId("mia"), RequestKind.DNS, domain)).verdict is Verdict.BLOCK


@pytest.mark.parametrize("service", ["kik", "textnow", "apkpure", "tailscale", "patreon"])
def test_a_nine_year_old_does_not_get_them(catalogue: Catalogue, service: str) -> None:
    ruleset = Rulesets(load_policy(None), (), (), catalogue).ruleset(Device(DeviceId("mia"), "child-8-12"), NOW)
    for domain in Services.load().by_id[service].domains:
        assert decide(ruleset, catalogue, Request(DeviceId("mia"), RequestKind.DNS, domain)).verdict is Verdict.BLOCK


@pytest.mark.parametrize(
    "service",
    ["whatsapp", "teams", "google-drive", "youtube", "google-play", "minecraft", "roblox", "spotify", "fandom"],
)
def test_a_nine_year_old_keeps_family_school_and_play(catalogue: Catalogue, service: str) -> None:
    ruleset = Rulesets(load_policy(None), (), (), catalogue).ruleset(Device(DeviceId("mia"), "child-8-12"), NOW)
    for domain in Services.load().by_id[service].domains:
        assert (
            decide(ruleset, catalogue, Request(DeviceId("mia"), RequestKind.DNS, domain)).verdict is not Verdict.BLOCK
        )
