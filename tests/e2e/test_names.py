"""DNS answers for devices."""

from __future__ import annotations

import pytest
from small_internet import SmallInternet
from small_internet.clients import DnsAnswer, curl, kdig
from small_internet.family import OUTSIDER, STRANGER, TABLET
from small_internet.records import parse_zone
from small_internet.running import Hedgerow, network_section, running_hedgerow

TRANSPORTS = pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
BLOCKED_BY_FILTER = 17  # RFC 8914: Filtered


def ask(running: Hedgerow, name: str, kind: str = "A", *, source: str = TABLET, tcp: bool = False) -> DnsAnswer:
    answer = kdig(running.dns, name, kind, source=source, tcp=tcp)
    assert answer is not None, f"no answer for {name} {kind}\n{running.stderr}"
    return answer


@TRANSPORTS
@pytest.mark.parametrize(
    "name", ["adult.example", "deep.below.adult.example", "gambling.example", "chat.example", "news.example"]
)
def test_a_blocked_name_is_blocked_for_every_type(
    family: Hedgerow, internet: SmallInternet, name: str, tcp: bool
) -> None:
    for kind, data in (("A", ["0.0.0.0"]), ("AAAA", ["::"]), ("HTTPS", []), ("TXT", [])):
        answer = ask(family, name, kind, tcp=tcp)
        assert (answer.status, answer.data(kind)) == ("NOERROR", data)
        assert [record[2] for record in answer.records] == ([kind] if data else [])
        assert answer.ede == BLOCKED_BY_FILTER, answer.text
        assert answer.ede_text, answer.text
    assert internet.nameserver.queries(name) == 0, "a blocked name went upstream"


@TRANSPORTS
def test_other_names_are_forwarded(family: Hedgerow, internet: SmallInternet, tcp: bool) -> None:
    assert ask(family, "bank.example", tcp=tcp).data("A") == [internet.address_of("bank.example")]
    assert ask(family, "bank.example", "AAAA", tcp=tcp).data("AAAA") == ["2001:db8::16"]
    assert len(ask(family, "bank.example", "HTTPS", tcp=tcp).data("HTTPS")) == 1
    assert ask(family, "oddities.example", "MX", tcp=tcp).data("MX") == ["10 mail.school.oddities.example."]
    chain = ask(family, "chain.oddities.example", tcp=tcp)
    assert [record[2] for record in chain.records] == ["CNAME", "CNAME", "A"]
    assert ask(family, "no-address.oddities.example", tcp=tcp).records == ()
    assert ask(family, "missing.bank.example", tcp=tcp).status == "NXDOMAIN"


@TRANSPORTS
def test_a_large_answer_arrives_whole(family: Hedgerow, internet: SmallInternet, tcp: bool) -> None:
    (text,) = ask(family, "huge-text.oddities.example", "TXT", tcp=tcp).data("TXT")
    assert len(text.replace('" "', "")) == 20002


@TRANSPORTS
@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("www.google.com", "forcesafesearch.google.com"),
        ("www.google.pt", "forcesafesearch.google.com"),
        ("www.youtube.com", "restrict.youtube.com"),
        ("www.bing.com", "strict.bing.com"),
        ("duckduckgo.com", "safe.duckduckgo.com"),
    ],
)
def test_search_engines_resolve_to_safe_search(
    family: Hedgerow, internet: SmallInternet, name: str, safe: str, tcp: bool
) -> None:
    own, twin = internet.address_of(name), internet.address_of(safe)
    for kind, expected in (("A", twin), ("AAAA", f"2001:db8::{twin.rpartition('.')[2]}")):
        answer = ask(family, name, kind, tcp=tcp)
        assert [record[2] for record in answer.records] == ["CNAME", kind], answer.text
        assert answer.data("CNAME") == [f"{safe}."]
        assert answer.data(kind) == [expected]
    assert f"ipv4hint={own}" not in ask(family, name, "HTTPS", tcp=tcp).text, "the HTTPS record leads round safe search"


