"""An authoritative server behind the resolver: Knot DNS, which says nothing about names beyond its zones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import dnslib
from http_conformance.outcome import Outcome

from dns_conformance.messages import ask, parse, query
from dns_conformance.servers import Resolver

CORP = """
www       A 192.0.2.10
away      CNAME news.example.
inside    CNAME www
twice     CNAME inside
far       CNAME away
nowhere   CNAME no-such-name.example.
gone      CNAME no-such-name
empty     CNAME text
text      TXT "no address"
circle    CNAME circle2
circle2   CNAME circle
dept      DNAME example.
sub       DNAME other.corp.example.
*.other   A 192.0.2.11
*.wild    CNAME news.example.
short     2 A 192.0.2.12
service   SRV 0 5 443 www
"""
AREA = "authoritative server behind it"
# Name, type, code, and types of the records in their order.
CASES = (
    ("alias inside the zone", "1034 3.6.2", "inside", 1, 0, (5, 1)),
    ("alias of an alias", "1034 3.6.2", "twice", 1, 0, (5, 5, 1)),
    ("alias to another zone", "1034 3.6.2", "away", 1, 0, (5, 1)),
    ("alias of an alias to another zone", "1034 3.6.2", "far", 1, 0, (5, 5, 1)),
    ("alias asked for itself", "1034 3.6.2", "away", 5, 0, (5,)),
    ("alias to a name that does not exist", "6604 3", "nowhere", 1, 3, (5,)),
    ("alias to a name of the zone that does not exist", "6604 3", "gone", 1, 3, (5,)),
    ("alias to a name without such records", "2308 2.2", "empty", 1, 0, (5,)),
    ("wildcard that is an alias", "4592 3.4", "any.wild", 1, 0, (5, 1)),
    ("DNAME to another zone", "6672 3.2", "news.dept", 1, 0, (39, 5, 1)),
    ("DNAME inside the zone", "6672 3.2", "a.sub", 1, 0, (39, 5, 1)),
    ("DNAME does not rename its owner", "6672 2.3", "dept", 1, 0, ()),
    ("service record", "2782", "service", 33, 0, (33,)),
)


def run_aliases(resolver: Resolver) -> Iterator[Outcome]:
    """Ask for the names of Knot's zone `corp.example`, some of which lead into the small internet."""
    for case, section, label, kind, rcode, types in CASES:
        for repeated in ("", ", again"):
            got = _ask(resolver, f"{label}.corp.example", kind)
            found = tuple(rtype for _, rtype, _, _ in got[1])
            passed = (got[0], found) == (rcode, types) and _leads_on(got[1])
            yield Outcome(AREA, case + repeated, section, passed, f"code {got[0]}, types {found}")
    rcode, records = _ask(resolver, "circle.corp.example", 1)
    passed = rcode in (0, 2) and not any(rtype == 1 for _, rtype, _, _ in records)
    yield Outcome(AREA, "aliases in a circle", "1034 3.6.2", passed, f"code {rcode}")


def _ask(resolver: Resolver, name: str, kind: int) -> tuple[int, tuple[tuple[str, int, int, str], ...]]:
    data = ask(resolver.ports["udp"], query(name, kind))
    if data is None:
        return -1, ()
    try:
        answer = parse(data)
    except dnslib.DNSError:
        return -2, ()
    return answer.rcode, answer.records


def _leads_on(records: tuple[tuple[str, int, int, str], ...]) -> bool:
    """Return whether each alias leads to the owner of the record behind it."""
    chain = [record for record in records if record[1] != 39]
    return all(before[3].lower() == after[0] for before, after in pairwise(chain) if before[1] == 5)
