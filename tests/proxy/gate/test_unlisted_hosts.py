"""The look at an unlisted host's server, by real handshakes: what is closed for a child, what stays open, and that it
is done once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.clients import HttpAnswer, curl
from small_internet.whole import SmallInternet

from hedgerow.policies.model import DeviceId, Reason
from hedgerow.policies.unlisted import UNTRUSTED_CERTIFICATE, CertificateFlaw
from hedgerow.proxy.certificate_examiner import CertificateExaminer

from ..conftest import ADULT, CHILD, LISTS

STRANGER = "127.0.0.44"
AT_HOME = "chat.example"


@pytest.fixture(scope="module")
def examining(net: SmallInternet, policy: str) -> Iterator[Stand]:
    with proxy_stand(
        net, policy, {**LISTS, "dynamic-dns": f"{AT_HOME}\n", "bypass": "vpn.example\n"}, examines=True
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(examining: Stand, net: SmallInternet) -> None:
    examining.reported()
    net.origins.forget_connections()


def fetch(stand: Stand, net: SmallInternet, host: str, source: str = CHILD) -> HttpAnswer:
    """As a client that takes any certificate."""
    return curl(net.url(host, "/open"), proxy=stand.proxy, source=source, insecure=True)


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ("self-signed.example", UNTRUSTED_CERTIFICATE),
        ("wrong-name.example", UNTRUSTED_CERTIFICATE),
        (AT_HOME, "dynamic-dns"),
    ],
)
def test_a_server_that_proves_nothing_is_closed_with_a_reason(
    examining: Stand, net: SmallInternet, host: str, what: str
) -> None:
    answer = fetch(examining, net, host)
    assert (answer.status, answer.connect_status) == (0, 200)
    assert not [
        each for connection in net.origins.connections() for each in connection.requests if each.method == "GET"
    ]
    told = examining.wait_for(
        lambda found: any(each.decision and each.decision.reason is Reason.RECOGNISED for each in found)
    )
    assert {each.decision.what for each in told if each.decision and each.decision.reason is Reason.RECOGNISED} == {
        what
    }


@pytest.mark.parametrize("host", ["news.example", "expired.example"])
def test_what_ordinary_sites_do_stays_open(examining: Stand, net: SmallInternet, host: str) -> None:
    """A certificate that was issued yesterday, or that somebody forgot to renew."""
    assert fetch(examining, net, host).status == 200


def test_adults_are_not_concerned(examining: Stand, net: SmallInternet) -> None:
    assert fetch(examining, net, "self-signed.example", ADULT).status == 200


def test_a_machine_without_a_name_is_looked_after_only_where_it_could_be_a_childs(
    examining: Stand, net: SmallInternet, policy: str
) -> None:
    """A lamp's maker has an authority of its own, and so has whoever runs a proxy for a phone with a new address."""
    assert fetch(examining, net, "self-signed.example", STRANGER).status == 0
    examining.swap(policy=policy.replace("    age: 9\n", "    age: 40\n"))
    try:
        assert fetch(examining, net, "self-signed.example", STRANGER).status == 200
    finally:
        examining.swap(policy=policy)


def test_the_policy_opens_a_site(examining: Stand, net: SmallInternet, policy: str) -> None:
    examining.swap(policy=policy.replace("    age: 9\n", "    age: 9\n    allow: [self-signed.example]\n"))
    try:
        assert fetch(examining, net, "self-signed.example").status == 200
    finally:
        examining.swap(policy=policy)


def test_a_host_is_looked_at_once(examining: Stand, net: SmallInternet) -> None:
    host = "files.example"
    for _ in range(3):
        fetch(examining, net, host)
    assert len(net.origins.connections()) == 4


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", CertificateFlaw.PROXY),
        (b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", CertificateFlaw.FRESH),
        (PAGE, CertificateFlaw.FRESH),
        (b"HTTP/1.1 200 Connection established\r\n\r\n", CertificateFlaw.PROXY),
    ],
)
def test_a_proxy_behind_tls_is_told_from_a_site(net: SmallInternet, said: bytes, expected: CertificateFlaw) -> None:
    """With a password or without one. A server that answers any method with a page is a site."""
    leaf = net.authority.leaf("proxy.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # of an examiner that has left
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, OSError):
            asked = await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            if b"established" in said:
                there = asked.split()[1].decode().rpartition(":")[2]
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(there))
                await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
            await writer.drain()

    async def look() -> list[CertificateFlaw]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            examiner = CertificateExaminer(net.authority.root, also_private=True)
            looks = (
                examiner.examine(DeviceId("tablet"), host, ["127.0.0.1"], port)
                for host in ("proxy.example", "other.example")
            )
            return list(await asyncio.gather(*looks))

    assert asyncio.run(look()) == [expected, CertificateFlaw.OTHER_NAME]


def test_machines_of_the_house_are_not_looked_at(net: SmallInternet) -> None:
    """At home a printer's page has a certificate that it signed itself; `network.reachable` opens it."""
    host = "self-signed.example"
    net.origins.forget_connections()
    looked = CertificateExaminer().examine(DeviceId("tablet"), host, [net.address_of(host)], net.origins.https_port)
    assert asyncio.run(looked) is CertificateFlaw.NONE
    assert net.origins.connections() == []


def test_a_server_that_does_not_answer_is_no_finding() -> None:
    async def look() -> CertificateFlaw:
        return await CertificateExaminer(also_private=True).examine(
            DeviceId("tablet"), "gone.example", ["127.0.0.1"], 1
        )

    assert asyncio.run(look()) is CertificateFlaw.NONE