def test_an_unknown_device_gets_no_more_than_any_child(family: Hedgerow, internet: SmallInternet) -> None:
    for host in ("adult.example", "news.example"):  # the second is blocked by a rule of Mia's own
        assert ask(family, host, source=STRANGER).data("A") == ["0.0.0.0"]
    assert ask(family, "bank.example", source=STRANGER).data("A") == [internet.address_of("bank.example")]


def test_clients_outside_the_network_are_refused(family: Hedgerow, internet: SmallInternet) -> None:
    for tcp in (False, True):
        answer = kdig(family.dns, "bank.example", source=OUTSIDER, tcp=tcp)
        # Over TCP closing the connection is as good a refusal.
        assert (answer is None and tcp) or (answer is not None and answer.status == "REFUSED")


def test_devices_are_served_over_ipv6(internet: SmallInternet) -> None:
    policy = (
        network_section(internet)
        + 'devices:\n  v6-phone: {ip: "::1"}\nlists:\n  - {category: adult, path: adult.txt}\n'
    )
    with running_hedgerow(policy, lists={"adult.txt": "adult.example\n"}, dns="[::1]:0", proxy="[::1]:0") as running:
        for tcp in (False, True):
            assert ask(running, "adult.example", "AAAA", source="::1", tcp=tcp).data("AAAA") == ["::"]
            assert ask(running, "bank.example", source="::1", tcp=tcp).data("A") == [
                internet.address_of("bank.example")
            ]
        for host, status in (("adult.example", 403), ("bank.example", 200)):
            assert curl(internet.url(host, "/", "http"), proxy=running.proxy, source="::1").status == status


LIST_RULES = """devices:
  tablet: {ip: 127.0.0.2, profile: child-8-12}
  console: {ip: 127.0.0.3, profile: child-8-12}
lists:
  - {category: malware, path: malware.txt, format: ips}
  - {category: dating, path: dating.txt, format: adblock}
"""
HOSTED = """
bad     60 A 9.9.9.9
near    60 A 9.9.8.9
net     60 A 9.10.1.1
six     60 AAAA 2620:fe::fe
mapped  60 AAAA ::ffff:90a:202
alias   60 CNAME bad.hosted.example.
"""


def test_lists_of_addresses_and_of_types_are_enforced_and_those_of_clients_ignored(internet: SmallInternet) -> None:
    internet.nameserver.add_zone(parse_zone("hosted.example", HOSTED))
    lists = {
        "malware.txt": "9.9.9.9\n9.10.0.0/16\n2620:fe::/48\n",
        "dating.txt": "||bank.example^$dnstype=AAAA\n||school.example^$client=tablet\n",
    }
    tablet, console = "127.0.0.2", "127.0.0.3"
    with running_hedgerow(network_section(internet) + LIST_RULES, lists=lists) as running:
        for host, kind in (("bad", "A"), ("net", "A"), ("alias", "A"), ("six", "AAAA"), ("mapped", "AAAA")):
            answer = ask(running, f"{host}.hosted.example", kind, source=tablet)
            assert answer.data(kind) == {"A": ["0.0.0.0"], "AAAA": ["::"]}[kind], answer.text
            assert "category malware" in answer.ede_text, answer.text
        assert ask(running, "near.hosted.example", source=tablet).data("A") == ["9.9.8.9"]
        for _cached in range(2):
            assert ask(running, "bank.example", "AAAA", source=tablet).data("AAAA") == ["::"]
            assert ask(running, "bank.example", source=tablet).data("A") == [internet.address_of("bank.example")]
            for source in (tablet, console):  # $client is not honoured
                assert ask(running, "school.example", source=source).data("A") == [
                    internet.address_of("school.example")
                ]
        statuses = {
            (host, source): curl(internet.url(host, "/", "http"), proxy=running.proxy, source=source).status
            for host in ("bank.example", "school.example")
            for source in (console, tablet)
        }
        assert statuses == {
            ("bank.example", tablet): 200,
            ("bank.example", console): 200,
            ("school.example", tablet): 200,
            ("school.example", console): 200,
        }
        # The name is no bad one, only what it leads to.
        refused = curl(internet.url("bad.hosted.example", "/", "http"), proxy=running.proxy, source=tablet)
        assert (refused.status, b"bad.hosted.example" in refused.body) == (403, True)
