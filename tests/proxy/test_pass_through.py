"""A client that refuses our certificate: passed through to its host for a while, unless the policy forbids it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxy_stand import Stand
from proxy_stand.stand import PATIENCE
from small_internet.clients import HttpAnswer, curl
from small_internet.running import wait_until
from small_internet.whole import SmallInternet

from hedgerow.policies.content import CERTIFICATE_REFUSED, PASS_THROUGH, UNREAD_APP
from hedgerow.policies.model import DeviceId, Verdict
from hedgerow.proxy.inspection.connection import _EARLY_CLOSE_SECONDS
from hedgerow.proxy.pass_through import (
    PASS_THROUGH_SECONDS,
    CertificateRefusals,
    Outcome,
    PassThrough,
    is_certificate_alert,
)

CHILD_WITH_CA = "127.0.0.11"
INSPECTED = "www.wikipedia.org"
"""Inspected for the words of its pages alone; the child's policy blocks pages of the next two."""
WITH_BLOCKED_PAGES = "www.school.example"
ALSO_WITH_BLOCKED_PAGES = "h2.example"
MIA = DeviceId("pinned-tablet")
"""Mia's tablet under a name of this file: the inspector remembers for minutes what each device has refused."""
UNKNOWN = "files.example"
"""A host that is in no list."""


def fetch(stand: Stand, net: SmallInternet, host: str = INSPECTED, path: str = "/open") -> HttpAnswer:
    """As an app on the tablet that trusts the site's own CA only."""
    return curl(net.url(host, path), proxy=stand.proxy, source=CHILD_WITH_CA, ca=net.authority.root)


def scanned(policy: str, more: str = "") -> str:
    """The stand's policy with the tablet's name here, and with the pages of all hosts scanned for the child."""
    return policy.replace("mia-tablet", MIA).replace(
        "    age: 9\n", f"    age: 9\n    page_scan: {{everywhere: true}}\n{more}"
    )


@pytest.fixture
def forgetful(stand: Stand, policy: str) -> Iterator[Stand]:
    path = stand.world.state / "pass-through"
    path.unlink(missing_ok=True)
    stand.swap(policy=scanned(policy))
    stand.reported()
    yield stand
    stand.swap(policy=policy)
    path.unlink(missing_ok=True)


def test_a_pinned_app_gets_through_the_second_time(forgetful: Stand, net: SmallInternet) -> None:
    before = forgetful.counters().get(("hedgerow_proxy_passed_through_total",), 0)
    assert fetch(forgetful, net).status == 0
    reported = forgetful.wait_for(
        lambda found: any(each.decision and each.decision.what == PASS_THROUGH for each in found)
    )
    assert [(each.device, each.request.host) for each in reported if each.decision and each.request] == [
        (MIA, INSPECTED)
    ]
    assert forgetful.counters()["hedgerow_proxy_passed_through_total",] == before + 1
    answer = fetch(forgetful, net)
    assert (answer.status, "Small Internet" in answer.certificate) == (200, True)
    assert fetch(forgetful, net, "en.wikipedia.org").status == 0, "another host is another matter"


def test_a_site_of_which_nothing_is_known_passes_unread_once_somebody_agrees(
    forgetful: Stand, net: SmallInternet, policy: str
) -> None:
    """A child alone could set up its server and refuse the certificate too."""
    assert [fetch(forgetful, net, UNKNOWN).status for _ in range(4)] == [0] * 4
    told = forgetful.wait_for(lambda found: any(each.asked for each in found))
    asked = [each.asked for each in told if each.asked]
    assert [(each.device, each.person, each.host, each.reason) for each in asked] == [
        (MIA, "mia", UNKNOWN, f"default: {UNREAD_APP}")
    ]
    assert (Verdict.BLOCK, UNREAD_APP) in [
        (each.decision.verdict, each.decision.what) for each in told if each.decision
    ]
    assert not any(each.requests for each in net.origins.connections())
    forgetful.swap(policy=scanned(policy, f"    allow: [{UNKNOWN}]\n"))
    assert fetch(forgetful, net, UNKNOWN).status == 200


