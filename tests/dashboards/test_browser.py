"""The pages in a real Chromium: they work without scripts, ask nobody else, and fit a phone."""

import shutil

import pytest
from playwright.sync_api import sync_playwright
from web_server import NOW

from hedgerow.dashboards.api.control import DeviceView, WorkerHealth
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.lifelines import Lifeline
from hedgerow.policies.model import AccessRequest, DeviceId, Kind, Observation, Reason, Verdict

CHROMIUM = shutil.which("chromium")
EVIL = "<img src=/static/x onerror=document.title='caught'><script>document.title='caught'</script>"

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")]


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def filled(web):
    mia = DeviceId("mia-tablet")
    hosts = ["www.bet.example", "a" * 60 + "." + "b" * 60 + ".example", EVIL]
    web.recorder.add([DeviceSeen(NOW, mia, "192.168.1.31", None, "mia", "child-8-12")])
    web.recorder.add(
        Observation(
            NOW, mia, "mia", "child-8-12", Kind.HTTP, Verdict.BLOCK, Reason.CATEGORY, "gambling", host, f"https://{host}/" + "x" * 300
        )
        for host in hosts
    )
    web.recorder.add([AccessRequest(NOW, mia, "mia", "scratch.example", note=EVIL)])
    web.recorder.flush()
    web.change_status(workers=(WorkerHealth("dns-0", "dns", "running", NOW - 60),))
    lifeline = Lifeline("A helpline", "GB", "https://help.example/", (), phone="0800 11 11")
    web.control.devices["127.0.0.1"] = DeviceView(mia, "mia", "child-8-12", (lifeline,))
    return web


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
@pytest.mark.parametrize("path", ["/", "/device", "/sign-in", "/nowhere"])
def test_every_page_fits_and_asks_nobody_else(chromium, filled, path, width, theme):
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(filled.url + path)
    assert all(url.startswith(filled.url) for url in asked)
    assert [text for text in complaints if "404" not in text] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "caught" not in page.title()
    assert page.locator("h1").count() == 1
    # The style sheet was taken: its colours differ between the themes.
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(243, 245, 240)", "dark": "rgb(18, 23, 19)"}[theme]
    context.close()


def test_answering_pausing_and_filtering_without_scripts(chromium, filled):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(filled.url)
    assert page.title().startswith("(1) ")
    page.get_by_role("button", name="Allow an hour").click()
    assert page.get_by_text("Nobody waits for an answer.").is_visible()
    assert page.get_by_role("button", name="End the permission for scratch.example").is_visible()
    page.get_by_label("Who").select_option("mia")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    assert page.get_by_role("button", name="Resume").count() == 0
    page.get_by_label("Site").fill("www.bet.example")
    page.get_by_role("button", name="Show").click()
    assert page.locator("#decisions tbody tr").count() == 1
    context.close()


def test_the_keyboard_reaches_the_content_first_and_every_answer(chromium, filled):
    page = chromium.new_page()
    page.goto(filled.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"))
    assert {"Allow an hour", "For today", "For good", "Deny scratch.example"} <= set(names)
    page.close()


def test_a_page_of_another_site_can_neither_press_the_buttons_nor_frame_the_page(chromium, filled):
    page = chromium.new_page()
    page.route(
        "http://evil.example/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"<iframe src='{filled.url}/'></iframe><form method=post action='{filled.url}/requests/1/approve'>"
            "<input name=for value=good><button>win a prize</button></form>",
        ),
    )
    page.goto("http://evil.example/")
    assert all("Asked for" not in frame.content() for frame in page.frames)
    page.get_by_role("button").click()
    page.wait_for_url(f"{filled.url}/requests/1/approve")
    assert "not sent from a page of Hedgerow" in page.content()
    assert filled.ledger.request(1).state == "open"
    page.close()
