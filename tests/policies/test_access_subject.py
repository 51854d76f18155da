"""Requests and permissions mean the app, over every service of the catalogue: allowed it works, blocked it does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from simulated_apps import SimulatedApp, app, by_decision, simulated_apps, usual_hosts

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.names import is_beneath
from hedgerow.policies.access_subject import (
    AccessSubject,
    access_subject,
    opens_too,
    permission_behind,
    service_or_address,
)
from hedgerow.policies.decide import decide
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Device, DeviceId, Grant, Policy, Request, RequestKind, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Ruleset, Rulesets

SERVICES = Services.load().by_id
APPS = simulated_apps()
NOW = 1_000_000.0
POLICY = """
people:
  mia: {{profile: adult, devices: [tablet, phone, shared], block: [{blocked}]}}
  tom: {{profile: adult, devices: [laptop, shared], block: [{blocked}]}}
devices:
  tablet: {{ip: 192.168.1.9}}
  phone: {{ip: 192.168.1.10}}
  laptop: {{ip: 192.168.1.11}}
  shared: {{ip: 192.168.1.12}}
seats:
  seat: {{ip: 192.168.1.13}}
"""


@dataclass(frozen=True, slots=True)
class Home:
    """A home in which a permission may be in force."""

    policy: Policy
    rulesets: Rulesets
    catalogue: Catalogue

    def device(self, name: str) -> Device:
        return self.policy.devices[name]

    def ruleset(self, name: str) -> Ruleset:
        return self.rulesets.ruleset(self.device(name), NOW)

    def works(self, app: SimulatedApp, device: str) -> bool:
        return app.works(by_decision(self.rulesets, self.catalogue, self.device(device), NOW))

    def is_stopped(self, app: SimulatedApp, device: str) -> bool:
        return app.is_stopped(by_decision(self.rulesets, self.catalogue, self.device(device), NOW))

    def asked(self, host: str, device: str, person: str | None = "mia") -> AccessSubject:
        """Return the subject of the request that the block page of a host files."""
        decision = decide(
            self.ruleset(device), self.catalogue, Request(DeviceId(device), RequestKind.DNS, host, dns_type="A")
        )
        assert decision.verdict is Verdict.BLOCK, host
        return access_subject(
            self.policy, host, person=person, device=device, reason=f"{decision.reason.value}: {decision.what}"
        )

    def allowing(self, subject: AccessSubject) -> Home:
        grant = Grant("g", subject.what, "ana", NOW - 1, NOW + 3600, subject.device, subject.person)
        return Home(
            self.policy, Rulesets(self.policy, [grant], (), self.catalogue, before=self.rulesets), self.catalogue
        )


def _home(catalogue: Catalogue, blocked: str) -> Home:
    policy = parse_policy(POLICY.format(blocked=blocked).encode(), None)
    return Home(policy, Rulesets(policy, (), (), catalogue), catalogue)


@pytest.fixture(scope="module")
def closed_home(catalogue: Catalogue) -> Home:
    """A home that closes every service."""
    return _home(catalogue, ", ".join(SERVICES))


@pytest.mark.parametrize("id", list(APPS))
def test_a_request_from_any_of_an_apps_hosts_opens_the_app_on_all_devices(closed_home: Home, id: str) -> None:
    here, service = APPS[id], SERVICES[id]
    assert closed_home.is_stopped(here, "tablet")
    own = [host for host in here.hosts if is_beneath(host, frozenset(service.domains))]
    subjects = {closed_home.asked(host, "tablet") for host in own}
    if service.is_collection:
        assert {subject.what for subject in subjects} == set(own), "each site for itself"
        return
    assert {(subject.what, subject.person, subject.device) for subject in subjects} == {(id, "mia", None)}
    opened = closed_home.allowing(subjects.pop())
    for device in ("tablet", "phone"):
        reach = by_decision(opened.rulesets, opened.catalogue, opened.device(device), NOW)
        assert here.unreached(reach) == [], f"{id} was allowed and does not work"
    assert opened.is_stopped(here, "laptop"), "another child's device"


def test_an_allowed_app_opens_no_other(closed_home: Home) -> None:
    for id in ("roblox", "tiktok", "instagram", "youtube-kids", "minecraft"):
        opened = closed_home.allowing(AccessSubject(id, "mia"))
        others = [other for other in APPS if other != id and SERVICES[other].part_of != id]
        assert [other for other in others if opened.works(app(other, SERVICES[other].domains), "tablet")] == []


@pytest.mark.parametrize(
    ("opened", "other", "host"),
    [
        ("snapchat", "youtube", "youtubei.googleapis.com"),
        ("tiktok", "spotify", "audio-ak-spotify-com.akamaized.net"),
        ("copilot", "teams", "teams.live.com"),
    ],
)
def test_a_shared_name_opens_no_name_of_another_app_beneath_it(
    closed_home: Home, opened: str, other: str, host: str
) -> None:
    home = closed_home.allowing(AccessSubject(opened, "mia"))
    assert home.works(APPS[opened], "tablet")
    assert home.is_stopped(app(other, [host]), "tablet")


@pytest.mark.parametrize("id", list(usual_hosts()))
def test_the_catalogue_has_the_usual_hosts(id: str) -> None:
    known = frozenset((*SERVICES[id].domains, *SERVICES[id].shared))
    assert [host for host in usual_hosts()[id] if not is_beneath(host, known)] == []


@pytest.mark.parametrize(
    ("address", "reason", "expected"),
    [
        ("apis.roblox.com", "", "roblox"),
        ("https://www.roblox.com/", "", "roblox"),
        ("v16.tiktokcdn.com", "category: social", "tiktok"),
        ("scontent.cdninstagram.com", "", "instagram"),
        ("music.youtube.com", "service: youtube", "youtube"),
        ("music.youtube.com", "", "youtube-music"),
        ("www.youtube.com", "service: youtube-shorts", "youtube-shorts"),
        ("www.bbc.co.uk", "service: bbc-iplayer", "bbc-iplayer"),
        ("www.bbc.co.uk", "", "www.bbc.co.uk"),
        # Something on an open site is closed, not the site's app.
        ("www.reddit.com", "page: 120 of 100", "www.reddit.com"),
        ("i.redd.it", "picture: 80 of 50", "i.redd.it"),
        # Nor by a rule about less than the site.
        ("chat.roblox.com", "rule: chat.roblox.com", "chat.roblox.com"),
        ("www.reddit.com", "rule: reddit.com/r/all", "www.reddit.com"),
        ("www.tiktok.com", "rule: tiktok.com", "tiktok"),
        ("www.youtube.com", "rule: youtube_only", "youtube"),
        # What shows another site does not open with that site.
        ("www-youtube-com.translate.goog", "service: youtube", "www-youtube-com.translate.goog"),
        ("lessons.pages.dev", "service: small-apps", "lessons.pages.dev"),
        # Nor to look away from one host.
        ("1-2-3-4.abc.plex.direct", "default: unread-app", "1-2-3-4.abc.plex.direct"),
        ("1-2-3-4.abc.plex.direct", "default: client-certificate", "1-2-3-4.abc.plex.direct"),
        # In no service, or narrower than a host.
        ("www.school.example", "category: games", "www.school.example"),
        ("scontent.xx.fbcdn.net", "", "scontent.xx.fbcdn.net"),
        ("youtube.com/shorts", "", "youtube.com/shorts"),
        ("93.184.216.34", "", "93.184.216.34"),
        ("roblox", "", "roblox"),
        ("games", "", "games"),
        ("no such thing", "", "no such thing"),
    ],
)
def test_an_address_means_its_service_and_otherwise_itself(address: str, reason: str, expected: str) -> None:
    assert service_or_address(address, reason) == expected


@pytest.mark.parametrize(
    ("person", "device", "expected"),
    [
        ("mia", "tablet", ("mia", None)),
        (None, "tablet", ("mia", None)),  # its owner was not known when it was blocked
        ("mia", "shared", ("mia", None)),  # she has signed in there
        (None, "shared", (None, "shared")),
        (None, "seat", (None, "seat")),
        ("mia", "192.168.1.77", (None, "192.168.1.77")),  # claims to be hers by its host name
        ("gone", "tablet", (None, "tablet")),
        ("mia", None, ("mia", None)),
        (None, None, (None, None)),
    ],
)
def test_a_permission_is_for_the_person_or_else_the_device(
    closed_home: Home, person: str | None, device: str | None, expected: tuple[str | None, str | None]
) -> None:
    found = access_subject(closed_home.policy, "tiktok", person=person, device=device)
    assert (found.person, found.device) == expected


@pytest.mark.parametrize(
    ("what", "expected"),
    [("unread-app", (None, "tablet")), ("tunnel-traffic", (None, "tablet")), ("games", ("mia", None))],
)
def test_a_host_passes_unread_on_the_device_that_needs_it(
    closed_home: Home, what: str, expected: tuple[str | None, str | None]
) -> None:
    found = access_subject(closed_home.policy, "x.example", person="mia", device="tablet", reason=f"default: {what}")
    assert (found.person, found.device) == expected


def test_only_the_address_or_only_the_device_can_be_chosen(closed_home: Home) -> None:
    narrow = access_subject(
        closed_home.policy, "www.tiktok.com", person="mia", device="tablet", only_address=True, only_device=True
    )
    assert (narrow.what, narrow.person, narrow.device) == ("www.tiktok.com", None, "tablet")
    opened = closed_home.allowing(narrow)
    assert opened.works(app("tiktok", ["www.tiktok.com"]), "tablet")
    assert opened.is_stopped(app("tiktok", ["v16.tiktokcdn.com"]), "tablet")
    assert opened.is_stopped(APPS["tiktok"], "phone")


def test_what_an_app_needs_of_others_is_named() -> None:
    assert opens_too("youtube-kids") == ("youtubei.googleapis.com", "googlevideo.com", "ytimg.com")
    assert opens_too("messenger") == ("fbcdn.net",), "facebook.com stays Facebook's"
    assert opens_too("www.school.example") == ()


def test_the_end_of_a_permission_is_that_of_its_grant(closed_home: Home) -> None:
    opened = closed_home.allowing(AccessSubject("tiktok", "mia"))
    asked = Request(DeviceId("tablet"), RequestKind.TUNNEL, "v16.tiktokcdn.com", 443)
    for home, expected in ((opened, NOW + 3600), (closed_home, None)):
        ruleset = home.ruleset("tablet")
        rule = permission_behind(ruleset, decide(ruleset, home.catalogue, asked), asked.host)
        assert (rule.until if rule is not None else None) == expected
