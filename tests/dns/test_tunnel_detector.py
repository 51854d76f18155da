"""DNS tunnels: a domain with too much traffic is blocked for one device for a while."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import dnslib
import pytest
from small_internet import SmallInternet

from hedgerow.dns.tunnel_detector import BLOCK_SECONDS, MAX_OCTETS, MAX_OF_DEVICE, WINDOW_SECONDS, TunnelDetector
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
    for _ in range(5):
        for host in domains:
            watch.record(TABLET, host, MAX_OCTETS // 40, 0.0)
    assert all(watch.is_blocked(TABLET, host, 0.0) for host in domains)
    watch.record(TABLET, "www.school.example.org", 900, 1.0)
    assert not watch.is_blocked(TABLET, "www.school.example.org", 1.0), "an ordinary site is asked a few times"
    assert not watch.is_blocked(LAPTOP, domains[0], 1.0)


SITES = (
    "kahoot.it",
    "quizlet.com",
    "ixl.com",
    "mathletics.com",
    "seesaw.me",
    "padlet.com",
    "prodigygame.com",
    "geogebra.org",
    "classdojo.com",
    "nearpod.com",
    "edpuzzle.com",
    "blooket.com",
    "gimkit.com",
    "turnitin.com",
    "canva.com",
    "brainly.com",
    "sparknotes.com",
    "studyflix.de",
    "anton.app",
    "antolin.de",
    "leo.org",
    "dict.cc",
    "deepl.com",
    "lumenlearning.com",
    "openclassrooms.com",
    "futbin.com",
    "transfermarkt.de",
    "kicker.de",
    "wetter.com",
    "bahn.de",
    "sbb.ch",
    "sncf-connect.com",
    "marca.com",
    "lequipe.fr",
    "idnes.cz",
    "onet.pl",
    "allrecipes.com",
    "chefkoch.de",
    "wikihow.com",
    "imdb.com",
    "goodreads.com",
    "speedtest.net",
    "patrickhlauke.github.io",
)
PARTNERS = (
    "googletagmanager.com",
    "google-analytics.com",
    "fontawesome.com",
    "typekit.net",
    "hotjar.com",
    "criteo.com",
    "taboola.com",
    "outbrain.com",
    "rubiconproject.com",
    "pubmatic.com",
    "casalemedia.com",
    "openx.net",
    "smartadserver.com",
    "adsrvr.org",
    "demdex.net",
    "omtrdc.net",
    "scorecardresearch.com",
    "chartbeat.com",
    "onetrust.com",
    "cookielaw.org",
    "usercentrics.eu",
    "newrelic.com",
    "nr-data.net",
    "segment.io",
    "mixpanel.com",
    "branch.io",
    "appsflyer.com",
    "adjust.com",
    "braze.com",
    "intercom.io",
    "hubspot.com",
    "hs-scripts.com",
    "cloudflareinsights.com",
    "recaptcha.net",
    "hcaptcha.com",
    "stripe.com",
    "klarna.com",
    "cloudinary.com",
    "imgix.net",
    "bunnycdn.ru",
)
OWN_NAMES = ("www.{}", "{}", "static.{}", "img.{}", "api.{}")


def school(people: int, minutes: int, rng: random.Random) -> Iterator[tuple[float, str, int]]:
    """Yield the moment, the host and the octets of what a forwarder asks for `people` who open a page every 20 seconds.

    It keeps answers for a minute. Sites are few popular ones and many others. A page asks its partners, and some hosts
    that have a name for each page or visitor.
    """
    others = [
        f"{rng.choice(('gym', 'shop', 'verein', 'media', 'lern', 'foto'))}-{number}.{end}"
        for number in range(2000)
        for end in ("de", "com")
    ]
    for minute in range(minutes):
        cached: set[tuple[str, str]] = set()
        for page in range(people * 3):
            site = rng.choice(SITES) if rng.random() < 0.4 else others[int(len(others) * rng.random() ** 3)]
            code = f"{rng.getrandbits(128):032x}"
            hosts = [name.format(site) for name in OWN_NAMES] + [f"cdn.{each}" for each in rng.sample(PARTNERS, 12)]
            hosts += [f"{code}.safeframe.googlesyndication.com", f"rr{page % 9}---sn-{code[:10]}.googlevideo.com"]
            hosts += [
                f"scontent-{code[:4]}.xx.fbcdn.net",
                f"o{page}.ingest.de.sentry.io",
                f"d{code[:13]}.cloudfront.net",
            ]
            hosts += [
                f"{code[:10]}.execute-api.eu-central-1.amazonaws.com",
                f"{code}.online-metrix.net",
                f"tenant-{page % 40}.sharepoint.com",
            ]
            for host in hosts:
                for kind, answer in (("A", 90), ("AAAA", 120), ("HTTPS", 110)):
                    if (host, kind) not in cached:
                        cached.add((host, kind))
                        yield minute * 60 + page / people * 20, host, 2 * len(host) + answer


def test_a_school_behind_a_forwarder_is_no_tunnel_and_hides_none() -> None:
    watch, asked, most = TunnelDetector(), set[str](), 0
    for now, host, octets in school(300, 3, random.Random(7)):
        watch.record(TABLET, host, octets, now)
        asked.add(host)
        most += octets
    assert len(asked) > 5000
    assert most > 8 * MAX_OF_DEVICE, "far more than one person asks for"
    assert [host for host in sorted(asked) if watch.is_blocked(TABLET, host, 180.0)] == []
    domains = [f"d{number}.example" for number in range(64)]
    for number, (now, host, octets) in enumerate(school(300, 1, random.Random(8))):
        watch.record(TABLET, host, octets, 200 + now)
        watch.record(TABLET, f"{number:x}.{domains[number % 64]}", 200, 200 + now)
    assert all(watch.is_blocked(TABLET, host, 260.0) for host in domains)


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
    """Return the answers to many long names below one domain for one device, then to another domain and
    another device.
    """

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
