"""The resolver's answers: blocked, rewritten, cloaked, special and failed names, as kdig or a datagram sees them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, cast

import dnslib
import pytest
from small_internet import Fault, SmallInternet

from hedgerow.dns.answer_cache import Answer, Clocks
from hedgerow.dns.extended_errors import PRIVATE_ADDRESS, UPSTREAM_BLOCKS, block_error
from hedgerow.dns.host_resolver import RESOLUTION_DELAY, HostResolver
from hedgerow.dns.resolver import Resolver
from hedgerow.dns.upstreams import pool
from hedgerow.policies.model import Decision, DeviceId, Reason, Verdict
from hedgerow.policies.ruleset import Ruleset

from .conftest import BLOCK, EXCEPTION, rules, running


def query(name: str, qtype: str = "A", *, edns: bool = True, recursive: bool = True) -> bytes:
    question = dnslib.DNSRecord.question(name, qtype)
    question.header.rd = int(recursive)
    if edns:
        question.add_ar(dnslib.EDNS0(udp_len=1232))
    return bytes(question.pack())


def answers(
    upstream: str | list[str], *asked: tuple[str, str], table: dict[str, Decision] | None = None
) -> list[dnslib.DNSRecord]:
    async def run() -> list[dnslib.DNSRecord]:
        async with running(upstream) as server:
            server.decisions.table.update(table or {})
            found = []
            for name, qtype in asked:
                answer = await server.resolver.answer(rules(), DeviceId("tablet"), query(name, qtype), "udp")
                assert answer.message is not None
                found.append(dnslib.DNSRecord.parse(answer.message))
            return found

    return asyncio.run(run())


def shown(record: dnslib.DNSRecord) -> list[tuple[str, str]]:
    return [(dnslib.QTYPE.get(rr.rtype), str(rr.rdata)) for rr in record.rr]


def ede(record: dnslib.DNSRecord) -> list[tuple[int, str]]:
    options = [option for rr in record.ar for option in rr.rdata if option.code == 15]
    return [(int.from_bytes(option.data[:2]), option.data[2:].decode()) for option in options]


def test_blocked_name_blocks_its_subdomains(internet: SmallInternet) -> None:
    host = "adult.example"
    a, aaaa, https, below = answers(
        internet.nameserver.upstream, (host, "A"), (host, "AAAA"), (host, "HTTPS"), (f"x.y.{host}", "A")
    )
    assert [shown(record) for record in (a, aaaa, https, below)] == [
        [("A", "0.0.0.0")],
        [("AAAA", "::")],
        [],
        [("A", "0.0.0.0")],
    ]
    for record in (a, aaaa, https):
        assert ede(record) == [(17, "Hedgerow: category adult")]
    assert internet.nameserver.queries() == 0


def test_safe_search_answer_holds_only_the_cname_and_its_target(internet: SmallInternet) -> None:
    """An HTTPS or AAAA query that escapes the rewrite, or a missing CNAME, are the classic ways in which it fails."""
    kinds = ("A", "AAAA", "HTTPS", "TXT", "SVCB")
    found = answers(internet.nameserver.upstream, *(("www.google.com", kind) for kind in kinds))
    cname = ("CNAME", "forcesafesearch.google.com.")
    assert shown(found[0]) == [cname, ("A", internet.address_of("forcesafesearch.google.com"))]
    assert shown(found[1]) == [cname, ("AAAA", "2001:db8::42")]
    assert [shown(record) for record in found[2:]] == [[cname]] * 3
    assert "www.google.com" not in internet.nameserver.names_asked()


def test_safe_search_by_address(internet: SmallInternet) -> None:
    a, aaaa, https = answers(internet.nameserver.upstream, *(("www.bing.com", kind) for kind in ("A", "AAAA", "HTTPS")))
    assert [shown(record) for record in (a, aaaa, https)] == [[("A", "213.180.193.56")], [], []]


def test_engine_without_resolving_target_is_blocked(internet: SmallInternet) -> None:
    a, aaaa = answers(internet.nameserver.upstream, ("www.youtube.com", "A"), ("www.youtube.com", "AAAA"))
    assert [shown(record) for record in (a, aaaa)] == [[("A", "0.0.0.0")], [("AAAA", "::")]]


def test_engine_is_not_opened_when_upstreams_fail(internet: SmallInternet) -> None:
    with internet.nameserver.misbehaving(Fault.SERVFAIL, "forcesafesearch.google.com"):
        (record,) = answers(internet.nameserver.upstream, ("www.google.com", "A"))
    assert (record.header.rcode, shown(record)) == (2, [])


def test_blocked_cname_target_is_blocked(internet: SmallInternet) -> None:
    host = "hidden-adult.oddities.example"
    blocked, again, other = answers(internet.nameserver.upstream, (host, "A"), (host, "A"), (host, "HTTPS"))
    assert shown(blocked) == shown(again) == [("A", "0.0.0.0")]
    assert shown(other) == []
    (allowed,) = answers(internet.nameserver.upstream, (host, "A"), table={host: EXCEPTION})
    assert ("A", internet.address_of("adult.example")) in shown(allowed)


@pytest.mark.parametrize(
    ("host", "rcode"),
    [
        ("use-application-dns.net", 3),
        ("mask.icloud.com", 3),
        ("_dns.resolver.arpa", 0),
        ("resolver.arpa", 0),
        ("secret.onion", 3),
        ("thing.invalid", 3),
    ],
)
def test_canaries_and_reserved_names(internet: SmallInternet, host: str, rcode: int) -> None:
    for record in answers(internet.nameserver.upstream, (host, "A"), (host, "SVCB")):
        assert (record.header.rcode, shown(record), len(record.auth)) == (rcode, [], 1)
    assert internet.nameserver.queries() == 0


def test_private_relay_resolves_where_it_is_allowed(internet: SmallInternet) -> None:
    answers(internet.nameserver.upstream, ("mask.icloud.com", "A"), table={"mask.icloud.com": EXCEPTION})
    assert internet.nameserver.queries("mask.icloud.com") == 1


def test_check_name_resolves_to_this_machine(internet: SmallInternet) -> None:
    zone = "check.hedgerow.internal"
    asked = [
        (f"7f3a.127-0-0-1.{zone}", "A"),
        (f"7f3a.127-0-0-1.{zone}", "AAAA"),
        (f"7f3a.192-0-2-1.{zone}", "A"),
        (zone, "A"),
    ]
    found = answers(internet.nameserver.upstream, *asked)
    assert [(record.header.rcode, shown(record)) for record in found] == [
        (0, [("A", "127.0.0.1")]),
        (0, []),
        (3, []),
        (3, []),
    ]
    assert internet.nameserver.queries(asked[0][0]) == 0


def test_localhost_resolves_to_loopback(internet: SmallInternet) -> None:
    found = answers(internet.nameserver.upstream, ("localhost", "A"), ("db.localhost", "AAAA"))
    assert [shown(record) for record in found] == [[("A", "127.0.0.1")], [("AAAA", "::1")]]


def test_answers_of_all_types_are_forwarded_unchanged(internet: SmallInternet) -> None:
    site = internet.address_of("news.example")
    expected = {
        ("news.example", "A"): [("A", site)],
        ("far.oddities.example", "A"): [("CNAME", "www.news.example."), ("A", site)],
        ("oddities.example", "MX"): [("MX", "10 mail.school.oddities.example.")],
        ("small-text.oddities.example", "TXT"): [("TXT", '"v=small one","two"')],
        ("no-address.oddities.example", "A"): [],
        ("unassigned-type.oddities.example", "TYPE65280"): None,
    }
    found = answers(internet.nameserver.upstream, *expected)
    for record, (asked, wanted) in zip(found, expected.items(), strict=True):
        assert record.header.rcode == 0, asked
        if wanted is not None:
            assert shown(record) == wanted, asked


def test_no_kept_answer_tells_that_somebody_looked_for_help(internet: SmallInternet) -> None:
    """Neither a shortened TTL nor a quick answer, nor a counter of its own.

    While the upstreams fail, what is kept still serves.
    """
    helpline = Decision(Verdict.ALLOW, Reason.LIFELINE, "childline.org.uk")
    host, wall, steady = "www.childline.org.uk", SetClock(1_700_000_000.0), SetClock()

    async def run() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady, wall)) as server:
            server.decisions.table[host] = helpline
            ttls = []
            for number in range(1, 4):
                answer = await server.resolver.answer(rules(number % 2), DeviceId("tablet"), query(host), "udp")
                assert answer.message is not None
                assert internet.nameserver.queries(host) == number
                ttls += [record.ttl for record in dnslib.DNSRecord.parse(answer.message).rr]
                assert answer.entry is not None
                assert {series[2] for series in answer.entry.counted.series if len(series) == 4} == {"default"}
                steady.now += 7
            assert len(set(ttls)) == 1
            assert server.resolver.answers.entries == {}
            with internet.nameserver.misbehaving(Fault.SERVFAIL, host):
                answer = await server.resolver.answer(rules(), DeviceId("tablet"), query(host), "udp")
            assert answer.message is not None
            assert shown(dnslib.DNSRecord.parse(answer.message)) == [("A", internet.address_of(host))]

    asyncio.run(run())


def test_failure_is_servfail_and_cached_briefly(internet: SmallInternet) -> None:
    async def run() -> tuple[float, float, dnslib.DNSRecord]:
        async with running(internet.nameserver.upstream) as server:
            began = time.monotonic()
            answer = await server.resolver.answer(rules(), DeviceId("tablet"), query("news.example"), "udp")
            first = time.monotonic() - began
            assert answer.message is not None
            return first, time.monotonic() - began, dnslib.DNSRecord.parse(answer.message)

    with internet.nameserver.misbehaving(Fault.DEAD):
        first, _, record = asyncio.run(run())
    assert sum(pool._ATTEMPT_SECONDS) < 5, "less than a stub resolver waits"
    assert first < sum(pool._ATTEMPT_SECONDS) + 3
    assert record.header.rcode == 2
    assert ede(record)[0][0] == 22


@dataclass
class SetClock:
    now: float = 5000.0

    def __call__(self) -> float:
        return self.now


def test_no_ttl_outlives_the_ruleset(internet: SmallInternet) -> None:
    wall, steady = SetClock(1_700_000_000.0), SetClock()

    async def run() -> None:
        async with running(internet.nameserver.upstream, clocks=Clocks(steady, wall)) as server:
            held = rules(1, until=wall.now + 7.5)
            for host, most in (("news.example", 7), ("adult.example", 7)):
                for waited in (0.0, 3.0, 7.6):
                    start = steady.now
                    steady.now += waited
                    wall.now += waited
                    answer = await server.resolver.answer(held, DeviceId("tablet"), query(host), "udp")
                    assert answer.message is not None
                    ttls = [rr.ttl for rr in dnslib.DNSRecord.parse(answer.message).rr]
                    assert ttls == [max(0, most - int(waited))]
                    wall.now -= waited
                    steady.now = start
                server.resolver.answers.clear()

    asyncio.run(run())


def test_resolutions_are_shared_by_rulesets(internet: SmallInternet) -> None:
    async def run() -> None:
        async with running(internet.nameserver.upstream) as server:
            for id in (1, 2, 3):
                answer = await server.resolver.answer(
                    rules(id), DeviceId("tablet"), query("news.example", edns=id > 1), "udp"
                )
                assert answer.entry is not None

    asyncio.run(run())
    assert internet.nameserver.queries("news.example") == 1


def test_decision_of_the_old_snapshot_is_not_cached(internet: SmallInternet) -> None:
    """The answer is on its way when the snapshot changes."""

    async def run() -> list[tuple[str, str]]:
        async with running(internet.nameserver.upstream) as server:
            with internet.nameserver.misbehaving(Fault.SLOW, "slow.wild.example", delay=0.3):
                late = asyncio.create_task(
                    server.resolver.answer(rules(), DeviceId("tablet"), query("slow.wild.example"), "udp")
                )
                await asyncio.sleep(0.1)
                server.decisions.table["wild.example"] = BLOCK
                server.resolver.swap(server.decisions)
                await late
            answer = await server.resolver.answer(rules(), DeviceId("tablet"), query("slow.wild.example"), "udp")
            assert answer.message is not None
            return shown(dnslib.DNSRecord.parse(answer.message))

    assert asyncio.run(run()) == [("A", "0.0.0.0")]


@pytest.mark.parametrize(
    ("host", "verdict", "found"),
    [
        ("news.example", Verdict.ALLOW, ["127.0.1.15", "2001:db8::15"]),
        ("adult.example", Verdict.BLOCK, []),
        ("hidden-adult.oddities.example", Verdict.BLOCK, []),
        ("www.google.com", Verdict.REWRITE, ["127.0.1.42", "2001:db8::42"]),
        ("www.youtube.com", Verdict.BLOCK, []),
        ("192.0.2.7", Verdict.ALLOW, ["192.0.2.7"]),
        ("only-v6.oddities.example", Verdict.ALLOW, ["::1"]),
        ("nowhere.example", Verdict.ALLOW, []),
        ("a..b", Verdict.ALLOW, []),
        ("big-text.oddities.example", Verdict.ALLOW, []),
    ],
)
def test_gate_gets_the_same_addresses_as_dns(
    internet: SmallInternet, host: str, verdict: Verdict, found: list[str]
) -> None:
    async def run() -> None:
        async with running(internet.nameserver.upstream) as server:
            got = await HostResolver(server.resolver).find(rules(), DeviceId("tablet"), host)
            wanted = tuple(text.replace("127.0.1.", internet.prefix + ".") for text in found)
            assert (got.addresses, got.decision.verdict, got.failed) == (wanted, verdict, False)

    asyncio.run(run())


def test_gate_learns_of_upstream_failure() -> None:
    async def run() -> None:
        async with running("udp://127.0.0.1:1") as server:
            got = await HostResolver(server.resolver).find(rules(), DeviceId("tablet"), "news.example")
            assert (got.addresses, got.failed) == ((), True)

    asyncio.run(run())


def test_gate_does_not_wait_for_aaaa(internet: SmallInternet) -> None:
    class SlowForAaaa:
        def __init__(self, resolver: Resolver) -> None:
            self._resolver, self.decide, self.comes = resolver, resolver.decide, asyncio.Event()

        async def answer(self, ruleset: Ruleset, device: DeviceId, data: bytes, *rest: Any) -> Answer:
            if dnslib.DNSRecord.parse(data).q.qtype == dnslib.QTYPE.AAAA:
                await self.comes.wait()
            return await self._resolver.answer(ruleset, device, data, *rest)

    async def run() -> None:
        async with running(internet.nameserver.upstream) as server:
            slow = SlowForAaaa(server.resolver)
            find = HostResolver(cast("Resolver", slow)).find
            found = await asyncio.wait_for(find(rules(), DeviceId("tablet"), "dual.example"), 20)
            assert (found.addresses, found.decision.verdict) == ((internet.address_of("dual.example"),), Verdict.ALLOW)
            # A name without IPv4 addresses has nothing else to go on with.
            asyncio.get_running_loop().call_later(2 * RESOLUTION_DELAY, slow.comes.set)
            found = await asyncio.wait_for(find(rules(), DeviceId("tablet"), "only-v6.oddities.example"), 20)
            assert found == await HostResolver(server.resolver).find(
                rules(), DeviceId("tablet"), "only-v6.oddities.example"
            )

    asyncio.run(run())


def test_query_without_rd_sees_no_cache(internet: SmallInternet) -> None:
    async def run() -> list[int]:
        async with running(internet.nameserver.upstream) as server:
            rcodes = []
            for recursive in (True, False):
                answer = await server.resolver.answer(
                    rules(), DeviceId("t"), query("news.example", recursive=recursive), "udp"
                )
                assert answer.message is not None
                rcodes.append(dnslib.DNSRecord.parse(answer.message).header.rcode)
            return rcodes

    assert asyncio.run(run()) == [0, 5]


def test_reasons_are_given_as_text() -> None:
    for reason in Reason:
        assert answers_text(reason).startswith("Hedgerow: ")


@pytest.mark.parametrize(
    ("reason", "what", "can_ask"),
    [
        (Reason.CATEGORY, "gambling", True),
        (Reason.SERVICE, "tiktok", True),
        (Reason.RULE, "x.example", True),
        (Reason.BEDTIME, "bedtime", True),
        (Reason.BYPASS, "ip-address", True),
        (Reason.BYPASS, "bypass", False),
        (Reason.CATEGORY, "illegal", False),
        (Reason.CATEGORY, "malware", False),
        (Reason.RECOGNISED, "phishing", False),
        (Reason.RULE, PRIVATE_ADDRESS, False),
        (Reason.RULE, UPSTREAM_BLOCKS, False),
        (Reason.UNNAMED, "", False),
        (Reason.NO_SESSION, "", False),
        (Reason.CONDUCT, "", False),
    ],
)
def test_the_text_leads_to_the_page_only_if_access_can_be_asked_for(reason: Reason, what: str, can_ask: bool) -> None:
    decision = Decision(Verdict.BLOCK, reason, what)
    assert ("; ask at http" in block_error(decision, names_page=True).text) is can_ask
    assert "; ask at" not in block_error(decision).text


def answers_text(reason: Reason) -> str:
    return block_error(Decision(Verdict.BLOCK, reason, "x")).text
