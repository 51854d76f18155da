"""DNS tunnels: a domain with too much traffic is blocked for one device for a while."""

from __future__ import annotations

import asyncio

import dnslib
import pytest
from small_internet import SmallInternet

from hedgerow.dns.tunnel_detector import BLOCK_SECONDS, MAX_OCTETS, WINDOW_SECONDS, TunnelDetector
from hedgerow.policies.model import Decision, DeviceId, Reason, Verdict
from hedgerow.policies.ruleset import Ruleset

from .conftest import EXCEPTION, rules, running

TABLET, LAPTOP = DeviceId("tablet"), DeviceId("laptop")
TUNNEL = "tunnel.example.co.uk"
GUARDED, OPEN = rules(bypass=1), rules()


def test_too_many_octets_block_the_domain_for_the_device() -> None:
    watch = TunnelDetector()
    for number in range(4):
        assert not watch.is_blocked(TABLET, TUNNEL, 0.0)
        watch.record(TABLET, f"x{number}.{TUNNEL}", MAX_OCTETS // 4 + 1, float(number))
    assert watch.is_blocked(TABLET, "example.co.uk", 3.0)
    assert watch.is_blocked(TABLET, f"never.asked.{TUNNEL}", 3.0 + BLOCK_SECONDS - 1)
    assert not watch.is_blocked(TABLET, "another.co.uk", 3.0)
    assert not watch.is_blocked(LAPTOP, TUNNEL, 3.0)
    assert not watch.is_blocked(TABLET, TUNNEL, 3.0 + BLOCK_SECONDS)
    assert not watch.is_blocked(TABLET, TUNNEL, 3.0), "it is forgotten"


def test_slow_traffic_is_not_blocked() -> None:
    watch = TunnelDetector()
    for number in range(100):
        watch.record(TABLET, TUNNEL, MAX_OCTETS, number * WINDOW_SECONDS)
        assert not watch.is_blocked(TABLET, TUNNEL, number * WINDOW_SECONDS)


@pytest.mark.parametrize(
    "host", ["{}.avqs.mcafee.com", "{}.sophosxl.net", "l{}.m.wikipedia.org", "edge-{}.office.net", "p{}.time.apple.com"]
)
def test_look_ups_of_programs_and_well_known_sites_are_no_tunnel(host: str) -> None:
    watch = TunnelDetector()
    for number in range(8):
        watch.record(TABLET, host.format(number), MAX_OCTETS, float(number))
        assert not watch.is_blocked(TABLET, host.format(number), float(number))


def test_a_tunnel_over_many_domains_is_blocked_in_all_of_them() -> None:
    watch, domains = TunnelDetector(), [f"d{number}.example" for number in range(64)]
    for _ in range(4):
        for host in domains:
            watch.record(TABLET, host, MAX_OCTETS // 40, 0.0)
    assert all(watch.is_blocked(TABLET, host, 0.0) for host in domains)
    watch.record(TABLET, "www.school.example.org", 900, 1.0)
    assert not watch.is_blocked(TABLET, "www.school.example.org", 1.0), "an ordinary site is asked a few times"
    assert not watch.is_blocked(LAPTOP, domains[0], 1.0)


def test_names_that_nobody_asked_before_hide_no_tunnel() -> None:
    watch = TunnelDetector()
    for step in range(2):
        watch.record(TABLET, TUNNEL, MAX_OCTETS // 2 + 1, 0.0)
        for number in range(5000):
            watch.record(LAPTOP, f"d{step}-{number}.example", 100, 0.0)
    assert watch.is_blocked(TABLET, TUNNEL, 0.0)


def test_memory_is_bounded() -> None:
    watch = TunnelDetector()
    for number in range(20_000):
        watch.record(TABLET, f"d{number}.example", MAX_OCTETS + 1, 0.0)
    assert len(watch._carried) <= 4096
    assert len(watch._blocked_until) <= 4096


def message(host: str) -> bytes:
    question = dnslib.DNSRecord.question(host, "TXT")
    question.add_ar(dnslib.EDNS0(udp_len=1232))
    return bytes(question.pack())


def carry(net: SmallInternet, ruleset: Ruleset, table: dict[str, Decision]) -> tuple[list[Verdict], list[Verdict]]:
    """Return the answers to many long names below one domain for one device, then to another domain and another device."""

    async def run() -> tuple[list[Verdict], list[Verdict]]:
        async with running(net.nameserver.upstream) as server:
            server.decisions.table.update(table)

            async def verdict(device: DeviceId, host: str) -> Verdict:
                answer = await server.resolver.answer(ruleset, device, message(host), "udp")
                decision = answer.decision
                assert decision is not None
                assert decision.verdict is Verdict.ALLOW or decision.reason is Reason.BYPASS
                return decision.verdict

            names = [f"{number:060}.{'a' * 60}.{'b' * 60}.nowhere.example" for number in range(MAX_OCTETS // 200)]
            found = [await verdict(TABLET, name) for name in names]
            others = [await verdict(TABLET, "www.school.example"), await verdict(LAPTOP, names[-1])]
            return found, others

    return asyncio.run(run())


def test_tunnel_is_blocked_and_other_names_are_not(internet: SmallInternet) -> None:
    found, others = carry(internet, GUARDED, {})
    shut = found.index(Verdict.BLOCK)
    assert 100 < shut < len(found) - 1
    assert set(found[shut:]) == {Verdict.BLOCK}
    assert others == [Verdict.ALLOW, Verdict.ALLOW]


def test_bypass_allowed_devices_and_allowed_names_are_exempt(internet: SmallInternet) -> None:
    assert set(carry(internet, OPEN, {})[0]) == {Verdict.ALLOW}
    assert set(carry(internet, GUARDED, {"nowhere.example": EXCEPTION})[0]) == {Verdict.ALLOW}
