"""Strangers with many addresses at the proxy: a child's pages load all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from silent_clients import silent_clients
from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import LAPTOP, LISTS, family_policy
from small_internet.running import Hedgerow, running_hedgerow

OTHER = "127.0.0.50"
"""A device without a name that does nothing wrong."""


@pytest.fixture(scope="module")
def home(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(
        family_policy(whole_internet), lists=LISTS, upstream_authority=whole_internet.authority.root
    ) as running:
        yield running


@pytest.mark.parametrize("shape", ["half a head", "half a body", "silent", "a tunnel"])
def test_a_childs_pages_load(home: Hedgerow, whole_internet: SmallInternet, shape: str) -> None:
    """Thirty strangers have four hundred connections each: more than a gate has places."""
    authority = f"www.school.example:{whole_internet.origins.http_port}"
    secure = f"bank.example:{whole_internet.origins.https_port}"
    first = {
        "half a head": f"GET http://{authority}/ HTTP/1.1\r\nHost: ww",
        "half a body": f"POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 100000\r\n\r\nabc",
        "silent": "",
        "a tunnel": f"CONNECT {secure} HTTP/1.1\r\nHost: {secure}\r\n\r\n",
    }[shape]
    strangers = [f"127.0.0.{number}" for number in range(100, 130)]
    with silent_clients(home.proxy, strangers, 400, first.encode()):
        for _ in range(60):
            page = curl(whole_internet.url("www.school.example", "/", "http"), proxy=home.proxy, source=LAPTOP)
            assert page.status == 200, (page, home.stderr[-3000:])
        other = curl(whole_internet.url("www.school.example", "/", "http"), proxy=home.proxy, source=OTHER)
        assert other.status == 200, "a device without a name is served too: it has fewer connections than the others"
