"""Processes that hang: each is noticed and replaced, and systemd is told the truth."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest
from service_manager import ServiceManager, service_manager
from small_internet import SmallInternet
from small_internet.clients import curl, kdig
from small_internet.family import COMPUTER, LISTS, TABLET, family_policy
from small_internet.running import ROLES, Hedgerow, command_of, running_hedgerow, wait_until

PATIENCE = 60.0


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceManager]:
    with service_manager(tmp_path_factory.mktemp("systemd") / "notify") as listener:
        yield listener


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet, systemd: ServiceManager) -> Iterator[Hedgerow]:
    environment = os.environ | systemd.environment
    with running_hedgerow(
        family_policy(whole_internet),
        lists=LISTS,
        upstream_authority=whole_internet.authority.root,
        environment=environment,
    ) as running:
        yield running


def test_systemd_gets_ready_and_watchdog_messages(house: Hedgerow, systemd: ServiceManager) -> None:
    assert house.ready_line
    wait_until(
        lambda: systemd.heard.count(b"READY=1") == 1 and systemd.heard[-2:] == [b"WATCHDOG=1"] * 2,
        PATIENCE,
        "it is told",
    )
    assert set(systemd.heard) == {b"WATCHDOG=1", b"READY=1"}


def answers_names(house: Hedgerow, _internet: SmallInternet) -> bool:
    return kdig(house.dns, "bank.example", source=TABLET, timeout=1) is not None


def opens_sites(house: Hedgerow, internet: SmallInternet, timeout: float = 2) -> bool:
    return (
        curl(
            internet.url("bank.example", "/open"), proxy=house.proxy, source=TABLET, insecure=True, timeout=timeout
        ).status
        == 200
    )


def inspects(house: Hedgerow, internet: SmallInternet, timeout: float = 2) -> bool:
    url = internet.url("www.school.example", "/secret/x")
    return curl(url, proxy=house.proxy, source=COMPUTER, ca=house.authority, timeout=timeout).status == 403


def is_healthy(house: Hedgerow, _internet: SmallInternet | None = None, timeout: float = 2) -> bool:
    return health(house, timeout) == 200


def answers_health_checks(house: Hedgerow, _internet: SmallInternet, timeout: float = 2) -> bool:
    """At first, control says that it is still starting itself."""
    return health(house, timeout) in (200, 503)


def health(house: Hedgerow, timeout: float = 2, path: str = "/healthz") -> int:
    return curl(house.web + path, timeout=timeout).status


def is_ready(house: Hedgerow) -> bool:
    return health(house, path="/readyz") == 200


@pytest.mark.parametrize(
    ("role", "serves"),
    [("dns", answers_names), ("gate", opens_sites), ("inspector", inspects), ("control", is_healthy)],
)
def test_a_stopped_process_is_replaced(house: Hedgerow, internet: SmallInternet, role: str, serves: object) -> None:
    assert callable(serves)
    wait_until(lambda: serves(house, internet), PATIENCE, "it serves before")
    wait_until(lambda: is_healthy(house) and is_ready(house), PATIENCE, "all is well before")
    (stopped,) = house.pids(role)
    os.kill(stopped, signal.SIGSTOP)
    if role != "control":
        wait_until(lambda: health(house) == health(house, path="/readyz") == 503, PATIENCE, "the health checks say so")
    wait_until(lambda: not Path(f"/proc/{stopped}").exists(), PATIENCE, "it is killed")
    wait_until(lambda: serves(house, internet), PATIENCE, "another serves")
    assert f"(process {stopped}) has not answered" in house.stderr
    wait_until(lambda: is_healthy(house) and is_ready(house), PATIENCE, "all is well again")
    counted = f'hedgerow_worker_restarts_total{{role="{role}"}} 1.0'
    wait_until(lambda: counted in curl(f"{house.web}/metrics").text, PATIENCE, "it is counted")
    assert house.pids(role) != [stopped]


def zygote_of(house: Hedgerow, before: int) -> int:
    """Wait for another zygote than the one before, and return it."""

    def find() -> int:
        found = house.pids("zygote")  # a child that is being forked looks like it
        return found[0] if len(found) == 1 and found != [before] else 0

    return wait_until(find, PATIENCE, "there is another zygote")


def restart_dns(house: Hedgerow, internet: SmallInternet, number: int) -> None:
    """End the resolver by a signal, and wait for one that the zygote has forked."""
    (ended,) = house.pids("dns")
    os.kill(ended, number)
    wait_until(
        lambda: house.pids("dns") not in ([], [ended]) and answers_names(house, internet), PATIENCE, "another serves"
    )
    (pid,) = house.pids("dns")
    assert "hedgerow.app.processes" not in command_of(pid), "it is forked"


def test_a_command_does_not_wait_until_a_process_that_hangs_is_replaced(house: Hedgerow) -> None:
    wait_until(lambda: is_healthy(house), PATIENCE, "all is well before")
    (control,) = house.pids("control")
    os.kill(control, signal.SIGSTOP)
    try:
        done = house.run("grant", "mia-tablet", "social")
    finally:
        os.kill(control, signal.SIGCONT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "its process control has done nothing for 2 seconds" in done.stderr
    assert "social" in house.run("grant", "mia-tablet", "social").stdout, "and answers again"


def test_a_zygote_that_is_killed_or_stopped_is_replaced_and_nobody_notices(
    house: Hedgerow, internet: SmallInternet
) -> None:
    wait_until(lambda: is_healthy(house), PATIENCE, "all is well before")
    others = [pid for role in ROLES for pid in house.pids(role)]
    (zygote,) = house.pids("zygote")
    for number in (signal.SIGSTOP, signal.SIGKILL):
        os.kill(zygote, number)
        zygote = zygote_of(house, zygote)
        assert [pid for role in ROLES for pid in house.pids(role)] == others
        assert is_healthy(house)
    restart_dns(house, internet, signal.SIGKILL)
    assert house.pids("zygote") == [zygote]


def test_after_a_crash_the_next_process_has_its_code_elsewhere(house: Hedgerow, internet: SmallInternet) -> None:
    """An attacker could otherwise try out addresses, one crash each."""
    (zygote,) = house.pids("zygote")
    restart_dns(house, internet, signal.SIGSEGV)
    zygote_of(house, zygote)


def test_what_arrives_between_two_processes_is_answered_by_the_second(house: Hedgerow, internet: SmallInternet) -> None:
    """The listening sockets outlive each process, so nothing is refused or lost, however many ask."""
    wait_until(lambda: is_healthy(house), PATIENCE, "all is well before")
    killed = {role: house.pids(role) for role in ("dns", "gate", "inspector", "control")}
    for pid in killed["dns"]:
        os.kill(pid, signal.SIGKILL)
    askers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
    for number, asker in enumerate(askers):
        asker.settimeout(PATIENCE)
        asker.bind((TABLET, 0))
        asker.sendto(
            dnslib.DNSRecord(dnslib.DNSHeader(id=number, rd=1), q=dnslib.DNSQuestion("bank.example")).pack(), house.dns
        )
    answers = [dnslib.DNSRecord.parse(asker.recv(4096)) for asker in askers]
    assert [answer.header.id for answer in answers] == list(range(100))
    assert {str(answer.a.rdata) for answer in answers} == {internet.address_of("bank.example")}
    for asker in askers:
        asker.close()
    for role, serves in (("gate", opens_sites), ("inspector", inspects), ("control", answers_health_checks)):
        for pid in killed[role]:
            os.kill(pid, signal.SIGKILL)
        assert serves(house, internet, 20), f"the next {role} serves who came before it"
    assert all(house.pids(role) != pids for role, pids in killed.items())


def test_processes_stopped_together_with_the_supervisor_survive(house: Hedgerow, internet: SmallInternet) -> None:
    """As on a machine that slept, or was paused by its host, for longer than any process may be silent."""
    family = house.all_pids()
    before = house.stderr.count("has not answered")
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    assert kdig(house.dns, "bank.example", source=TABLET, timeout=5) is None, "nobody is awake"
    for pid in family:  # the supervisor first
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: answers_names(house, internet) and is_healthy(house), PATIENCE, "all go on")
    assert house.stderr.count("has not answered") == before
    assert house.all_pids() == family
