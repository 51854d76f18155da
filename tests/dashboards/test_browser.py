"""The pages in a real Chromium: they work without scripts, ask nobody else, and fit a phone."""

import shutil

import httpx
import pytest
from playwright.sync_api import sync_playwright
from web_server import NOW

from hedgerow.dashboards.api.control import DeviceView, WorkerHealth
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.lifelines import Lifeline
from hedgerow.policies.model import AccessRequest, DeviceId, Kind, Observation, Reason, Verdict

CHROMIUM = shutil.which("chromium")
EVIL = "<img src=/static/x onerror=document.title='caught'><script>document.title='caught'</script>"

PAGES = (
    *("/", "/people", "/people/mia", "/devices", "/log", "/why?device=mia-tablet&target=x.example", "/lists", "/settings", "/changes"),
    *("/changes/1", "/start", "/device", "/sign-in", "/nowhere"),
)

# Text whose contrast with what lies behind it is less than WCAG 2.2 AA asks for (1.4.3), with the contrast.
FAINT = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => { for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour; }
    return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length || e.disabled) continue;
    const style = getComputedStyle(e), [a, b] = [light(parse(style.color)), light(behind(e))].sort((x, y) => y - x);
    const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < (isLarge ? 3 : 4.5)) found.push([e.outerHTML.slice(0, 80), contrast]);
  }
  return found; }"""

# Controls without a name for those who do not see them (4.1.2), targets that are too small (2.5.8), and ids that stand twice.
NAMELESS = """() => {
  const found = [];
  const name = e => e.getAttribute('aria-label')
    || (e.labels && [...e.labels].map(l => l.textContent).join('')) || e.textContent || e.title;
  for (const e of document.querySelectorAll('button, select, input:not([type=hidden]):not([hidden]), a[href], summary')) {
    if (!name(e).trim()) found.push(['no name', e.outerHTML.slice(0, 120)]);
    const box = e.getBoundingClientRect(), inline = e.tagName === 'A';
    if (!inline && box.width
        && (box.height < 24 || box.width < 24) && e.type !== 'checkbox') found.push(['small', e.outerHTML.slice(0, 120)]);
  }
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  for (const id of ids) if (ids.filter(each => each === id).length > 1) found.push(['twice', id]);
  for (const e of document.querySelectorAll('[aria-labelledby]'))
    if (!document.getElementById(e.getAttribute('aria-labelledby'))) found.push(['label of nothing', e.outerHTML.slice(0, 80)]);
  for (const e of document.querySelectorAll('table'))
    if (!e.querySelector('th[scope]')) found.push(['table without heads', e.outerHTML.slice(0, 80)]);
  if (!document.documentElement.lang) found.push(['no language']);
  return found; }"""

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
    httpx.post(f"{web.url}/people", data={"name": "zoe", "age": "3"}, headers={"origin": web.url}, trust_env=False)
    web.change_status(workers=(WorkerHealth("dns-0", "dns", "running", NOW - 60),))
    lifeline = Lifeline("A helpline", "GB", "https://help.example/", (), phone="0800 11 11")
    web.control.devices["127.0.0.1"] = DeviceView(mia, "mia", "child-8-12", (lifeline,))
    return web


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_every_page_fits_and_asks_nobody_else(chromium, filled, width, theme):
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    for path in PAGES:
        page.goto(filled.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert "caught" not in page.title()
        assert page.locator("h1").count() == 1, path
        # The style sheet was taken: its colours differ between the themes.
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(243, 245, 240)", "dark": "rgb(18, 23, 19)"}[theme]
        assert page.evaluate(FAINT) == [], path
        assert page.evaluate(NAMELESS) == [], path
        assert page.evaluate("document.documentElement.outerHTML.length") < 100_000, path
    assert all(url.startswith(filled.url) for url in asked)
    assert [text for text in complaints if "404" not in text and "422" not in text] == []
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
    page.get_by_role("link", name="Log", exact=True).click()
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
    for _ in range(16):
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


def test_the_guide_and_a_change_by_keyboard_alone(chromium, web):
    web.policy_path.unlink()
    page = chromium.new_page()
    page.goto(web.url)
    assert page.url.endswith("/start")
    page.locator("[name=password]").focus()
    for text, key in (("four words and more", "Tab"), ("four words and more", "Enter")):
        page.keyboard.type(text)
        page.keyboard.press(key)
    page.wait_for_url("**/start?step=2")
    assert page.evaluate("document.activeElement.name") == "country"
    page.keyboard.type("P")
    page.locator("[name=zone]").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/start?step=3")
    page.locator("[name=name-0]").focus()
    page.keyboard.type("mia")
    page.keyboard.press("Tab")
    page.keyboard.type("9")
    page.keyboard.press("Enter")
    page.wait_for_url("**/start?step=4")
    assert "age: 9" in web.policy_path.read_text()
    page.goto(f"{web.url}/people/mia")
    games = page.get_by_role("switch", name="Games", exact=True)
    assert games.get_attribute("aria-checked") == "true"
    games.focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert page.get_by_role("switch", name="Games").get_attribute("aria-checked") == "false"
    assert "block: [games]" in web.policy_path.read_text()
    page.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/changes**")
    assert "games" not in web.policy_path.read_text()
    page.close()


def test_ask_and_answer_across_two_browsers(chromium, filled):
    parent, child = chromium.new_context(), chromium.new_context()
    theirs, mine = child.new_page(), parent.new_page()
    theirs.goto(f"{filled.url}/device")
    assert theirs.get_by_text("waits for an answer").is_visible()
    mine.goto(filled.url)
    mine.get_by_role("button", name="For today").click()
    theirs.reload()
    assert theirs.get_by_text("yes", exact=True).is_visible()
    assert theirs.get_by_text("scratch.example").first.is_visible()
    parent.close()
    child.close()
