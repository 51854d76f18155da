"""Keys for Encrypted Client Hello in a signed zone, as stub resolvers and a validating resolver behind Hedgerow see
them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from dns_conformance.servers import ds_records, knot, unbound
from small_internet import SmallInternet
from small_internet.clients import DnsAnswer, kdig
from small_internet.family import TABLET
from small_internet.running import Hedgerow, network_section, running_hedgerow

pytestmark = pytest.mark.skipif(
    not (shutil.which("knotd") and shutil.which("unbound")), reason="Knot DNS or Unbound is not installed"
)

PARENT = "127.0.0.9"
ZONE = "signed.example"
RECORDS = 'www A 192.0.2.10\nwww HTTPS 1 . alpn=h2 ech="AEX+DQBBAAAA"\nplain HTTPS 1 . alpn=h2\n'
PEOPLE = f"""
people:
  mia: {{age: 9, devices: [tablet]}}
  ana: {{profile: open, devices: [phone]}}
devices: {{tablet: {{ip: {TABLET}}}, phone: {{ip: {PARENT}}}}}
profiles: {{open: {{extends: adult, allow: [malware, phishing, crypto-mining]}}}}
"""


@dataclass(frozen=True, slots=True)
class Stand:
    running: Hedgerow
    anchors: str

    def ask(self, source: str, name: str = "www", *options: str) -> DnsAnswer:
        found = kdig(self.running.dns, f"{name}.{ZONE}", "HTTPS", source=source, options=options)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def stand(whole_internet: SmallInternet) -> Iterator[Stand]:
    with knot({ZONE: RECORDS}, (ZONE,)) as (port, folder):
        policy = (
            network_section(whole_internet)
            + f'  unknown_devices: open\n  forward: {{{ZONE}: "127.0.0.1:{port}"}}\n'
            + PEOPLE
        )
        anchors = ds_records(folder, ZONE)
        with running_hedgerow(policy) as running:
            yield Stand(running, anchors)


def test_a_filtered_device_gets_the_record_without_keys(stand: Stand) -> None:
    (record,) = stand.ask(TABLET).data("HTTPS")
    assert record == '1 . alpn="h2"'


def test_a_filtered_device_that_asks_for_signatures_gets_no_record(stand: Stand) -> None:
    for _ in range(2):  # found, and then remembered
        found = stand.ask(TABLET, "www", "+dnssec")
        assert (found.status, found.data("HTTPS"), found.data("RRSIG"), found.ede) == ("NOERROR", [], [], 17)
    signed = stand.ask(TABLET, "plain", "+dnssec")
    assert (signed.data("HTTPS"), len(signed.data("RRSIG"))) == (['1 . alpn="h2"'], 1), (
        "a record without keys is left as it is"
    )


def test_a_device_without_filter_gets_all_of_it(stand: Stand) -> None:
    found = stand.ask(PARENT, "www", "+dnssec")
    (record,) = found.data("HTTPS")
    assert "ech=" in record
    assert len(found.data("RRSIG")) == 1


def test_a_validating_resolver_behind_takes_the_keys_of_an_unfiltered_device_only(
    stand: Stand, whole_internet: SmallInternet
) -> None:
    """It asks from 127.0.0.1, which nothing filters here: the record is whole, and proves to be authentic."""
    with unbound(whole_internet, stand.running.dns[1], anchors=stand.anchors) as resolver:
        found = kdig(("127.0.0.1", resolver.ports["udp"]), f"www.{ZONE}", "HTTPS", options=("+dnssec",))
        assert found is not None
        assert found.status == "NOERROR"
        assert "ech=" in found.data("HTTPS")[0]
        assert "ad" in found.flags
