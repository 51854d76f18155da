"""Reports of the protections that a device uses, by the gate and the inspector."""

from __future__ import annotations

import contextlib
import socket
import ssl

from proxy_stand import Stand
from small_internet.clients import curl
from small_internet.running import wait_until
from small_internet.whole import SmallInternet

from hedgerow.policies.identity import Protection

CHILD_WITH_CA, CHILD = "127.0.0.11", "127.0.0.12"
INSPECTED = "www.school.example"


def test_a_device_that_accepts_the_certificate_uses_the_proxy_too(stand: Stand, net: SmallInternet) -> None:
    stand.protections()
    assert curl(net.url(INSPECTED, "/open"), proxy=stand.proxy, source=CHILD_WITH_CA, ca=stand.ca).status == 200
    seen: set[tuple[str, Protection]] = set()
    expected = {("mia-tablet", Protection.PROXY), ("mia-tablet", Protection.CERTIFICATE)}

    def is_reported() -> bool:
        seen.update(stand.protections())
        return seen == expected

    wait_until(is_reported, 30)
    assert (
        curl(net.url("www.wikipedia.org", "/open"), proxy=stand.proxy, source=CHILD, ca=net.authority.root).status
        == 200
    )
    assert stand.protections() == {("mia-phone", Protection.PROXY)}, "a tunnel says nothing about the certificate"


def test_a_device_without_the_certificate_is_reported_as_refusing_it(stand: Stand, net: SmallInternet) -> None:
    stand.protections()
    assert curl(net.url(INSPECTED, "/open"), proxy=stand.proxy, source=CHILD_WITH_CA, ca=net.authority.root).status == 0
    seen: set[tuple[str, Protection]] = set()

    def is_reported() -> bool:
        seen.update(stand.protections())
        return ("mia-tablet", Protection.REFUSED_CERTIFICATE) in seen

    wait_until(is_reported, 5)
    assert ("mia-tablet", Protection.CERTIFICATE) not in seen


def test_a_connection_that_asks_for_nothing_uses_nothing(stand: Stand) -> None:
    stand.protections()
    with socket.create_connection(stand.proxy, 5, source_address=(CHILD, 0)) as sock, contextlib.suppress(ssl.SSLError):
        sock.sendall(b"GET")
    assert stand.protections() == set()