def test_an_adult_needs_nobodys_consent(forgetful: Stand, net: SmallInternet, policy: str) -> None:
    forgetful.swap(policy=scanned(policy, "    allow: [bypass]\n"))
    assert fetch(forgetful, net, UNKNOWN).status == 0
    forgetful.wait_for(lambda found: any(each.decision and each.decision.what == PASS_THROUGH for each in found))
    assert fetch(forgetful, net, UNKNOWN).status == 200


class PinnedClient:
    """A client that sends its ClientHello at once, and refuses our certificate when it is told to."""

    def __init__(self, stand: Stand, net: SmallInternet, host: str) -> None:
        self._sock = socket.create_connection(stand.proxy, 5, source_address=(CHILD_WITH_CA, 0))
        self._sock.sendall(f"CONNECT {host}:{net.origins.https_port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b" 200 " in self._sock.recv(999)
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(net.authority.root))
        self._tls = context.wrap_bio(self._received, self._sent, server_hostname=host)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._sock.sendall(self._sent.read())

    def refuse(self) -> None:
        with self._sock:
            with pytest.raises(ssl.SSLCertVerificationError):
                self._finish()
            self._sock.sendall(self._sent.read())  # the alert

    def _finish(self) -> None:
        is_over = False
        while not is_over and (data := self._sock.recv(65536)):
            self._received.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                is_over = True


def test_connections_that_were_on_their_way_pass_a_host_through_once(forgetful: Stand, net: SmallInternet) -> None:
    """As apps and browsers open them: several at once, each of which refuses the certificate."""
    # which no other test has been to: whoever accepted the certificate is trusted for a while
    host = "www.roblox.com"
    before = forgetful.counters()
    clients = [PinnedClient(forgetful, net, host) for _ in range(3)]
    for client in clients:
        client.refuse()

    def since(*series: str) -> float:
        return forgetful.counters().get(series, 0) - before.get(series, 0)

    wait_until(lambda: since("hedgerow_proxy_dropped_total", "certificate") == 3, PATIENCE)
    assert since("hedgerow_proxy_passed_through_total") == 1
    assert [line.split()[1:] for line in (forgetful.world.state / "pass-through").read_text().splitlines()] == [
        [host, MIA]
    ]


