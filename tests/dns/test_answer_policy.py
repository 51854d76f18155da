"""Judgement of addresses in answers: DNS rebinding, blocked addresses, and local names that are exempt."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network

import dnslib
import pytest
from small_internet import SmallInternet
from small_internet.records import parse_zone

from hedgerow.blocklists.address_ranges import is_private
from hedgerow.dns import wire
from hedgerow.dns.answer_cache import Answer
from hedgerow.dns.answer_policy import AnswerPolicy
from hedgerow.dns.cache import resolution_key
from hedgerow.dns.extended_errors import PRIVATE_ADDRESS, UPSTREAM_BLOCKS
from hedgerow.dns.host_resolver import HostResolver
from hedgerow.dns.private_networks import AddressGuard
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.factory import open_upstream_pool
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, Verdict
from hedgerow.policies.network import BlockedAnswer, ForwardZone, LocalRecord, NetworkSettings, ResolverSettings
from hedgerow.policies.ruleset import Ruleset

from .conftest import BLOCK, EXCEPTION, DecisionTable, rules, running

PRIVATE = (
    "10.1.2.3 100.64.0.1 127.0.0.1 169.254.1.1 172.16.0.1 172.31.255.255 192.168.1.1 0.0.0.1 "
    "::1 fd00::1 fe80::1 ::ffff:10.0.0.1 64:ff9b::c0a8:101 64:ff9b:1::c0a8:101 64:ff9b:1:a::c0a8:101"
)
PUBLIC = (
    "9.9.9.9 100.128.0.1 172.15.0.1 172.32.0.1 192.167.1.1 169.253.1.1 2620:fe::fe ::ffff:9.9.9.9 64:ff9b::909:909"
    " 2001:db8::1 64:ff9b:1::909:909 64:ff9b:1:0:8:808:a00:0"
)


@pytest.mark.parametrize(("texts", "expected"), [(PRIVATE, True), (PUBLIC, False)])
def test_private_and_public_addresses(texts: str, expected: bool) -> None:
    for text in texts.split():
        assert is_private(ip_address(text).packed) is expected, text


def test_guard_allows_reachable_addresses_and_blocks_our_public_network() -> None:
    lan = [ip_network("192.168.0.0/16"), ip_network("2a02:8000::/48"), ip_network("9.9.8.0/24")]
    guard = AddressGuard(lan, [ip_network("192.168.1.20"), ip_network("2a02:8000::20")])

    def check(text: str, expected: str | None) -> None:
        found = guard.blocking_decision((ip_address("9.9.9.9").packed, ip_address(text).packed))
        assert (found.what if found else None) == expected, text

    check("192.168.1.20", None)
    check("::ffff:192.168.1.20", None)
    check("192.168.1.21", PRIVATE_ADDRESS)
    check("2a02:8000::1", PRIVATE_ADDRESS)
    check("2a02:8000::20", None)
    check("9.9.8.7", PRIVATE_ADDRESS)
    check("::ffff:9.9.8.7", PRIVATE_ADDRESS)
    check("64:ff9b::9.9.8.7", PRIVATE_ADDRESS)
    check("9.9.9.10", None)
    check("0.0.0.0", UPSTREAM_BLOCKS)
    check("::", UPSTREAM_BLOCKS)


ATTACK = """
rebind  60 A 192.168.1.1
mixed   60 A 198.51.100.7
mixed   60 A 10.0.0.1
six     60 AAAA fd00::1
mapped  60 AAAA ::ffff:c0a8:101
hint    60 HTTPS 1 . ipv4hint=10.0.0.7
alias   60 CNAME rebind.attack.example.
sink    60 A 0.0.0.0
open    60 A 198.51.100.7
printer 60 A 192.168.1.20
"""
LAN_ZONE = "nas 60 A 192.168.1.5\n"


def asked(
    internet: SmallInternet,
    *questions: tuple[str, str],
    around: NetworkSettings,
    table: dict[str, Decision] | None = None,
) -> list[dnslib.DNSRecord]:
    async def run() -> list[dnslib.DNSRecord]:
        forward = around.resolver.forward
        async with running(internet.nameserver.upstream, forward=forward) as server:
            server.decisions.table.update(table or {})
            server.resolver.swap(
                server.decisions, None, AnswerPolicy.of(around, server.decisions, has_address_rules=lambda _: True)
            )
            found = []
            for host, kind in questions:
                question = dnslib.DNSRecord.question(host, kind)
                question.add_ar(dnslib.EDNS0(udp_len=1232))
                answer = await server.resolver.answer(rules(), DeviceId("tablet"), bytes(question.pack()), "udp")
                assert answer.message is not None
                found.append(dnslib.DNSRecord.parse(answer.message))
            return found

    return asyncio.run(run())


def shown(record: dnslib.DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in record.rr]


def error_code(record: dnslib.DNSRecord) -> int | None:
    return next((int.from_bytes(option.data[:2]) for rr in record.ar for option in rr.rdata if option.code == 15), None)


def test_public_name_with_private_address_is_blocked(internet: SmallInternet) -> None:
    internet.nameserver.add_zone(parse_zone("attack.example", ATTACK))
    network = NetworkSettings(reachable=(ip_network("192.168.1.20"),))
    kinds = [
        ("rebind", "A"),
        ("mixed", "A"),
        ("six", "AAAA"),
        ("mapped", "AAAA"),
        ("hint", "HTTPS"),
        ("alias", "A"),
        ("sink", "A"),
    ]
    *bad, fine, printer = asked(
        internet,
        *((f"{host}.attack.example", kind) for host, kind in [*kinds, ("open", "A"), ("printer", "A")]),
        around=network,
    )
    for record, (host, kind) in zip(bad, kinds, strict=True):
        assert shown(record) == {"A": ["0.0.0.0"], "AAAA": ["::"], "HTTPS": []}[kind], host
        assert error_code(record) == 15
    assert (shown(fine), shown(printer)) == (["198.51.100.7"], ["192.168.1.20"])


def test_records_of_other_owners_are_dropped_and_not_judged() -> None:
    asked = wire.parse_query(bytes(dnslib.DNSRecord.question("open.attack.example").pack()))
    reply = dnslib.DNSRecord.parse(asked.data).reply()
    reply.add_answer(
        *dnslib.RR.fromZone("open.attack.example. 60 A 198.51.100.7\nrouter.attack.example. 60 A 192.168.1.1")
    )
    reply.add_answer(*dnslib.RR.fromZone("router.attack.example. 60 HTTPS 1 adult.example. ipv4hint=10.0.0.7"))
    response = responses.parse_response(bytes(reply.pack()), asked.name + asked.suffix[:4])

    async def main() -> None:
        resolver = Resolver(
            open_upstream_pool(["127.0.0.1:9"]),
            DecisionTable(),
            answer_policy=AnswerPolicy.of(NetworkSettings(), DecisionTable()),
        )
        learned = resolver.store_response(resolution_key(asked), asked, response)
        assert (learned.addresses, learned.targets) == ((bytes((198, 51, 100, 7)),), ())
        assert learned.draft.answers == 1
        found = resolver.try_answer(rules(), DeviceId("tablet"), asked.data, "udp")
        assert isinstance(found, Answer)
        assert found.message is not None
        assert shown(dnslib.DNSRecord.parse(found.message)) == ["198.51.100.7"]
        await resolver.upstreams.close()

    asyncio.run(main())


def test_name_that_is_allowed_may_have_any_address(internet: SmallInternet) -> None:
    internet.nameserver.add_zone(parse_zone("attack.example", ATTACK))
    (found,) = asked(
        internet, ("rebind.attack.example", "A"), around=NetworkSettings(), table={"attack.example": EXCEPTION}
    )
    assert shown(found) == ["192.168.1.1"]


def test_blocked_address_is_blocked_under_every_name(internet: SmallInternet) -> None:
    internet.nameserver.add_zone(parse_zone("attack.example", ATTACK))
    (found,) = asked(internet, ("open.attack.example", "A"), around=NetworkSettings(), table={"198.51.100.7": BLOCK})
    assert (shown(found), error_code(found)) == (["0.0.0.0"], 17)


def test_lists_judge_public_addresses_in_every_notation(internet: SmallInternet) -> None:
    internet.nameserver.add_zone(parse_zone("attack.example", ATTACK + "nat 60 AAAA 64:ff9b::c633:6407\n"))

    async def run() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.decisions.table |= {"198.51.100.7": BLOCK, "192.168.1.20": BLOCK}
            for lists_addresses, expected in ((False, ["64:ff9b::c633:6407"]), (True, ["::"])):
                around = AnswerPolicy(server.decisions, lists_addresses=lists_addresses)
                server.resolver.swap(server.decisions, None, around)
                question = bytes(dnslib.DNSRecord.question("nat.attack.example", "AAAA").pack())
                answer = await server.resolver.answer(rules(), DeviceId("tablet"), question, "udp")
                assert answer.message is not None
                assert shown(dnslib.DNSRecord.parse(answer.message)) == expected
            rebound = await HostResolver(server.resolver).find(rules(), DeviceId("tablet"), "printer.attack.example")
            assert rebound.addresses == ("192.168.1.20",), "no list is asked about addresses of networks of their own"

    asyncio.run(run())


def test_refused_record_type_does_not_block_the_host(internet: SmallInternet) -> None:
    """At the gate a name is asked for in both types."""

    async def run() -> None:
        async with running(internet.nameserver.upstream) as server:

            def decide(ruleset: Ruleset, request: Request) -> Decision:
                return BLOCK if request.dns_type == "AAAA" else server.decisions(ruleset, request)

            server.resolver.swap(decide, None, AnswerPolicy(decide))
            found = await HostResolver(server.resolver).find(rules(), DeviceId("tablet"), "bank.example")
            assert (found.addresses, found.decision.verdict) == ((internet.address_of("bank.example"),), Verdict.ALLOW)
            closed = await HostResolver(server.resolver).find(rules(), DeviceId("tablet"), "adult.example")
            assert (closed.addresses, closed.decision) == ((), BLOCK)

    asyncio.run(run())


def test_local_names_may_have_local_addresses(internet: SmallInternet) -> None:
    """Records of the policy file, their reverse, and a zone that another resolver knows; the public upstream hears of
    none of it.
    """
    with_lan = NetworkSettings(
        resolver=ResolverSettings(
            forward=(ForwardZone("home.lan", (internet.nameserver.upstream,)),),
            records=(LocalRecord("printer.lan", ("192.168.1.9", "fd00::9")),),
        )
    )
    internet.nameserver.add_zone(parse_zone("home.lan", LAN_ZONE))
    a, aaaa, txt, reverse, reverse6, nas = asked(
        internet,
        ("printer.lan", "A"),
        ("Printer.LAN", "AAAA"),
        ("printer.lan", "TXT"),
        ("9.1.168.192.in-addr.arpa", "PTR"),
        (ip_address("fd00::9").reverse_pointer, "PTR"),
        ("nas.home.lan", "A"),
        around=with_lan,
    )
    assert [shown(record) for record in (a, aaaa, txt)] == [["192.168.1.9"], ["fd00::9"], []]
    assert [shown(record) for record in (reverse, reverse6)] == [["printer.lan."]] * 2
    assert shown(nas) == ["192.168.1.5"]
    assert internet.nameserver.names_asked() == {"nas.home.lan"}


def test_names_of_a_forwarded_zone_are_asked_only_there(internet: SmallInternet) -> None:
    dead = NetworkSettings(resolver=ResolverSettings(forward=(ForwardZone("example", ("udp://127.0.0.1:1",)),)))
    (found,) = asked(internet, ("news.example", "A"), around=dead)
    assert (found.header.rcode, internet.nameserver.queries()) == (2, 0)


@pytest.mark.parametrize(
    ("how", "trusts", "reason", "rcode", "a", "aaaa"),
    [
        (BlockedAnswer.ZERO, False, Reason.CATEGORY, 0, ["0.0.0.0"], ["::"]),
        (BlockedAnswer.NXDOMAIN, False, Reason.CATEGORY, 3, [], []),
        (BlockedAnswer.PAGE, True, Reason.CATEGORY, 0, ["192.168.1.2"], []),
        (BlockedAnswer.PAGE, False, Reason.CATEGORY, 0, ["0.0.0.0"], ["::"]),
        (BlockedAnswer.PAGE, False, Reason.NO_SESSION, 0, ["192.168.1.2"], []),
        (BlockedAnswer.PAGE, False, Reason.CONDUCT, 0, ["192.168.1.2"], []),
        (BlockedAnswer.ZERO, False, Reason.NO_SESSION, 0, ["0.0.0.0"], ["::"]),
    ],
)
def test_blocked_answer_follows_the_policy(
    internet: SmallInternet, how: BlockedAnswer, trusts: bool, reason: Reason, rcode: int, a: list[str], aaaa: list[str]
) -> None:
    settings = ResolverSettings(blocked_answer=how, block_page=("192.168.1.2",))
    decisions = DecisionTable({"adult.example": replace(BLOCK, reason=reason)})

    async def run() -> None:
        async with running(internet.nameserver.upstream) as server:
            server.resolver.swap(decisions, None, AnswerPolicy(decisions, settings))
            for kind, expected in (("A", a), ("AAAA", aaaa), ("HTTPS", [])):
                held = rules(trusts_ca=trusts)
                answer = await server.resolver.answer(
                    held, DeviceId("t"), bytes(dnslib.DNSRecord.question("adult.example", kind).pack()), "udp"
                )
                assert answer.message is not None
                record = dnslib.DNSRecord.parse(answer.message)
                assert (record.header.rcode, shown(record)) == (rcode, expected), kind

    asyncio.run(run())
