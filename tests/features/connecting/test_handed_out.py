"""The question to the router, and what is made of its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.app.doctor.findings import Health
from hedgerow.features.connecting.checks import router_finding
from hedgerow.features.connecting.handed_out import HandedOut, RouterWatch, inform, parse_dns_servers

OWN = ("127.0.0.1", "192.168.1.2")


def answer(*options: bytes, transaction: int = 7) -> bytes:
    """Return a DHCPACK with options."""
    asked = inform("192.168.1.2", transaction)
    return b"\x02" + asked[1:240] + b"\x35\x01\x05" + b"".join(options) + b"\xff"


def test_the_servers_of_an_answer_are_read() -> None:
    dns = b"\x06\x08\xc0\xa8\x01\x02\x09\x09\x09\x09"
    assert parse_dns_servers(answer(b"\x00\x00", dns), 7) == ("192.168.1.2", "9.9.9.9")
    assert parse_dns_servers(answer(), 7) == ()
    assert parse_dns_servers(answer(dns), 8) is None, "it answers another question"
    assert parse_dns_servers(inform("192.168.1.2", 7), 7) is None, "it is a question"
    assert parse_dns_servers(answer(b"\x06\x03\xc0\xa8\x01"), 7) == ()


@given(st.binary(max_size=400))
def test_no_packet_is_too_odd(packet: bytes) -> None:
    parse_dns_servers(packet, 7)
    parse_dns_servers(answer(packet), 7)


@pytest.mark.parametrize(
    ("servers", "health", "found"),
    [
        (["192.168.1.2"], Health.GOOD, "192.168.1.1 hands out this machine as the only DNS server"),
        (["192.168.1.2", "192.168.1.2"], Health.GOOD, "192.168.1.1 hands out this machine as the only DNS server"),
        (["192.168.1.1"], Health.UNSURE, "192.168.1.1 hands out 192.168.1.1 for DNS"),
        (["192.168.1.2", "9.9.9.9"], Health.UNSURE, "192.168.1.1 also hands out 9.9.9.9 for DNS"),
        ([], Health.UNSURE, "192.168.1.1 hands out no DNS server"),
    ],
)
def test_a_second_server_is_reported(servers: list[str], health: Health, found: str) -> None:
    finding = router_finding("192.168.1.1", servers, OWN)
    assert finding.health is health
    assert finding.found.partition(":")[0] == found


def test_the_router_is_asked_once_a_minute_and_this_machine_is_no_other_server() -> None:
    asked: list[float] = []
    now = [1000.0]

    def ask() -> HandedOut | None:
        asked.append(now[0])
        if len(asked) == 3:
            raise PermissionError
        return "192.168.1.1", ("127.0.0.1",) if len(asked) == 2 else ("127.0.0.1", "9.9.9.9")

    watch = RouterWatch(ask, lambda: now[0])
    assert watch.others() == watch.others() == ("192.168.1.1", ("9.9.9.9",))
    for can_ask in (True, False):
        now[0] += 61
        assert watch.others() is None
        assert watch.can_ask is can_ask
    assert len(asked) == 3