@contextlib.contextmanager
def after_handshake(
    stand: Stand, net: SmallInternet, host: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[ssl.SSLSocket]:
    with socket.create_connection(stand.proxy, 5, source_address=(CHILD_WITH_CA, 0)) as sock:
        sock.sendall(f"CONNECT {host}:{net.origins.https_port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b" 200 " in sock.recv(999)
        context = ssl.create_default_context(cafile=str(stand.ca))
        context.maximum_version = version
        with context.wrap_socket(sock, server_hostname=host) as secure:
            yield secure


def handshake_alone(stand: Stand, net: SmallInternet, host: str = INSPECTED) -> None:
    """As an app that looks at the certificate after the handshake, and hangs up: what pinning libraries on
    phones do.
    """
    with after_handshake(stand, net, host):
        pass


def test_an_app_that_hangs_up_after_the_handshake_gets_through_the_fourth_time(
    forgetful: Stand, net: SmallInternet
) -> None:
    host = "scratch.mit.edu"  # which no other test has been to: who went on once is trusted for a while
    for _ in range(3):
        assert PassThrough(forgetful.world.state / "pass-through").cause(MIA, host) == ""
        handshake_alone(forgetful, net, host)
    forgetful.wait_for(lambda found: any(each.decision and each.decision.what == PASS_THROUGH for each in found))
    assert PassThrough(forgetful.world.state / "pass-through").cause(MIA, host)


def test_unused_connections_of_a_browser_are_not_refusals(forgetful: Stand, net: SmallInternet) -> None:
    assert (
        curl(net.url("h2.example", "/open"), proxy=forgetful.proxy, source=CHILD_WITH_CA, ca=forgetful.ca).status == 200
    )
    refused = forgetful.counters().get(("hedgerow_proxy_dropped_total", "certificate"), 0)
    for _ in range(4):
        handshake_alone(forgetful, net, "h2.example")
    wait_until(lambda: forgetful.counters().get(("hedgerow_proxy_dropped_total", "certificate"), 0) == refused + 4, 5)
    assert not PassThrough(forgetful.world.state / "pass-through").cause(MIA, "h2.example")


def test_late_resets_are_not_refusals(forgetful: Stand, net: SmallInternet) -> None:
    """A browser's spare connections, on a device that leaves the network."""
    host = "chat.example"  # which no other test has been to before
    # such as an upload to an origin that takes nothing, whose client is gone
    others = forgetful.counters()["hedgerow_proxy_open_tunnels",]
    refused = forgetful.counters().get(("hedgerow_proxy_dropped_total", "certificate"), 0)
    with contextlib.ExitStack() as stack:
        # The last message of a handshake of TLS 1.2 is the server's: the inspector has been through it when we have.
        spare = [stack.enter_context(after_handshake(forgetful, net, host, ssl.TLSVersion.TLSv1_2)) for _ in range(3)]
        time.sleep(_EARLY_CLOSE_SECONDS + 0.5)
        for each in spare:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: forgetful.counters()["hedgerow_proxy_open_tunnels",] <= others, 20, "all are gone")
    assert forgetful.counters().get(("hedgerow_proxy_dropped_total", "certificate"), 0) == refused
    assert not PassThrough(forgetful.world.state / "pass-through").cause(MIA, host)


def test_a_blocked_host_is_not_passed_through(forgetful: Stand, net: SmallInternet) -> None:
    for _ in range(3):
        assert fetch(forgetful, net, "adult.example").status in {0, 403}
    assert net.origins.connections() == []


def test_safe_search_holds_by_the_restricted_address(forgetful: Stand, net: SmallInternet) -> None:
    answers = [fetch(forgetful, net, "www.google.com", "/search?q=x") for _ in range(2)]
    assert answers[0].status == 0
    reached = {each.address for each in net.origins.connections() if each.requests}
    assert reached <= {net.address_of("forcesafesearch.google.com")}


def reports(stand: Stand, host: str) -> list[tuple[Verdict, str]]:
    """What the journal is told of tunnels to `host` once a refusal was noted."""
    found = stand.wait_for(
        lambda reported: any(
            each.decision and each.decision.what in {PASS_THROUGH, CERTIFICATE_REFUSED} for each in reported
        )
    )
    return [
        (each.decision.verdict, each.decision.what)
        for each in found
        if each.decision and each.request and each.request.host == host
    ]


def test_a_host_with_blocked_pages_is_not_passed_through(forgetful: Stand, net: SmallInternet) -> None:
    assert [fetch(forgetful, net, WITH_BLOCKED_PAGES, path).status for path in ("/open", "/secret", "/secret")] == [
        0,
        0,
        0,
    ]
    assert not any(each.requests for each in net.origins.connections())
    assert (Verdict.BLOCK, CERTIFICATE_REFUSED) in reports(forgetful, WITH_BLOCKED_PAGES)
    assert not PassThrough(forgetful.world.state / "pass-through").cause(MIA, WITH_BLOCKED_PAGES)


def test_a_host_that_was_passed_through_before_a_page_of_it_was_blocked_is_inspected_again(
    forgetful: Stand, net: SmallInternet
) -> None:
    assert (
        CertificateRefusals(forgetful.world.state / "pass-through").refused(
            MIA, ALSO_WITH_BLOCKED_PAGES, time.time(), with_alert=True, may_pass=True
        )
        is Outcome.PASSED
    )
    assert [fetch(forgetful, net, ALSO_WITH_BLOCKED_PAGES, "/secret").status for _ in range(2)] == [0, 0]
    assert not any(each.requests for each in net.origins.connections())


@pytest.mark.parametrize(
    ("rules", "host"),
    [
        ("    block_searches: [vape]\n", "www.google.com"),
        ("    tenants: {google: [school.example]}\n", "accounts.google.com"),
        ("    pass_through: false\n", INSPECTED),
    ],
    ids=["blocked searches", "tenants", "forbidden"],
)
def test_a_host_that_needs_inspection_is_not_passed_through(
    forgetful: Stand, net: SmallInternet, policy: str, rules: str, host: str
) -> None:
    forgetful.swap(policy=scanned(policy, rules))
    assert [fetch(forgetful, net, host, "/search?q=vape").status for _ in range(3)] == [0, 0, 0]
    assert not any(each.requests for each in net.origins.connections())
    assert not PassThrough(forgetful.world.state / "pass-through").cause(MIA, host)


def test_a_device_that_accepted_the_certificate_does_not_get_past_it_by_refusing(
    forgetful: Stand, net: SmallInternet
) -> None:
    host = "en.wikipedia.org"
    assert curl(net.url(host, "/open"), proxy=forgetful.proxy, source=CHILD_WITH_CA, ca=forgetful.ca).status == 200
    assert [fetch(forgetful, net, host).status for _ in range(3)] == [0, 0, 0]
    assert not PassThrough(forgetful.world.state / "pass-through").cause(MIA, host)
    assert (Verdict.BLOCK, CERTIFICATE_REFUSED) in reports(forgetful, host)


def test_pass_through_expires_and_is_for_one_device(tmp_path: Path) -> None:
    now = [1000.0]
    passes = PassThrough(tmp_path / "file", lambda: now[0])
    assert not passes.cause(MIA, INSPECTED)
    assert (
        CertificateRefusals(tmp_path / "file").refused(MIA, INSPECTED, now[0], with_alert=True, may_pass=True)
        is Outcome.PASSED
    )
    assert passes.cause(MIA, INSPECTED)
    assert not passes.cause(DeviceId("tom-phone"), INSPECTED)
    now[0] += PASS_THROUGH_SECONDS
    assert not passes.cause(MIA, INSPECTED)


def test_a_silent_refusal_counts_the_third_time(tmp_path: Path) -> None:
    refusals = CertificateRefusals(tmp_path / "file")
    found = [refusals.refused(MIA, INSPECTED, now, with_alert=False, may_pass=True) for now in (0.0, 1.0, 2.0, 3.0)]
    assert found == [Outcome.IGNORED, Outcome.IGNORED, Outcome.PASSED, Outcome.IGNORED]
    later = [refusals.refused(MIA, INSPECTED, now, with_alert=False, may_pass=True) for now in (100.0, 200.0, 300.0)]
    assert later == [Outcome.IGNORED] * 3


def test_a_host_is_passed_through_once_a_minute(tmp_path: Path) -> None:
    refusals = CertificateRefusals(tmp_path / "file")
    found = [
        refusals.refused(MIA, INSPECTED, now, with_alert=True, may_pass=True)
        for now in (1000.0, 1001.0, 990.0, 1059.0, 1061.0)
    ]
    assert found == [Outcome.PASSED, Outcome.IGNORED, Outcome.IGNORED, Outcome.IGNORED, Outcome.PASSED]
    assert refusals.refused(MIA, "en.wikipedia.org", 1062.0, with_alert=True, may_pass=True) is Outcome.PASSED


def test_repeated_failures_are_reported_once_in_ten_minutes(tmp_path: Path) -> None:
    refusals = CertificateRefusals(tmp_path / "file")
    found = [refusals.refused(MIA, INSPECTED, now, with_alert=True, may_pass=False) for now in (0.0, 1.0, 599.0, 601.0)]
    assert found == [Outcome.FAILS, Outcome.IGNORED, Outcome.IGNORED, Outcome.FAILS]
    assert not (tmp_path / "file").exists()


def test_a_malformed_file_passes_nothing_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("soon example.com mia\n")
    assert not PassThrough(tmp_path / "file").cause(DeviceId("mia"), "example.com")


def test_the_file_is_bounded(tmp_path: Path) -> None:
    refusals = CertificateRefusals(tmp_path / "file")
    for number in range(20_000):
        refusals.refused(MIA, f"host-{number}.example", 0.0, with_alert=True, may_pass=True)
    assert (tmp_path / "file").stat().st_size < 300_000


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("SSLV3_ALERT_BAD_CERTIFICATE", True),
        ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", True),
        ("UNSUPPORTED_PROTOCOL", False),
        (None, None),
    ],
)
def test_is_certificate_alert(reason: str | None, expected: bool | None) -> None:
    assert is_certificate_alert(reason) is expected
