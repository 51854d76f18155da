"""Sites that are remembered for their pages: who does not reach them any more, who does, and what `explain` says."""

from __future__ import annotations

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.explain import Explanation, explain, find_device
from hedgerow.policies.host_facts import HostFactIndex
from hedgerow.policies.model import Grant, Reason, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.remembered import RememberedSite, is_by_page
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.unlisted import may_be_remembered

NOON = 1_795_521_600.0
POLICY = b"""network: {timezone: Europe/Lisbon}
people:
  mia: {age: 9, devices: [tablet]}
  ida: {age: 9, devices: [phone], allow: [films.example]}
  zoe: {age: 17, devices: [console], allow: [gambling]}
  ana: {profile: adult, devices: [pc]}
devices:
  tablet: {ip: 192.168.1.8}
  pc: {ip: 192.168.1.9}
  phone: {ip: 192.168.1.10}
  console: {ip: 192.168.1.11}
"""
REMEMBERED = {
    "films.example": (RememberedSite("adult", "2026-11-20"),),
    "bets.example": (RememberedSite("gambling", "2026-11-21"),),
    "learn.example": (RememberedSite("adult", "2026-11-20"),),
    "www.scarleteen.com": (RememberedSite("adult", "2026-11-20"),),
}


def explained(catalogue: Catalogue, device: str, target: str, *grants: Grant) -> Explanation:
    rulesets = Rulesets(parse_policy(POLICY, None), grants, (), catalogue, remembered=REMEMBERED)
    found = find_device(rulesets, device)
    assert found is not None
    return explain(rulesets, catalogue, found, target, NOON)


@pytest.mark.parametrize(
    ("device", "target", "what"),
    [
        ("tablet", "films.example", "adult"),
        ("tablet", "www.films.example", "adult"),
        ("tablet", "https://films.example/a", "adult"),
        ("tablet", "bets.example", "gambling"),
        ("console", "films.example", "adult"),
        ("console", "bets.example", ""),  # the topic is open for her
        ("phone", "films.example", ""),  # allowed by name
        ("pc", "films.example", ""),
        ("tablet", "learn.example", ""),  # a list says that it is good
        ("tablet", "otherfilms.example", ""),
        ("tablet", "www.scarleteen.com", ""),  # a canary
        ("tablet", "www.childline.org.uk", ""),
    ],
)
def test_who_reaches_a_remembered_site(catalogue: Catalogue, device: str, target: str, what: str) -> None:
    decision = explained(catalogue, device, target).decision
    if what:
        assert (decision.verdict, decision.reason, decision.what, is_by_page(decision)) == (
            Verdict.BLOCK,
            Reason.RECOGNISED,
            what,
            True,
        )
    else:
        assert (decision.verdict, is_by_page(decision)) == (Verdict.ALLOW, False)


def test_explain_says_which_day(catalogue: Catalogue) -> None:
    last = explained(catalogue, "tablet", "films.example").points[-1].steps[-1]
    assert last.why == "in no list, but a page of this site looked like adult on 2026-11-20 (hedgerow/pages)"


def test_a_grant_opens_it(catalogue: Catalogue) -> None:
    grant = Grant("g1", "films.example", "ana", NOON - 60, None, person="mia")
    assert explained(catalogue, "tablet", "films.example", grant).decision.reason is Reason.GRANT


@pytest.mark.parametrize(
    "host",
    [
        "github.io",
        "co.uk",
        "com",
        "www.google.com",
        "www.childline.org.uk",
        "adult.example",
        "learn.example",
        "tiktok.com",
        "nas.lan",
        "192.0.2.1",
        "fritz.box",
        "en.wikipedia.org",
        "www.imdb.com",
        "library.stanford.edu",
        "a-school.sch.uk",
        "somebody.github.io",
    ],
)
def test_hosts_that_are_never_remembered(catalogue: Catalogue, host: str) -> None:
    assert not may_be_remembered(HostFactIndex.load(), catalogue, host)


def test_hosts_that_may_be_remembered(catalogue: Catalogue) -> None:
    for host in ("films.example", "www.films.example", "unheard-of-site.co.uk"):
        assert may_be_remembered(HostFactIndex.load(), catalogue, host)
