"""A few rounds of the drills, so that they stay in working order (`make chaos` runs them all), and a restart by
systemd.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import dnslib
from chaos.household import Household
from chaos.run import run
from small_internet import SmallInternet
from small_internet.family import TABLET

PATIENCE = 60.0


def test_queries_and_connections_wait_while_systemd_restarts_the_service(
    internet: SmallInternet, tmp_path: Path
) -> None:
    """They wait in the listening sockets that systemd keeps, for as long as the start takes."""
    folder = tmp_path / "house"
    folder.mkdir()
    with contextlib.ExitStack() as stack, Household.running(internet, folder) as house:
        house.stop(keeps_sockets=True)
        askers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(100)]
        for number, asker in enumerate(askers):
            asker.settimeout(PATIENCE)
            asker.bind((TABLET, 0))
            query = dnslib.DNSRecord(dnslib.DNSHeader(id=number, rd=1), q=dnslib.DNSQuestion("bank.example"))
            asker.sendto(query.pack(), house.places["dns"])
        browser = stack.enter_context(socket.create_connection(house.places["proxy"], PATIENCE, (TABLET, 0)))
        browser.sendall(b"GET http://news.example/ HTTP/1.1\r\nHost: news.example\r\n\r\n")
        probe = stack.enter_context(socket.create_connection(house.places["web"], PATIENCE))
        probe.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        house.start(with_sockets=True)
        answers = [dnslib.DNSRecord.parse(asker.recv(4096)) for asker in askers]
        assert [answer.header.id for answer in answers] == list(range(100))
        assert {str(answer.a.rdata) for answer in answers} == {internet.address_of("bank.example")}
        assert browser.recv(4096).startswith(b"HTTP/1.1 403 ")
        assert probe.recv(4096).startswith(b"HTTP/1.1 ")
        assert house.problems == []


def test_damage_loses_no_rule_and_no_pause() -> None:
    tallies = run(rounds=2, seed=0, only="damaged")
    assert sum(tally.rounds for tally in tallies.values()) == 2
    assert [problem for tally in tallies.values() for problem in tally.problems] == []
    assert all(tally.dns.asked and not tally.dns.wrong and not tally.pages.wrong for tally in tallies.values())
