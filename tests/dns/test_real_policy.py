"""The resolver under a real policy and the built-in lists."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import dnslib
import pytest
from small_internet import SmallInternet
from small_internet.records import parse_zone

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.dns.answer_policy import AnswerPolicy
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.server.listeners import DnsServer
from hedgerow.dns.server.reports import Client
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.dns.upstreams.responses import parse_response, parse_svcb
from hedgerow.policies.decide import decide
from hedgerow.policies.model import Decision, Request
from hedgerow.policies.reading.load import load_policy
from hedgerow.policies.ruleset import Ruleset, Rulesets, can_block_or_rewrite, has_address_rules

from .conftest import ask

POLICY = """
network: {timezone: Europe/Lisbon, unknown_devices: child-8-12}
people:
  mia: {age: 9, devices: [tablet], allow: [scratch.mit.edu, geforce-now]}
  ana: {profile: adult, devices: [laptop]}
devices:
  tablet: {ip: 127.0.0.2}
  laptop: {ip: 127.0.0.3}
"""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    generation = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), generation)
    return Catalogue.open(generation)


def asked(internet: SmallInternet, catalogue: Catalogue, policy: Path, *questions: tuple[str, str]) -> list[list[str]]:
    """Return the answer to the A query of each (address, host)."""
    rulesets = Rulesets(load_policy(policy), (), (), catalogue)

    def find_client(address: str) -> Client | None:
        device = rulesets.devices.find(address)
        return None if device is None else Client(device.id, rulesets.ruleset(device, time.time()))

    async def run() -> list[list[str]]:
        upstreams = open_upstream_pool([internet.nameserver.upstream])
        server = DnsServer(
            Resolver(upstreams, lambda ruleset, request: decide(ruleset, catalogue, request)), find_client, observe
        )
        try:
            port = await server.listen("127.0.0.1", 0)
            return [await rdatas(port, *question) for question in questions]
        finally:
            await server.close()
            await upstreams.close()

    def observe(client: Client, request: Request, decision: Decision, count: int) -> None:
        assert client.device in ("tablet", "laptop", "127.0.0.1")

    return asyncio.run(run())


async def rdatas(port: int, source: str, host: str) -> list[str]:
    answer = await ask(port, bytes(dnslib.DNSRecord.question(host).pack()), source=source)
    assert answer is not None
    record = dnslib.DNSRecord.parse(answer)
    return [str(rr.rdata) for rr in record.rr] or [dnslib.RCODE.get(record.header.rcode)]


def test_each_device_is_answered_by_its_own_rules(
    internet: SmallInternet, catalogue: Catalogue, tmp_path: Path
) -> None:
    policy = tmp_path / "hedgerow.yaml"
    policy.write_text(POLICY)
    child, adult, unknown = "127.0.0.2", "127.0.0.3", "127.0.0.1"
    site, safe = internet.address_of, ["forcesafesearch.google.com.", internet.address_of("forcesafesearch.google.com")]
    expected = {
        (child, "www.pornhub.com"): ["0.0.0.0"],
        (adult, "www.pornhub.com"): [site("www.pornhub.com")],
        (unknown, "www.pornhub.com"): ["0.0.0.0"],
        (child, "www.google.com"): safe,
        (unknown, "www.google.com"): safe,
        (child, "scratch.mit.edu"): [site("scratch.mit.edu")],
        (child, "www.childline.org.uk"): [site("www.childline.org.uk")],
        (child, "www.wikipedia.org"): [site("www.wikipedia.org")],
        (child, "use-application-dns.net"): ["NXDOMAIN"],
        (child, "mask.icloud.com"): ["NXDOMAIN"],
    }
    assert dict(zip(expected, asked(internet, catalogue, policy, *expected), strict=True)) == expected


NUMBERED = """
45-55-10-13        60 A 45.55.10.13
app.45.55.10.13    60 A 45.55.10.13
2d370a0d           60 A 45.55.10.13
13-10-55-45.static 60 A 45.55.10.13
2620-fe--fe        60 AAAA 2620:fe::fe
45-55-10-99        60 A 45.55.10.13
www                60 A 45.55.10.13
13.10.55.45.bl     60 A 127.0.0.2
"""


def test_a_number_in_a_name_counts_as_a_bare_address(
    internet: SmallInternet, catalogue: Catalogue, tmp_path: Path
) -> None:
    """A name that spells the address that it leads to is closed for a child, whoever offers it; a blocklist's answers
    by DNS are not. Nor are a family's own server at home and the machines of a service, but those that anybody rents.
    """
    internet.nameserver.add_zone(parse_zone("numbers.example", NUMBERED))
    for zone, numbers in {
        "plex.direct": "45-55-10-13.family 60 A 45.55.10.13\n127-0-0-2.family 60 A 127.0.0.2\n",
        "amazonaws.com": "ec2-45-55-10-13.compute-1 60 A 45.55.10.13\n",
        "googleusercontent.com": "13.10.55.45.bc 60 A 45.55.10.13\n",
        "nvidiagrid.net": "45-55-10-13.cloudmatch 60 A 45.55.10.13\n",
    }.items():
        internet.nameserver.add_zone(parse_zone(zone, numbers))
    (tmp_path / "hedgerow.yaml").write_text(
        f"{POLICY}lists: []\n".replace("timezone:", "reachable: [127.0.0.0/8], timezone:")
    )
    child, adult, numbered = "127.0.0.2", "127.0.0.3", ["45.55.10.13"]
    expected = {
        (child, "45-55-10-13.numbers.example"): ["0.0.0.0"],
        (child, "app.45.55.10.13.numbers.example"): ["0.0.0.0"],
        (child, "2d370a0d.numbers.example"): ["0.0.0.0"],
        (child, "13-10-55-45.static.numbers.example"): ["0.0.0.0"],
        (child, "45-55-10-99.numbers.example"): numbered,
        (child, "www.numbers.example"): numbered,
        (child, "13.10.55.45.bl.numbers.example"): ["127.0.0.2"],
        (child, "45-55-10-13.family.plex.direct"): ["0.0.0.0"],
        (child, "127-0-0-2.family.plex.direct"): ["127.0.0.2"],
        (child, "ec2-45-55-10-13.compute-1.amazonaws.com"): ["0.0.0.0"],
        (child, "13.10.55.45.bc.googleusercontent.com"): ["0.0.0.0"],
        (child, "45-55-10-13.cloudmatch.nvidiagrid.net"): numbered,
        (adult, "45-55-10-13.numbers.example"): numbered,
    }
    assert (
        dict(zip(expected, asked(internet, catalogue, tmp_path / "hedgerow.yaml", *expected), strict=True)) == expected
    )


OPEN_AND_GUARDED = """
network: {reachable: [127.0.0.0/8]}
profiles:
  open: {extends: adult, allow: [malware, phishing, crypto-mining]}
