"""Children under 13 on devices that trust our certificate: what is not exempt is inspected without a rule for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from proxy_stand import Stand
from small_internet.clients import HttpAnswer, curl
from small_internet.whole import SmallInternet

from .conftest import ADULT, CHILD, CHILD_WITH_CA, ONLY_WITH_RULES

FRONT = "news.example"


def fronted(stand: Stand, net: SmallInternet, source: str, *options: str) -> HttpAnswer:
    """Ask for a blocked site inside a connection to an open one."""
    ca = stand.ca if source == CHILD_WITH_CA else net.authority.root
    headers = ("Host: adult.example", "Accept: text/html")
    return curl(net.url(FRONT, "/"), proxy=stand.proxy, source=source, ca=ca, headers=headers, options=options)


@pytest.fixture(params=["--http1.1", "--http2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def defaults(stand: Stand, policy: str) -> Iterator[Stand]:
    stand.swap(policy=policy.replace(ONLY_WITH_RULES, ""))
    yield stand
    stand.swap(policy=policy)


def test_another_host_inside_a_connection_is_judged(defaults: Stand, net: SmallInternet, version: str) -> None:
    assert "on a list of sites about" in fronted(defaults, net, CHILD_WITH_CA, version).text
    assert not any(each.requests for each in net.origins.connections())


def test_it_is_not_where_nothing_is_inspected(defaults: Stand, net: SmallInternet, version: str) -> None:
    """The gap that docs/ways-round.md names: a tunnel shows only its first name."""
    for source in (CHILD, ADULT):
        assert fronted(defaults, net, source, version).status == 200


def test_the_policy_can_limit_inspection_to_hosts_with_rules(stand: Stand, net: SmallInternet) -> None:
    answer = curl(net.url(FRONT, "/"), proxy=stand.proxy, source=CHILD_WITH_CA, ca=net.authority.root)
    assert (answer.status, "Small Internet" in answer.certificate) == (200, True)
