"""The made-up names of the small internet, and look-alikes of the search engines and their safe twins.

All names resolve into one /24 of loopback, `prefix` + ".N", so that an origin can tell by the address it was reached at
which name was resolved: www.google.com and forcesafesearch.google.com have different numbers.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from small_internet.records import Zone, parse_zone

# A well-formed ECHConfigList (RFC 9849 §4): version 0xfe0d, public name "public.example". The key in it is all zeros.
_ECH_CONTENTS = (
    bytes.fromhex("01 0020 0020") + bytes(32) + bytes.fromhex("0004 0001 0001 00") + b"\x0epublic.example" + b"\0\0"
)
ECH = base64.b64encode(
    (len(_ECH_CONTENTS) + 4).to_bytes(2, "big") + b"\xfe\x0d" + len(_ECH_CONTENTS).to_bytes(2, "big") + _ECH_CONTENTS
).decode()

HOSTS: Mapping[str, int] = {
    # Made-up sites under names that are reserved for examples and tests (RFC 2606).
    "www.school.example": 10,
    "school.example": 10,
    "static.school.example": 11,
    "games.example": 12,
    "adult.example": 13,
    "www.adult.example": 13,
    "gambling.example": 14,
    "news.example": 15,
    "bank.example": 16,
    "files.example": 17,
    "h2.example": 18,
    "helpline.example": 19,
    "self-signed.example": 20,
    "expired.example": 21,
    "wrong-name.example": 22,
    "broken.example": 23,
    "chat.example": 24,
    "mixed.test": 25,
    "dual.example": 26,
    "films.example": 27,
    "www.films.example": 27,
    "casino.example": 28,
    "forum.example": 29,
    # The search engines and their safe twins: who gets which address shows which name was resolved.
    "www.google.com": 40,
    "google.com": 40,
    "www.google.pt": 41,
    "accounts.google.com": 43,
    "login.microsoftonline.com": 44,
    "login.live.com": 44,
    "forcesafesearch.google.com": 42,
    "www.youtube.com": 50,
    "m.youtube.com": 50,
    "youtube.com": 50,
    "youtubei.googleapis.com": 51,
    "www.youtube-nocookie.com": 52,
    "restrict.youtube.com": 53,
    "restrictmoderate.youtube.com": 54,
    "www.bing.com": 60,
    "strict.bing.com": 61,
    "duckduckgo.com": 70,
    "www.duckduckgo.com": 70,
    "html.duckduckgo.com": 70,
    "safe.duckduckgo.com": 71,
    "edgeservices.bing.com": 60,
    "search.brave.com": 100,
    "safe.search.brave.com": 101,
    "www.ecosia.org": 102,
    "strict-safe-search.ecosia.org": 103,
    "pixabay.com": 104,
    "safesearch.pixabay.com": 105,
    "yandex.com": 106,
    "www.yandex.ru": 106,
    "familysearch.yandex.ru": 107,
    "www.qwant.com": 108,
    "api.qwant.com": 109,
    "search.yahoo.com": 110,
    "de.search.yahoo.com": 110,
    "www.startpage.com": 111,
    "www.mojeek.com": 112,
    "www.baidu.com": 113,
    # Well-known sites that the built-in lists and services name.
    "www.roblox.com": 80,
    "roblox.com": 80,
    "www.tiktok.com": 81,
    "www.pornhub.com": 82,
    "pornhub.com": 82,
    "www.bet365.com": 83,
    "www.wikipedia.org": 84,
    "en.wikipedia.org": 84,
    "scratch.mit.edu": 85,
    "www.facebook.com": 86,
    "www.instagram.com": 87,
    "discord.com": 88,
    "www.childline.org.uk": 89,
    "childline.org.uk": 89,
}
"""Host name → the last number of its address."""

WILDCARD_NUMBER = 99
"""`*.wild.example` resolves to this address: any number of different names for load tests."""

_ODDITIES = """
alias 60 CNAME www.school.example.
chain 60 CNAME alias
far 60 CNAME www.news.example.
broken-chain 60 CNAME nowhere
loop-a 60 CNAME loop-b
loop-b 60 CNAME loop-a
hidden-adult 60 CNAME tracker.adult.example.
@ 300 MX 10 mail.school
mail.school A {prefix}.10
small-text TXT "v=small one" "two"
big-text TXT size=3000
huge-text TXT size=20000
only-v6 AAAA ::1
no-address TXT "neither A nor AAAA"
short-lived 1 A {prefix}.15
one-zero 0 A {prefix}.15
with-ech 300 HTTPS 1 . alpn=h2,h3 ipv4hint={prefix}.15 ech={ech} ipv6hint=2001:db8::15
with-ech 300 A {prefix}.15
_dns.service 300 SVCB 1 svc.service alpn=dot port=853
private A 192.168.77.1
link-local A 169.254.1.1
rebinding 1 A 127.0.0.1
unassigned-type TYPE65280 \\# 4 0a0b0c0d
deep.empty.non-terminal A {prefix}.15
"""


def build_zones(prefix: str = "127.0.1") -> list[Zone]:
    """All zones: the root (so that every other name is NXDOMAIN), `oddities.example`, `wild.example`, and one a site in
    `HOSTS`.

    Every host has an A record, an AAAA record and an HTTPS record with alpn, ech and address hints, so that a filter
    that forgets one of the types is found out. The IPv6 address is 2001:db8::N (RFC 3849: nobody is there), except that
    `dual.example` is at ::1, where the origins listen as well.
    """
    zones = [
        parse_zone("", "ns A 127.0.0.1"),
        parse_zone("oddities.example", _ODDITIES.format(prefix=prefix, ech=ECH)),
        parse_zone("wild.example", f"* A {prefix}.{WILDCARD_NUMBER}\n@ A {prefix}.{WILDCARD_NUMBER}"),
    ]
    sites: dict[str, list[str]] = {}
    for host, number in HOSTS.items():
        sites.setdefault(_site_of(host), []).append(_host_records(host, f"{prefix}.{number}"))
    sites.setdefault("adult.example", []).append(f"tracker.adult.example. A {prefix}.13")
    sites.setdefault("news.example", []).append(f"www.news.example. A {prefix}.15")
    zones += [parse_zone(site, "\n".join(lines)) for site, lines in sites.items()]
    return zones


def addresses(prefix: str = "127.0.1") -> list[str]:
    """Every address that a name of the small internet resolves to, within `prefix`."""
    return [f"{prefix}.{number}" for number in sorted({*HOSTS.values(), WILDCARD_NUMBER})]


def _site_of(host: str) -> str:
    labels = host.split(".")
    return ".".join(labels[-3:] if host.endswith(".org.uk") else labels[-2:])


def _host_records(host: str, address: str) -> str:
    address6 = "::1" if host == "dual.example" else f"2001:db8::{address.rpartition('.')[2]}"
    https = f"HTTPS 1 . alpn=h2 ipv4hint={address} ech={ECH} ipv6hint={address6}"
    return f"{host}. 300 A {address}\n{host}. 300 AAAA {address6}\n{host}. 300 {https}"
