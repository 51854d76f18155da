from __future__ import annotations

from pathlib import Path

from hedgerow.app.workers.worker import SiteReporter
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.journal.messages import SiteSeen, decode, encode
from hedgerow.policies.decide import decide
from hedgerow.policies.model import Request, RequestKind
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.sites_seen import SitesSeen


def test_each_unknown_site_is_reported_once_and_without_the_device(tmp_path: Path) -> None:
    compile_generation(starter_sources(), tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    empty = SitesSeen(7, 100, 50)
    sites = empty.with_sites({empty.hash_of("bekannte-eisenbahn.net"): 60}, 100)
    rulesets = Rulesets(parse_policy(b"devices: {pc: {ip: 192.168.1.7}}", None), (), (), catalogue, sites=sites)
    device = rulesets.devices.find("192.168.1.7")
    assert device is not None
    ruleset = rulesets.ruleset(device, 0.0)
    sent: list[SiteSeen] = []
    reporter = SiteReporter(sent.append)
    for host in (
        "kleine-eisenbahn.net",
        "www.kleine-eisenbahn.net",
        "bekannte-eisenbahn.net",
        "de.wikipedia.org",
        "printer.local",
        "pc",
    ):
        for _ in range(2):
            reporter.note(ruleset, catalogue, host)
    assert sent == [SiteSeen(sites.hash_of("kleine-eisenbahn.net"))] * 2  # for two hosts of it
    assert decode(encode(sent[0])) == sent[0]
    reporter.forget()
    reporter.note(ruleset, catalogue, "kleine-eisenbahn.net")
    assert len(sent) == 3


def test_a_site_that_was_closed_as_new_is_named_once_and_without_the_device(tmp_path: Path) -> None:
    compile_generation(starter_sources(), tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    policy = parse_policy(b"people: {mia: {age: 6, devices: [pc]}}\ndevices: {pc: {ip: 192.168.1.7}}", None)
    rulesets = Rulesets(policy, (), (), catalogue, sites=SitesSeen(7, 100, 50))
    device = rulesets.devices.find("192.168.1.7")
    assert device is not None
    ruleset, sent = rulesets.ruleset(device, 0.0), list[SiteSeen]()
    reporter = SiteReporter(sent.append)
    for host in (
        "kleine-eisenbahn.net",
        "www.kleine-eisenbahn.net",
        "de.wikipedia.org",
        "sexualberatung-kleinstadt.de",
    ):
        decision = decide(ruleset, catalogue, Request(device.id, RequestKind.DNS, host, dns_type="A"))
        reporter.note_block(ruleset, catalogue, host, decision)
    assert rulesets.sites is not None
    assert sent == [SiteSeen(rulesets.sites.hash_of("kleine-eisenbahn.net"), "kleine-eisenbahn.net")]
    assert decode(encode(sent[0])) == sent[0]
