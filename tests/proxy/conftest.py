"""A small internet and a stand for the tests of the proxy: a child with a trusted CA, a child without, and an adult."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from proxy_stand import Stand, proxy_stand
from shared_servers import shared_servers
from small_internet.running import network_section
from small_internet.whole import SmallInternet, small_internet

CHILD_WITH_CA = "127.0.0.11"
CHILD = "127.0.0.12"
ADULT = "127.0.0.13"

ONLY_WITH_RULES = "profiles: {child-8-12: {page_scan: {everywhere: false}}}\n"
"""Most tests compare hosts with rules about pages, which are inspected, with others.

By default all are, for a child of this age.
"""

PEOPLE = f"""
  country: GB
{ONLY_WITH_RULES}corrections: {{adult: [forum.example]}}
people:
  mia:
    age: 9
    devices: [mia-tablet, mia-phone]
    block: ["www.school.example/secret", "h2.example/secret", "chat.example/websocket/forbidden", "mixed.test/secret",
            "films.example/secret"]
  ana: {{profile: adult, devices: [ana-laptop]}}
devices:
  mia-tablet: {{ip: 127.0.0.11, trusts_ca: true}}
  mia-phone: {{ip: 127.0.0.12}}
  ana-laptop: {{ip: 127.0.0.13}}
"""
LISTS = {"adult": "adult.example\n", "gambling": "||gambling.example^\n@@||gambling.example/help^\n"}


@pytest.fixture(scope="session")
def net() -> Iterator[SmallInternet]:
    with small_internet() as running:
        yield running


@pytest.fixture(scope="session")
def policy(net: SmallInternet) -> str:
    return network_section(net) + PEOPLE.removeprefix("\n")


@pytest.fixture(scope="module")
def _stand(net: SmallInternet, policy: str) -> Stand:
    return shared_servers.running("_stand", proxy_stand(net, policy, LISTS))


@pytest.fixture
def stand(_stand: Stand, net: SmallInternet) -> Stand:
    _stand.reported()
    net.origins.forget_connections()
    return _stand
