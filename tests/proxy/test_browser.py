"""Chromium behind the gate: the block page as a child sees it, and its button, without any script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest
from proxy_stand import Stand
from small_internet.browser import FOR_PAGES, browser_for_pages, look_through
from small_internet.whole import SmallInternet

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.pages.response import ResponseForm
from hedgerow.proxy.pages.translations import PageReader

type Scheme = Literal["light", "dark"]

# The rules that depend on the colours; the others find the same in both.
_COLOURS: dict[str, object] = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
SCHEMES: dict[Scheme, dict[str, object]] = {"light": {}, "dark": _COLOURS}
"""Options of axe-core by colour scheme."""
WORDS: dict[str, object] = {"rules": {"color-contrast": {"enabled": False}}}
"""Options for the same page in another language: words have no colours."""

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not FOR_PAGES.exists(), reason="Chromium is not installed")]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser(_stand: Stand) -> Iterator[Browser]:
    with browser_for_pages(proxy={"server": f"http://127.0.0.1:{_stand.gate.port}"}) as launched:
        yield launched


@pytest.mark.parametrize(
    ("width", "scheme", "ground"), [(390, "light", "rgb(238, 243, 234)"), (1200, "dark", "rgb(19, 26, 21)")]
)
def test_the_block_page_and_its_button(
    browser: Browser, stand: Stand, net: SmallInternet, width: int, scheme: Scheme, ground: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, java_script_enabled=False
    )
    try:
        page = context.new_page()
        asked_for: list[str] = []
        page.on("request", lambda request: asked_for.append(request.url))
        answer = page.goto(net.url("adult.example", "/some/page", "http"))
        assert answer is not None
        assert answer.status == 403
        assert page.get_by_role("heading", level=1).inner_text() == "This site is not open here"
        assert page.locator("body").evaluate("element => getComputedStyle(element).backgroundColor") == ground
        # nothing sticks out at the side
        assert page.locator("html").evaluate("element => element.scrollWidth") <= width
        page.get_by_label("What do you need it for?").fill("homework & <b>biology</b>")
        page.get_by_role("button", name="Ask for access").click()
        sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("Your request was sent", timeout=30_000)
        assert {url.split("/")[2].split(":")[0] for url in asked_for} == {"adult.example"}
    finally:
        context.close()
    asked = [each.asked for each in stand.wait_for(lambda reported: any(each.asked for each in reported)) if each.asked]
    assert [(each.url, each.note) for each in asked] == [
        (net.url("adult.example", "/some/page", "http"), "homework & <b>biology</b>")
    ]


def test_the_button_for_worries_opens_without_a_script_and_tells_nobody(
    browser: Browser, stand: Stand, net: SmallInternet
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(net.url("adult.example", "/", "http"))
        stand.wait_for(lambda told: any(each.request and each.request.host == "adult.example" for each in told))
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.locator(".worry > summary").click()
        for choice, found in (
            ("I want to talk to someone", "childline.org.uk"),
            ("I want to report a person or a picture", "ceop.police.uk"),
            ("I am in danger now", "Call 999"),
        ):
            page.get_by_text(choice).click()
            sync_api.expect(page.locator(".kind-of-help", has_text=choice).get_by_text(found).first).to_be_visible()
        assert requests == []
        # Chromium asks for things of its own meanwhile.
        assert {each.request.host for each in stand.reported() if each.request} & {
            "adult.example",
            "childline.org.uk",
            "ceop.police.uk",
        } == set()
    finally:
        context.close()


def test_the_block_page_is_accessible(browser: Browser) -> None:
    """Every reason, and every language for every age, at a phone's width, all of it open: looked through by
    axe-core.
    """
    pages = BlockPage("GB", conduct="Be kind.")
    reasons = [each for each in Reason if each not in {Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION}]
    decisions = [
        (Decision(Verdict.BLOCK, each, "gambling", Origin("hedgerow.yaml", 12), 1.8e9), PageReader())
        for each in reasons
    ]
    decisions += [(decisions[0][0], PageReader(language, young)) for language in LANGUAGES for young in (False, True)]
    context = browser.new_context(viewport={"width": 360, "height": 800})
    try:
        page = context.new_page()
        unfolded: set[PageReader] = set()
        for decision, reader in decisions:
            answer = pages.blocked(
                decision, "games.example", "https://games.example/", 1.7e9, ResponseForm.PAGE, reader
            )
            page.set_content(answer.body.decode())
            # The help below is the same for every reason.
            folded = "" if reader not in unfolded else ":not(.care *)"
            unfolded.add(reader)
            page.evaluate(
                "kept => document.querySelectorAll('details' + kept).forEach(each => { each.open = true })", folded
            )
            looks: dict[Scheme, dict[str, object]] = SCHEMES if reader == PageReader() else {"light": WORDS}
            for scheme, options in looks.items():
                page.emulate_media(color_scheme=scheme)
                found = look_through(page, options)
                assert found.violations_count == 0, (decision.reason, reader, scheme, found.generate_report())
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        context.close()


def test_an_access_request_is_answered_on_the_page(
    browser: Browser, stand: Stand, net: SmallInternet, policy: str
) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(net.url("gambling.example", "/poker", "http"))
        page.get_by_role("button", name="Ask for access").click()
        sync_api.expect(page.get_by_role("heading", level=1)).to_have_text("Your request was sent", timeout=30_000)
        stand.swap(
            policy=policy.replace("unknown_devices: child-8-12", "").replace(
                "network:\n", "network:\n  unknown_devices: adult\n"
            )
        )
        page.get_by_role("heading", name="This page is open now").wait_for(timeout=30_000)
        page.get_by_role("link", name="Go to the page").click()
        assert page.url == net.url("gambling.example", "/poker", "http")
    finally:
        stand.swap(policy=policy)
        context.close()


def test_websites_work_through_the_gate(browser: Browser, stand: Stand, net: SmallInternet) -> None:
    context = browser.new_context(ignore_https_errors=True)  # the origin's own certificate is from the test's authority
    try:
        page = context.new_page()
        answer = page.goto(net.url("h2.example", "/page"))
        assert answer is not None
        security = answer.security_details()
        assert security is not None
        assert (answer.status, security["issuer"]) == (200, "Small Internet test root")
        with pytest.raises(sync_api.Error, match="ERR_TUNNEL_CONNECTION_FAILED"):
            page.goto(net.url("adult.example", "/"))
    finally:
        context.close()
