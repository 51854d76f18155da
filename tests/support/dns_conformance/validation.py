"""A validating resolver in front: Unbound asks the resolver under test, which asks Knot DNS, which signs its zones."""

from __future__ import annotations

from collections.abc import Iterator

import dnslib
from http_conformance.outcome import Outcome

from dns_conformance.messages import Answer, ask, edns, parse
from dns_conformance.servers import Resolver, Stand, unbound

SIGNED = """
www       A 192.0.2.10
www       AAAA 2001:db8::10
alias     CNAME www
mail      MX 10 www
*.wild    A 192.0.2.11
*.wildtxt TXT "any"
a.b.c     A 192.0.2.12
dept      DNAME sub
x.sub     A 192.0.2.13
child     NS ns.child
ns.child  A 192.0.2.14
long      TXT "{long}"
long      TXT "{longer}"
https     HTTPS 1 . alpn=h2
caa       CAA 0 issue "ca.example"
sshfp     SSHFP 4 2 {digest}
tlsa      TLSA 3 1 1 {digest}
naptr     NAPTR 10 10 "u" "E2U+sip" "!^.*$!sip:a@b!" .
""".format(long="x" * 250, longer="y" * 250, digest="ab" * 32)
AREA = "validating Unbound before it"
CASES = (
    ("address", "www", 1),
    ("other address", "www", 28),
    ("no such type", "www", 16),
    ("alias", "alias", 1),
    ("mail server", "mail", 15),
    ("wildcard", "any.wild", 1),
    ("wildcard of another type", "any.wildtxt", 16),
    ("wildcard without such records", "any.wild", 16),
    ("name that does not exist", "no-such-name", 1),
    ("name below one that does not exist", "a.no-such-name", 1),
    ("empty name between", "b.c", 1),
    ("name below the empty one", "a.b.c", 1),
    ("DNAME", "x.dept", 1),
    ("key of the zone", "", 48),
    ("start of the zone", "", 6),
    ("parameters of NSEC3", "", 51),
    ("delegation without signature", "child", 43),
    ("long text", "long", 16),
    ("HTTPS record", "https", 65),
    ("CAA record", "caa", 257),
    ("SSHFP record", "sshfp", 44),
    ("TLSA record", "tlsa", 52),
    ("NAPTR record", "naptr", 35),
)


def run_validation(stand: Stand) -> Iterator[Outcome]:
    """Compare the answers of a validator that asks the resolver under test with those of one that asks Knot
    DNS itself.
    """
    with (
        unbound(stand.net, stand.resolver.ports["udp"], anchors=stand.anchors) as behind,
        unbound(stand.net, stand.authoritative, anchors=stand.anchors) as direct,
    ):
        for case, label, kind in CASES:
            host = f"{label}.signed.example".lstrip(".")
            expected, got = _shape(direct, host, kind), _shape(behind, host, kind)
            yield Outcome(AREA, case, "4035 3.2", got == expected and expected[1], f"{got} instead of {expected}")
        got = _shape(behind, "www.forged.example", 1)
        yield Outcome(AREA, "forged zone", "4035 5.5", got[0] == 2, str(got))


def _shape(resolver: Resolver, host: str, kind: int) -> tuple[int, bool, tuple[tuple[str, int, str], ...]]:
    """Return code, AD flag, and the records without their signatures."""
    data = ask(resolver.ports["tcp"], edns(name=host, kind=kind, flags=0x8000), "tcp")
    if data is None:
        return -1, False, ()
    try:
        answer: Answer = parse(data)
    except dnslib.DNSError:
        return -2, False, ()
    records = sorted((owner, rtype, rdata) for owner, rtype, _, rdata in answer.records if rtype != 46)
    return answer.rcode, bool(data[3] & 0x20), tuple(records)
