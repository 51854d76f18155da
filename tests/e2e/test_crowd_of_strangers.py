"""Strangers with many addresses: they take every place that is free, and none from a device that the policy names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from silent_clients import silent_clients
from small_internet import SmallInternet
from small_internet.clients import Address, kdig
from small_internet.family import LISTS, OWN_LISTS, PEOPLE, TABLET
from small_internet.running import Hedgerow, network_section, parse_address, running_hedgerow

NAME = "dns.home.example"
OTHER = "127.0.0.50"
"""A device without a name that does nothing wrong."""


@pytest.fixture(scope="module")
def home(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = (
        network_section(whole_internet, lan=("127.0.0.0/24", "::1/128"))
        + f"  server_name: {NAME}\n"
        + PEOPLE
        + OWN_LISTS
    )
    transports = [word for name in ("dot", "doh") for word in (f"--{name}", "127.0.0.1:0")]
    with running_hedgerow(
        policy, lists=LISTS, options=transports, upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


def place(running: Hedgerow, kind: str) -> Address:
    found = re.search(rf" {kind}=(\S+)", running.ready_line)
    assert found
    return parse_address(found[1])


@pytest.mark.parametrize("addresses", [8, 64])
@pytest.mark.parametrize("source", [TABLET, OTHER])
def test_a_phone_with_private_dns_stays_online(
    home: Hedgerow, whole_internet: SmallInternet, addresses: int, source: str
) -> None:
    """Sixteen connections of each stranger say nothing; the phone connects anew for each question, as with strict
    Private DNS.
    """
    strangers = [f"127.0.0.{number}" for number in range(100, 100 + addresses)]
    dot, doh = place(home, "dot"), place(home, "doh")
    options = ("+tls", f"+tls-ca={home.authority}", f"+tls-hostname={NAME}", f"+tls-sni={NAME}")
    with silent_clients(dot, strangers, 16), silent_clients(doh, strangers, 16):
        for _ in range(12):
            answer = kdig(dot, "bank.example", source=source, options=options)
            assert answer is not None, home.stderr
            assert answer.data("A") == [whole_internet.address_of("bank.example")]
            asked = subprocess.run(
                [
                    "curl",
                    "--silent",
                    "--show-error",
                    "--interface",
                    source,
                    "--cacert",
                    home.authority,
                    "--resolve",
                    f"{NAME}:{doh[1]}:{doh[0]}",
                    "--doh-url",
                    f"https://{NAME}:{doh[1]}/dns-query",
                    "--doh-insecure",
                    "--max-time",
                    "15",
                    "--output",
                    "/dev/null",
                    "--write-out",
                    "%{http_code}",
                    whole_internet.url("bank.example", "/", "http"),
                ],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                env={"PATH": "/usr/bin:/bin"},
            )
            assert asked.stdout == "200", (asked.stderr, home.stderr)


def test_plain_dns_over_tcp_is_answered(home: Hedgerow, whole_internet: SmallInternet) -> None:
    strangers = [f"127.0.0.{number}" for number in range(100, 164)]
    with silent_clients(home.dns, strangers, 16):
        for source in (TABLET, OTHER) * 6:
            answer = kdig(home.dns, "bank.example", source=source, tcp=True)
            assert answer is not None, home.stderr
            assert answer.data("A") == [whole_internet.address_of("bank.example")]
