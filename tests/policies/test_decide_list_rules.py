"""Decisions by rules of lists about record types, and by lists of addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.sources import Source
from hedgerow.policies.decide import decide
from hedgerow.policies.model import DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.url_decisions import UrlDecisions

POLICY = b"""
people:
  mia: {age: 9, devices: [tablet, console]}
  ana: {profile: adult, devices: [laptop], block: [malware]}
devices:
  tablet: {ip: 192.168.1.9}
  console: {ip: 192.168.1.10}
  laptop: {ip: 192.168.1.20}
"""
NOON = 1_795_521_600.0


LISTS = {
    "dating": (
        "adblock",
        "||six.example^$dnstype=AAAA\n||kid.example^$client=tablet\n||spared.example^$dnstype=A\n@@||spared.example^\n"
        "||whole.example^\n@@||whole.example^$dnstype=A\n||young.example^$ctag=user_child\n"
        "@@||whole.example^$client=tablet\n"
        "||moved.example^$dnsrewrite=192.0.2.7\n",
    ),
    "malware": ("ips", "9.9.9.9\n8.8.4.0/24\n"),
}


def compiled(folder: Path, lists: dict[str, tuple[str, str]]) -> Catalogue:
    sources = []
    for category, (form, text) in lists.items():
        (folder / category).write_text(text, encoding="utf-8")
        sources.append(Source(f"own/{category}", category, folder / category, None, form))
    compile_generation(sources, folder / "generation")
    return Catalogue.open(folder / "generation")


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return compiled(tmp_path, LISTS)


@pytest.fixture
def rulesets(catalogue: Catalogue) -> Rulesets:
    return Rulesets(parse_policy(POLICY, None), (), (), catalogue)


def ruleset_of(rulesets: Rulesets, device: str) -> Ruleset:
    return rulesets.ruleset(rulesets.policy.devices[device], NOON)


@pytest.mark.parametrize(
    ("device", "host", "dns_type", "line"),
    [
        ("tablet", "www.six.example", "AAAA", 1),
        ("tablet", "www.six.example", "A", None),
        ("tablet", "www.six.example", "", None),
        ("laptop", "www.six.example", "AAAA", None),  # dating is open to adults
        ("tablet", "kid.example", "A", None),  # rules about clients and their tags are not honoured
        ("tablet", "kid.example", "", None),
        ("tablet", "spared.example", "A", None),
        ("tablet", "whole.example", "A", None),
        ("tablet", "whole.example", "AAAA", 5),
        ("tablet", "whole.example", "", 5),
        ("tablet", "young.example", "A", None),
    ],
)
def test_dns_rules_apply_to_the_record_types_they_name(
    catalogue: Catalogue, rulesets: Rulesets, device: str, host: str, dns_type: str, line: int | None
) -> None:
    request = Request(DeviceId(device), RequestKind.DNS, host, dns_type=dns_type)
    decision = decide(ruleset_of(rulesets, device), catalogue, request)
    if line is None:
        assert decision.verdict is Verdict.ALLOW
    else:
        assert (decision.verdict, decision.reason, decision.what) == (Verdict.BLOCK, Reason.CATEGORY, "dating")
        assert decision.rule is not None
        assert decision.rule.source == "own/dating"
        # of a name it is looked for when somebody asks
        assert decision.rule.line == (None if host == "whole.example" else line)


def test_an_address_is_blocked_by_the_list_that_holds_it(catalogue: Catalogue, rulesets: Rulesets) -> None:
    def rule(host: str) -> Origin | None:
        decision = decide(ruleset_of(rulesets, "laptop"), catalogue, Request(DeviceId("laptop"), RequestKind.DNS, host))
        return decision.rule if decision.verdict is Verdict.BLOCK and decision.what == "malware" else None

    assert catalogue.hosts.has_addresses
    assert rule("9.9.9.9") == Origin("own/malware", text="9.9.9.9")
    assert rule("8.8.4.4") == rule("64:ff9b::808:404") == Origin("own/malware")
    assert rule("8.8.3.4") is None


def test_catalogues_without_address_or_dns_rules_report_none(tmp_path: Path) -> None:
    found = compiled(tmp_path, {"games": ("adblock", "||games.example^\n||x.example/ads?client=$script\n")})
    assert (found.hosts.has_addresses, found.has_dns_rules) == (False, False)


def test_a_custom_list_can_rewrite_an_address(catalogue: Catalogue, rulesets: Rulesets) -> None:
    def verdict(device: str, request: Request) -> tuple[Verdict, str]:
        decision = decide(ruleset_of(rulesets, device), catalogue, request)
        return decision.verdict, decision.target

    question = Request(DeviceId("tablet"), RequestKind.DNS, "www.moved.example", dns_type="A")
    assert verdict("tablet", question) == (Verdict.REWRITE, "192.0.2.7")
    assert verdict("laptop", question) == (Verdict.ALLOW, "")  # dating is open to adults
    assert verdict("tablet", Request(DeviceId("tablet"), RequestKind.TUNNEL, "moved.example", 443)) == (
        Verdict.ALLOW,
        "",
    )


URL_RULES = (
    "||whole.example^\n@@||whole.example/open^\n||parts.example/closed^\n||essential.example^$important\n"
    "@@||essential.example/open^\n"
    "/tracked/*\n@@||spared.example/tracked/mine^\n"
)


def test_urls_of_one_host_are_decided_alike_whichever_comes_first(tmp_path: Path) -> None:
    """What is kept of a host must not hide a list's rule about another of its URLs, nor an exception."""
    catalogue = compiled(tmp_path, {"dating": ("adblock", URL_RULES)})
    ruleset = ruleset_of(Rulesets(parse_policy(POLICY, None), (), (), catalogue), "tablet")
    hosts = ("whole.example", "parts.example", "essential.example", "spared.example", "other.example")
    paths = ("/", "/open", "/open/a", "/closed", "/closed/a", "/tracked/a", "/tracked/mine", "/a?b=c")
    for host in hosts:
        asked = [
            Request(DeviceId("tablet"), RequestKind.HTTP, host, url=f"https://{host}{path}", method="GET")
            for path in paths
        ]
        expected = [decide(ruleset, catalogue, each) for each in asked]
        assert len({each.verdict for each in expected}) == 2 or host == "essential.example"
        for first in asked:
            decisions = UrlDecisions(catalogue)
            decisions.decide(ruleset, first)
            assert [decisions.decide(ruleset, each) for each in asked * 2] == expected * 2, first
