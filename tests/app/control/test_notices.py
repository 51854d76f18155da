"""Notices from events and status, and their sending."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from dataclasses import replace

import pytest

from hedgerow.app.control.jobs import SMALL_MEMORY
from hedgerow.app.control.notices.event_notices import budget_notices, event_notices, send_in_subprocess, status_notices
from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.control import BudgetRow, Status
from hedgerow.dashboards.coverage import ListHealth
from hedgerow.dashboards.notices import Notice, OutgoingMessage
from hedgerow.dashboards.words.languages import language
from hedgerow.journal.messages import DeviceSeen
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.content import CLIENT_CERTIFICATE, TUNNEL_TRAFFIC, UNREAD_APP
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.notices import NoticeTopic
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.text.locales import LANGUAGES

NOW = 1_780_056_000.0
POLICY = parse_policy(b"", None)
WELL = Status("0.1.0", NOW, "UTC")


def seen(reason: Reason, verdict: Verdict = Verdict.BLOCK) -> Observation:
    return Observation(
        NOW, DeviceId("tablet"), "mia", "child-8-12", RequestKind.DNS, verdict, reason, "", "secret.example"
    )


def text_of(notice: Notice, code: str = "en") -> str:
    return notice.text(language(code))


def test_bypass_attempts_become_notices_without_host_names() -> None:
    notices = list(event_notices([seen(reason) for reason in Reason] + [seen(Reason.BYPASS, Verdict.ALLOW)], POLICY))
    assert [notice.topic for notice in notices] == [NoticeTopic.BYPASS]
    assert "secret.example" not in text_of(notices[0])


def test_refused_tunnels_become_notices_with_the_reason_only() -> None:
    seen_in_tunnels = [replace(seen(reason), kind=RequestKind.TUNNEL, what="gambling") for reason in Reason]
    notices = [each for each in event_notices(seen_in_tunnels, POLICY) if each.topic is NoticeTopic.REFUSED]
    assert [text_of(notice) for notice in notices] == [
        "mia (tablet): a site was blocked without a page to say why. A rule closes it.",
        "mia (tablet): a site was blocked without a page to say why. Gambling is closed here.",
        "mia (tablet): a site was blocked without a page to say why. It belongs to Gambling, which is closed here.",
        "mia (tablet): a site was blocked without a page to say why. It looks like something that is closed here.",
        "mia (tablet): a site was blocked without a page to say why. Searches are kept safe for children.",
    ]
    assert len({notice.key for notice in notices}) == 5
    assert all("secret.example" not in text_of(notice, code) for notice in notices for code in LANGUAGES)


def test_notices_of_refusals_are_opt_in() -> None:
    policy = parse_policy(b"notices:\n  ana: {}\n  tom: {about: [refused]}\n", None)
    assert [NoticeTopic.REFUSED in policy.notices[name].about for name in ("ana", "tom")] == [False, True]


def test_requests_and_new_devices() -> None:
    asked = AccessRequest(NOW, DeviceId("tablet"), "mia", "scratch.example", note="please")
    new = DeviceSeen(NOW, DeviceId("aa:bb"), "192.168.1.9", "aa:bb", None, "child-8-12")
    events = [
        SystemEvent(NOW, "device", "aa:bb", "a device without a name at 192.168.1.9", new),
        SystemEvent(NOW, "restart", "dns", "1"),
    ]
    notices = list(event_notices([asked, *events], POLICY, lambda _device: ("tablet", "laptop")))
    assert [(notice.topic, text_of(notice)) for notice in notices] == [
        (NoticeTopic.REQUEST, "mia asks for scratch.example. “please”"),
        (
            NoticeTopic.NEW_DEVICE,
            "New on the network: a device without a name at 192.168.1.9. It follows the rules of Child aged 8 to 12. "
            "It may be tablet, with a new address. Say with one tap on the page Today whose it is.",
        ),
    ]
    assert [text_of(notice, "de") for notice in notices] == [
        "mia bittet um Freigabe: scratch.example. “please”",
        "Neu im Netz: ein Gerät ohne Namen (192.168.1.9). Es gilt das Profil „Kind von 8 bis 12“. "
        "Es könnte tablet sein, mit neuer Adresse. Auf der Seite „Heute“ sagst du mit einem Tipp, wem es gehört.",
    ]


def test_an_app_that_does_not_accept_the_certificate_is_no_child_that_asks() -> None:
    asked = AccessRequest(NOW, DeviceId("tablet"), "mia", "api.example", reason=f"default: {UNREAD_APP}")
    (notice,) = event_notices([asked], POLICY)
    assert text_of(notice) == (
        "An app on tablet does not accept the network's certificate for api.example. "
        "Let it through without looking inside?"
    )
    (notice,) = event_notices([replace(asked, reason=f"default: {CLIENT_CERTIFICATE}")], POLICY)
    assert text_of(notice).startswith("api.example asks tablet for a certificate of its own")
    (notice,) = event_notices([replace(asked, reason=f"recognised: {TUNNEL_TRAFFIC}")], POLICY)
    assert text_of(notice) == (
        "Nearly all traffic of tablet goes to api.example, as with a tunnel past the filter. Let it through?"
    )


@pytest.mark.parametrize(
    ("item", "topic"),
    [
        (ListHealth("ads", "ads-trackers", 9, NOW - 60, held=True), NoticeTopic.LIST_HELD),
        (ListHealth("ads", "ads-trackers", 0, None, "no answer", failed=True), NoticeTopic.UPDATE_FAILED),
        (ListHealth("ads", "ads-trackers", 9, NOW - 95_000.0, "no answer", failed=True), NoticeTopic.UPDATE_FAILED),
        (ListHealth("ads", "ads-trackers", 9, NOW - 3600, "no answer", failed=True), None),
        (ListHealth("ads", "ads-trackers", 9, NOW - 3600, "12 × no host", problems={"no host": 12}), None),
    ],
)
def test_lists(item: ListHealth, topic: NoticeTopic | None) -> None:
    assert [notice.topic for notice in status_notices(replace(WELL, lists=(item,)), NOW)] == ([topic] if topic else [])


def test_policy_mistakes_and_a_full_disk() -> None:
    status = replace(
        WELL, policy_problems=(Problem("hedgerow.yaml", 3, 1, "unknown key"),), journal_problem="the disk is full"
    )
    assert [notice.topic for notice in status_notices(status, NOW)] == [NoticeTopic.TROUBLE, NoticeTopic.TROUBLE]
    assert list(status_notices(WELL, NOW)) == []


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (BudgetRow("mia", "", 80, 90, 10, NOW), None),  # an event announces that
        (BudgetRow("mia", "games", 45, 45, 0, NOW), "mia has used up the time for: Games."),
        (BudgetRow("mia", "", 60, 90, 30, NOW), None),
        (BudgetRow("mia", "", 0, 5, 5, NOW), None),
        (BudgetRow("mia", "", 500, None, None, NOW), None),
    ],
)
def test_budgets(row: BudgetRow, text: str | None) -> None:
    assert [text_of(notice) for notice in budget_notices([row])] == ([text] if text else [])


def test_upcoming_ends() -> None:
    ending = UpcomingEnd("mia", Reason.BEDTIME, "", 5, NOW + 300)
    (notice,) = event_notices([SystemEvent(NOW, "ending", "mia", "5 minutes until bedtime", ending)], POLICY)
    assert (notice.topic, text_of(notice)) == (NoticeTopic.BUDGET, "mia: 5 minutes until the internet closes.")
    assert text_of(notice, "fr") == "mia: Encore 5 minutes avant qu’Internet soit coupé."


def test_a_service_that_hangs_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = OutgoingMessage(
            f"json://secret-name:secret-word@127.0.0.1:{silent.getsockname()[1]}/?rto=900", "t", "b"
        )
        problem = asyncio.run(send_in_subprocess(message, limit=3))
    assert problem == "The service did not answer in time."


def test_a_service_whose_answer_never_ends_fills_no_memory() -> None:
    """A body of the answer is read whole by the library that sends."""
    received = 0

    def answer(server: socket.socket) -> None:
        nonlocal received
        connection, _ = server.accept()
        with connection, contextlib.suppress(ConnectionError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                received += connection.send(bytes(1 << 18))

    with socket.create_server(("127.0.0.1", 0)) as endless:
        thread = threading.Thread(target=answer, args=(endless,))
        thread.start()
        message = OutgoingMessage(f"json://127.0.0.1:{endless.getsockname()[1]}/", "t", "b")
        problem = asyncio.run(send_in_subprocess(message))
        thread.join()
    assert problem == "Sending it failed."
    assert received < SMALL_MEMORY // 4


@pytest.mark.parametrize(
    ("head", "more", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"y" * 60_000 + b"\r\n", "The service could not be reached or did not"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "The service did not answer in time."),
        (
            b"HTTP/1.1 307 Go\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            b"",
            "The service could not be reached or did",
        ),
        (
            b"HTTP/1.1 307 Go\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
            b"",
            "Nothing was sent: the service leads inside this network.",
        ),
    ],
)
def test_a_hostile_service_ends_in_time_and_leads_nowhere(head: bytes, more: bytes, problem: str) -> None:
    def answer(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # shut down
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(head)
                while more:
                    connection.sendall(more)

    with socket.create_server(("127.0.0.1", 0)) as hostile:
        thread = threading.Thread(target=answer, args=(hostile,))
        thread.start()
        message = OutgoingMessage(f"json://127.0.0.1:{hostile.getsockname()[1]}/", "t", "b")
        found = asyncio.run(send_in_subprocess(message, limit=4 if "in time" in problem else 10))
        hostile.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert found.startswith(problem)


@pytest.mark.parametrize("address", ["nothing://x", "", "mailto://"])
def test_an_unknown_service_is_reported_without_its_address(address: str) -> None:
    assert (
        asyncio.run(send_in_subprocess(OutgoingMessage(address, "t", "b")))
        == "The address does not belong to a supported service."
    )
