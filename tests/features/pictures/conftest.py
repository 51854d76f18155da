"""A stand for the tests of pictures: a child whose tablet trusts the CA, and an adult."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet import SmallInternet
from small_internet.running import network_section

PEOPLE = """
  country: GB
profiles: {child-8-12: {page_scan: {everywhere: false}}}
people:
  mia:
    age: 9
    devices: [mia-tablet]
  ana: {profile: adult, devices: [ana-laptop]}
devices:
  mia-tablet: {ip: 127.0.0.11, trusts_ca: true}
  ana-laptop: {ip: 127.0.0.13}
"""


@pytest.fixture(scope="session")
def net(whole_internet: SmallInternet) -> SmallInternet:
    return whole_internet


@pytest.fixture(scope="session")
def policy(net: SmallInternet) -> str:
    return network_section(net) + PEOPLE.removeprefix("\n")


@pytest.fixture(scope="module")
def stand(net: SmallInternet, policy: str) -> Iterator[Stand]:
    with proxy_stand(net, policy, {"adult": "adult.example\n"}) as running:
        yield running