people:
  mia: {age: 9, devices: [tablet]}
  ana: {profile: open, devices: [laptop]}
devices:
  tablet: {ip: 127.0.0.2}
  laptop: {ip: 127.0.0.3}
"""


def rdata_of(message: bytes, question: bytes) -> bytes:
    response = parse_response(message, question[12:])
    return message[response.answers[0].start : response.answers[0].end]


def test_unfiltered_device_keeps_ech(internet: SmallInternet, catalogue: Catalogue, tmp_path: Path) -> None:
    """The keys for them (ECH) are taken from whoever is filtered, whoever asked first; addresses stay."""
    (tmp_path / "hedgerow.yaml").write_text(OPEN_AND_GUARDED)
    policy = load_policy(tmp_path / "hedgerow.yaml")
    rulesets = Rulesets(policy, (), (), catalogue)
    question = bytes(dnslib.DNSRecord.question("with-ech.oddities.example", "HTTPS").pack())

    def judge(ruleset: Ruleset, request: Request) -> Decision:
        return decide(ruleset, catalogue, request)

    async def run(order: tuple[str, ...]) -> dict[str, bytes]:
        upstreams = open_upstream_pool([internet.nameserver.upstream])
        resolver = Resolver(
            upstreams,
            judge,
            answer_policy=AnswerPolicy.of(policy.network, judge, can_block_or_rewrite, has_address_rules),
        )
        try:
            found = {}
            for address in order:
                device = rulesets.devices.find(address)
                assert device is not None
                answer = await resolver.answer(rulesets.ruleset(device, time.time()), device.id, question, "udp")
                found[address] = answer.message or b""
            return found
        finally:
            await upstreams.close()

    child, adult = "127.0.0.2", "127.0.0.3"
    for order in ((child, adult), (adult, child)):
        found = asyncio.run(run(order))
        keys = {who: {key for key, _ in parse_svcb(rdata_of(message, question))[1]} for who, message in found.items()}
        assert keys == {child: {1, 4, 6}, adult: {1, 4, 5, 6}}
