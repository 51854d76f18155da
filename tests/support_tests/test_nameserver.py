"""The test nameserver, asked by kdig and dnsperf."""

from __future__ import annotations

import socket
import time

import dnslib
import pytest
from small_internet import Fault, SmallInternet
from small_internet.clients import DnsAnswer, kdig, start_dnsperf
from small_internet.records import parse_zone


def ask(net: SmallInternet, name: str, kind: str = "A", **options: object) -> DnsAnswer | None:
    return kdig((net.nameserver.host, net.nameserver.port), name, kind, timeout=1, **options)  # type: ignore[arg-type]


def answered(net: SmallInternet, name: str, kind: str = "A", **options: object) -> DnsAnswer:
    answer = ask(net, name, kind, **options)
    assert answer is not None
    return answer


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_transports_and_families_answer(internet: SmallInternet, host: str, tcp: bool) -> None:
    answer = kdig((host, internet.nameserver.port), "www.google.com", tcp=tcp)
    assert answer is not None
    assert answer.data("A") == [internet.address_of("www.google.com")]
    assert internet.nameserver.queries("www.google.com", "A", "tcp" if tcp else "udp") == 1
    assert internet.nameserver.queries() == 1


def test_https_records_carry_ech_and_hints(internet: SmallInternet) -> None:
    (record,) = answered(internet, "www.google.com", "HTTPS").data("HTTPS")
    assert "ech=" in record
    assert f"ipv4hint={internet.address_of('www.google.com')}" in record


def test_a_large_answer_is_truncated_over_udp_and_whole_over_tcp(internet: SmallInternet) -> None:
    short = answered(internet, "big-text.oddities.example", "TXT", options=["+ignore"])
    assert "tc" in short.flags
    assert not short.records
    whole = answered(internet, "big-text.oddities.example", "TXT")
    assert len(whole.data("TXT")[0].replace('" "', "")) == 3002


def test_negative_answers_carry_the_soa(internet: SmallInternet) -> None:
    for name, status in (("missing.news.example", "NXDOMAIN"), ("no-address.oddities.example", "NOERROR")):
        answer = answered(internet, name)
        assert answer.status == status
        assert not answer.records
        assert [record[2] for record in answer.authority] == ["SOA"]


def test_faults_last_as_long_as_they_are_switched_on(internet: SmallInternet) -> None:
    with internet.nameserver.misbehaving(Fault.SERVFAIL, "news.example"):
        assert answered(internet, "news.example").status == "SERVFAIL"
        assert answered(internet, "games.example").status == "NOERROR"
    assert answered(internet, "news.example").status == "NOERROR"


@pytest.mark.parametrize("fault", [Fault.DEAD, Fault.WRONG_ID])
def test_what_kdig_does_not_accept_is_no_answer(internet: SmallInternet, fault: Fault) -> None:
    with internet.nameserver.misbehaving(fault):
        assert ask(internet, "news.example") is None


def test_wrong_answers_are_wrong_in_the_way_they_say(internet: SmallInternet) -> None:
    with internet.nameserver.misbehaving(Fault.WRONG_QUESTION):
        assert answered(internet, "news.example").records[0][0] == "not-asked.example"
    with internet.nameserver.misbehaving(Fault.EXTRA_RECORDS):
        answer = answered(internet, "news.example")
        assert [record[0] for record in answer.records + answer.additional] == [
            "news.example",
            "stray.example",
            "stray.example",
        ]
    with internet.nameserver.misbehaving(Fault.TRUNCATING):
        assert "tc" in answered(internet, "news.example", options=["+ignore"]).flags
        assert answered(internet, "news.example", tcp=True).data("A")
    with internet.nameserver.misbehaving(Fault.SLOW, delay=0.3):
        begun = time.monotonic()
        assert answered(internet, "news.example").data("A")
        assert time.monotonic() - begun >= 0.3


def test_a_spoofed_answer_comes_first_and_the_right_one_follows(internet: SmallInternet) -> None:
    query = dnslib.DNSRecord.question("news.example").pack()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        with internet.nameserver.misbehaving(Fault.WRONG_ID, then_right=True):
            sock.sendto(query, (internet.nameserver.host, internet.nameserver.port))
            ids = [sock.recv(512)[:2] == query[:2] for _ in range(2)]
    assert ids == [False, True]


def test_what_is_no_query_gets_no_answer(internet: SmallInternet) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        for wire in (b"", b"\0" * 11, b"\xff" * 40, dnslib.DNSRecord.question("news.example").reply().pack()):
            sock.sendto(wire, (internet.nameserver.host, internet.nameserver.port))
        with pytest.raises(TimeoutError):
            sock.recv(512)
    assert answered(internet, "news.example").data("A")


def test_a_zone_can_change_while_it_runs(internet: SmallInternet) -> None:
    internet.nameserver.add_zone(parse_zone("moving.example", "@ 1 A 127.0.1.7"))
    assert answered(internet, "moving.example").data("A") == ["127.0.1.7"]
    internet.nameserver.add_zone(parse_zone("moving.example", "@ 1 A 127.0.1.8"))
    assert answered(internet, "moving.example").data("A") == ["127.0.1.8"]


def test_load_is_answered_without_loss(internet: SmallInternet) -> None:
    questions = [f"name-{number}.wild.example A" for number in range(200)]
    server = (internet.nameserver.host, internet.nameserver.port)
    result = start_dnsperf(server, questions, seconds=0.5, rate=4000).result()
    assert result.lost == 0
    assert result.codes == {"NOERROR": result.sent}
    assert internet.nameserver.queries() == result.sent
