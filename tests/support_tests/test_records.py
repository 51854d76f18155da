"""How the test zones answer."""

from __future__ import annotations

import dnslib
import pytest
from small_internet.records import look_up, parse_zone
from small_internet.zones import HOSTS, build_zones

ZONES = build_zones("127.0.1")


def rdata(name: str, kind: str) -> list[str]:
    outcome = look_up(ZONES, name, getattr(dnslib.QTYPE, kind))
    return [dnslib.RCODE.get(outcome.rcode), *(str(record.rdata) for record in outcome.answers)]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("news.example", "A", ["NOERROR", "127.0.1.15"]),
        ("chain.oddities.example", "A", ["NOERROR", "alias.oddities.example.", "www.school.example.", "127.0.1.10"]),
        ("broken-chain.oddities.example", "A", ["NXDOMAIN", "nowhere.oddities.example."]),
        ("no-address.oddities.example", "A", ["NOERROR"]),
        ("empty.non-terminal.oddities.example", "A", ["NOERROR"]),
        ("a.b.wild.example", "A", ["NOERROR", "127.0.1.99"]),
        ("nothing.example", "A", ["NXDOMAIN"]),
        ("anything.at.all", "TXT", ["NXDOMAIN"]),
        ("oddities.example", "MX", ["NOERROR", "10 mail.school.oddities.example."]),
    ],
)
def test_a_question_is_answered_as_its_zone_says(name: str, kind: str, expected: list[str]) -> None:
    assert rdata(name, kind) == expected


def test_a_loop_of_aliases_ends_in_servfail() -> None:
    assert rdata("loop-a.oddities.example", "A")[0] == "SERVFAIL"


def test_every_host_has_all_three_types_that_a_filter_must_not_forget() -> None:
    for host in HOSTS:
        for kind in ("A", "AAAA", "HTTPS"):
            assert len(rdata(host, kind)) == 2, (host, kind)


def test_a_name_outside_all_zones_is_refused() -> None:
    assert (
        look_up([parse_zone("a.example", "@ A 127.0.0.1")], "b.example", dnslib.QTYPE.A).rcode == dnslib.RCODE.REFUSED
    )


def test_a_wrong_line_is_named() -> None:
    with pytest.raises(ValueError, match=r"zone a\.example, line 2"):
        parse_zone("a.example", "@ A 127.0.0.1\nwww A not-an-address")
