"""Chromium on a device that trusts our CA, and on one that is pinned to the origin's:

HTTP/2, WebSocket, events, ranges, uploads.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxy_stand import Stand
from proxy_stand.browser import opened_page
from small_internet.bodies import body
from small_internet.browser import CAN_TRUST, EVERY_KIND
from small_internet.whole import SmallInternet

from hedgerow.proxy.pages.block_page import ASK_PATH

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CAN_TRUST, reason="needs Debian's chromium and libnss3-tools"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


# The block page of the script's own site: in a frame, asked in the child's name, and in a window of its own.
SCRIPTS_SEE = """async (path) => {
    const frame = document.createElement("iframe");
    const framed = new Promise(resolve => frame.onload = resolve);
    frame.src = "/secret";
    document.body.append(frame);
    await framed;
    const asked = await fetch(path, {method: "POST", body: new URLSearchParams({url: location.origin + "/secret"})});
    const opened = window.open("/secret");
    while (!opened.closed) await new Promise(resolve => setTimeout(resolve, 50));
    return [frame.contentDocument, asked.status, await asked.text(), opened.closed];
}"""


@pytest.fixture
def as_this_machine(stand: Stand, policy: str) -> Iterator[Stand]:
    """Chromium comes from 127.0.0.1, which is Mia's tablet here."""
    stand.swap(policy=policy.replace("ip: 127.0.0.11", "ip: 127.0.0.1"))
    (stand.world.state / "pass-through").unlink(missing_ok=True)
    yield stand
    (stand.world.state / "pass-through").unlink(missing_ok=True)
    stand.swap(policy=policy)


def sha256(start: int, end: int) -> str:
    return hashlib.sha256(b"".join(body(end))[start:end]).hexdigest()


def test_all_kinds_of_exchange_through_the_inspector(
    as_this_machine: Stand, net: SmallInternet, tmp_path: Path
) -> None:
    with opened_page(as_this_machine, tmp_path, as_this_machine.ca) as page:
        opened = page.goto(net.url("www.school.example", "/page"))
        assert opened.status == 200
        assert "Hedgerow" in opened.security_details()["issuer"]
        found = page.evaluate(EVERY_KIND)
        assert found["protocol"] == "h2"
        assert len(found["events"]) == 3
        assert found["echoed"] == ["hello", "1,2,3"]
        assert found["part"] == [206, "bytes 500000-500099/1000000", sha256(500_000, 500_100)]
        assert found["whole"] == sha256(0, 20_000_000)
        assert found["upload"] == [5_000_000, True]
        assert found["blocked"] == [403, "Hedgerow: blocked.\n"]
        assert page.evaluate(SCRIPTS_SEE, ASK_PATH) == [None, 403, "Hedgerow: blocked.\n", True]
        blocked = page.goto(net.url("www.school.example", "/secret"))
        assert (blocked.status, page.get_by_role("heading", level=1).inner_text()) == (
            403,
            "This site is not open here",
        )
        assert page.goto(net.url("adult.example", "/")).status == 403


def test_what_a_page_embeds_is_refused_in_its_own_size(
    as_this_machine: Stand, net: SmallInternet, tmp_path: Path
) -> None:
    with opened_page(as_this_machine, tmp_path, as_this_machine.ca) as page:
        page.goto(net.url("www.school.example", "/page"))
        embed = (
            "url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame); }"
        )
        page.evaluate(embed, net.url("adult.example", "/"))
        page.frame_locator("iframe").get_by_text("This site is not open here").wait_for(timeout=10_000)
        image = "url => new Promise(done => { const image = new Image(); image.onerror = () => done('broken'); image.src = url; })"  # noqa: E501
        assert page.evaluate(image, net.url("adult.example", "/x.png")) == "broken"


def test_a_browser_that_is_pinned_gets_through_the_second_time(
    as_this_machine: Stand, net: SmallInternet, policy: str, tmp_path: Path
) -> None:
    """It accepts the origin's certificate and not ours: as a pinned app it is passed through, unread, and what is
    blocked stays blocked.
    """
    scanned = policy.replace("ip: 127.0.0.11", "ip: 127.0.0.1").replace(
        "    age: 9\n", "    age: 9\n    page_scan: {everywhere: true}\n"
    )
    as_this_machine.swap(policy=scanned)
    host = "www.wikipedia.org"  # inspected for the words of its pages alone: no rule is about some of them
    with opened_page(as_this_machine, tmp_path, net.authority.root) as page:
        with pytest.raises(sync_api.Error, match="ERR_CERT_AUTHORITY_INVALID"):
            page.goto(net.url(host, "/page"))
        for _ in range(5):
            try:
                opened = page.goto(net.url(host, "/page"))
                break
            except sync_api.Error:  # any of the first tries may end in the browser's own page about certificates
                page = page.context.new_page()
        assert (opened.status, opened.security_details()["issuer"]) == (200, "Small Internet test root")
        with pytest.raises(sync_api.Error, match="ERR_"):
            page.goto(net.url("adult.example", "/"))


WORKER = b"""addEventListener("install", event => event.waitUntil(caches.open("kept").then(kept => kept.addAll(["/page"]))));
addEventListener("activate", event => event.waitUntil(clients.claim()));
addEventListener("fetch", event => event.respondWith(caches.match(event.request).then(kept => kept || fetch(event.request))));
"""  # noqa: E501
"""A site that works without a network, once it was opened."""

REGISTER = """async script => {
    localStorage.setItem("game", "level 7");
    await navigator.serviceWorker.register(script, {scope: "/"});
    await navigator.serviceWorker.ready;
    while (!navigator.serviceWorker.controller) await new Promise(resolve => setTimeout(resolve, 20));
}"""


def test_a_service_worker_does_not_show_a_blocked_site_and_loses_nothing(
    as_this_machine: Stand, net: SmallInternet, policy: str, tmp_path: Path
) -> None:
    own = policy.replace("ip: 127.0.0.11", "ip: 127.0.0.1")
    host, script = (
        "www.school.example",
        f"/mirror?type=text/javascript&allowed=/&data={base64.urlsafe_b64encode(WORKER).decode()}",
    )
    with opened_page(as_this_machine, tmp_path, as_this_machine.ca) as page:
        page.goto(net.url(host, "/page"))
        page.evaluate(REGISTER, script)
        net.origins.forget_connections()
        page.goto(net.url(host, "/page"))
        assert (host, "/page") not in net.origins.requests(host), "the worker served it"
        as_this_machine.swap(policy=own.replace('"www.school.example/secret"', '"www.school.example"'))
        page.goto(net.url(host, "/page"))
        title = page.get_by_role("heading", level=1)
        sync_api.expect(title).to_have_text("This site is not open here", timeout=30_000)
        page.goto(net.url(host, "/page"))
        assert title.inner_text() == "This site is not open here"
        as_this_machine.swap(policy=own)
        page.goto(net.url(host, "/page"))
        assert title.inner_text() == f"Hello from {host}"
        kept = page.evaluate("async () => [localStorage.getItem('game'), await caches.keys()]")
        assert kept == ["level 7", ["kept"]]
