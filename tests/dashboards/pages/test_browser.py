"""The pages in a real Chromium: without scripts, without external requests, on a phone."""

import re
import time

import httpx
import pytest
import sqlalchemy
from playwright.sync_api import expect
from small_internet.browser import look_through
from web_server import NOW, SETUP_CODE, running_web
from web_server.household import PAGES, POLICY, fill

from hedgerow.dashboards.control import DeviceView, WorkerHealth
from hedgerow.dashboards.pages.device_setup import BYPASS_PROBES
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.host_facts import Lifeline, Lifelines
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict

EVIL = "<img src=/static/x onerror=document.title='caught'><script>document.title='caught'</script>"

# All that can be unfolded; of the hundreds of services the first group, which looks like the others.
OPEN = """for (const each of document.querySelectorAll('details:not(.exact)'))
  each.open = !each.closest("form[action$='/switch']") || !each.previousElementSibling"""

# Of siblings that are built alike, such as the rows of a log, three are left.
THIN = """() => {
  const contents = /^(id|name|for|value|href|src|action|title|style|datetime|open|label|placeholder|[xyd]|width|height|aria-.*|data-.*)$/;
  const isKind = each => !contents.test(each.name);
  const build = each => each.tagName + [...each.attributes].filter(isKind).map(each => each.name + '=' + each.value).join()
    + '(' + [...each.children].map(build).join() + ')';
  for (const parent of document.querySelectorAll('body *')) {
    const seen = new Map();
    for (const each of parent.children.length > 3 ? [...parent.children] : []) {
      if (!['LI', 'TR', 'OPTION', 'rect'].includes(each.tagName)) continue;
      const built = build(each);
      seen.set(built, (seen.get(built) ?? 0) + 1);
      if (seen.get(built) > 3) each.remove();
    }
  }
}"""  # noqa: E501

AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    # Whoever speaks to the machine says what is to be read on a button.
    "rules": {"label-content-name-mismatch": {"enabled": True}},
}
AXE_COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""The rules that depend on the theme. The others find the same in both."""

GROUNDS = {"light": "rgb(243, 245, 240)", "dark": "rgb(18, 23, 19)"}

SMALL = """[...document.querySelectorAll('button, select, summary, input:not([type=hidden], [type=checkbox], [type=radio]), a.button')]
  .filter(each => each.offsetParent && each.getBoundingClientRect().height < 44).map(each => each.outerHTML.slice(0, 120))"""  # noqa: E501

pytestmark = pytest.mark.browser


def until_policy_says(page, web, words):
    deadline = time.monotonic() + 30
    while words not in web.policy_path.read_text():
        assert time.monotonic() < deadline, web.policy_path.read_text()
        page.wait_for_timeout(50)


@pytest.fixture
def filled(web):
    mia = DeviceId("mia-tablet")
    hosts = ["www.bet.example", "a" * 60 + "." + "b" * 60 + ".example", EVIL]
    web.recorder.add([DeviceSeen(NOW, mia, "192.168.1.31", None, "mia", "child-8-12")])
    web.recorder.add(
        Observation(
            NOW,
            mia,
            "mia",
            "child-8-12",
            RequestKind.HTTP,
            Verdict.BLOCK,
            Reason.CATEGORY,
            "gambling",
            host,
            f"https://{host}/" + "x" * 300,
        )
        for host in hosts
    )
    web.recorder.add([AccessRequest(NOW, mia, "mia", "scratch.example", note=EVIL)])
    web.recorder.flush()
    httpx.post(
        f"{web.url}/people",
        data={"name": "zoe", "age": "3"},
        headers={"origin": web.url},
        trust_env=False,
        verify=False,
        timeout=60,
    )
    web.change_status(workers=(WorkerHealth("dns-0", "dns", "running", NOW - 60),))
    lifeline = Lifeline("A helpline", "GB", "https://help.example/", (), phone="0800 11 11")
    web.control.devices["127.0.0.1"] = DeviceView(mia, "mia", "child-8-12", (lifeline,))
    return web


@pytest.fixture(scope="module")
def household(tmp_path_factory):
    """A family and seats, for tests that only look."""
    with running_web(tmp_path_factory.mktemp("household")) as web:
        fill(web)
        yield web


@pytest.mark.timeout(1200)  # two dozen pages, each looked through
def test_every_page_fits_is_accessible_and_loads_nothing_external(chromium, new_web):
    """Checks each page with axe-core at the width of a phone, in both themes, then at that of a desktop."""
    fill(new_web)
    context = chromium.new_context(viewport={"width": 360, "height": 800})
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    guide(page, new_web)
    looked_through = set()
    for path in (*PAGES, "/people/zoe", "/nowhere"):  # zoe has no device
        page.goto(new_web.url + path)
        if page.url in looked_through:
            continue  # whoever is signed in comes from one page to another
        looked_through.add(page.url)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert page.evaluate(SMALL) == [], f"{path}: a thumb needs 44 pixels"
        page.set_viewport_size({"width": 1200, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 1200, path
        page.evaluate(OPEN)
        page.evaluate(THIN)
        for width, theme, rules in ((1200, "light", AXE), (360, "light", AXE), (360, "dark", AXE_COLOURS)):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=theme)
            # The style sheet was taken: its colours differ between the themes.
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == GROUNDS[theme]
            found = look_through(page, rules)
            assert found.violations_count == 0, (path, width, theme, found.generate_report())
    # the same machine by HTTPS, or by a name that only it answers
    ways_home = ("/certificate/trusted.svg", "/check/here.svg")
    assert all(url.startswith(new_web.url) or any(way in url for way in ways_home) for url in asked)
    assert [text for text in complaints if not re.search("404|422|trusted.svg|ERR_", text)] == []
    context.close()


@pytest.mark.parametrize(
    ("person", "words"), [("mia", "I want to talk to someone"), ("zoe", "I want to talk to somebody kind")]
)
def test_the_button_for_worries_leaves_no_trace(chromium, filled, caplog, person, words):
    """Opened without a script at every age, also while nothing else is open: no request, no row, no counter and no line
    of a log.
    """
    lifelines = Lifelines.load().for_country("GB")
    context = chromium.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=False)
    page = context.new_page()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    for held in ("", "pause", "bedtime", "budget"):
        filled.control.devices["127.0.0.1"] = DeviceView(DeviceId("tablet"), person, "child-8-12", lifelines, held=held)
        page.goto(f"{filled.url}/device")
        requests.clear()
        before = traces(filled)
        caplog.clear()
        page.locator(".worry > summary").click()
        page.get_by_text(words).click()
        expect(page.get_by_role("link", name="Call 0800 1111, Childline").first).to_be_visible()
        page.locator(".kind-of-help summary").nth(2).click()
        expect(page.get_by_role("link", name="ceop.police.uk").first).to_be_visible()
        page.locator(".kind-of-help > summary").last.click()
        assert page.get_by_role("link", name="Call 999").get_attribute("href") == "tel:999"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert [url for url in requests if "/static/" not in url] == [], held  # the icon may come late
        assert traces(filled) == before, held
        assert caplog.records == [], held
    context.close()


def traces(web):
    """Return all that could note a visit: every row of the database, and the metrics but for those that reading them
    changes.
    """
    with web.engine.engine.connect() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        rows = {name: connection.execute(sqlalchemy.text(f'SELECT * FROM "{name}"')).all() for name in tables}
    metrics = httpx.get(f"{web.url}/metrics", trust_env=False, verify=False, timeout=60).text
    return rows, [
        line
        for line in metrics.splitlines()
        if not re.match(r"(# |process_|python_|hedgerow_web_responses_total)", line)
    ]


def test_result_pages_are_accessible(chromium, new_web):
    """Checks pages that only a form leads to: sign-in, refusal, code, vouchers, an invalid form."""
    fill(new_web)
    context = chromium.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()

    def look(what):
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, what
        found = look_through(page, AXE)
        assert found.violations_count == 0, (what, found.generate_report())

    guide(page, new_web)
    page.goto(new_web.url)
    page.locator(".request .more > summary").first.click()
    page.get_by_role("button", name="Code to read out").first.click()
    look("a code")
    page.goto(f"{new_web.url}/counter")
    page.get_by_role("button", name="Create a sheet to print").click()
    assert page.locator(".vouchers li").count() == 20
    look("vouchers")
    page.goto(f"{new_web.url}/settings")
    page.locator("[name=zone]").fill("Nowhere/Land")
    page.locator("form[action='/settings/network'] button").click()
    assert "Nowhere/Land" in page.get_by_role("alert").inner_text()
    look("a mistake")
    expect(page.locator("[name=zone]")).to_have_value("Nowhere/Land")
    expect(page.locator("[name=zone]")).to_be_focused()
    page.get_by_role("link", name="More", exact=True).click()
    look("more")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    look("signing in")
    page.locator("[name=name]").fill("parent")
    page.locator("[name=password]").fill("not this one")
    page.locator("main button").click()
    page.get_by_role("alert").wait_for()
    look("refused")
    context.close()


def test_every_bypass_is_probed(chromium, web):
    """Probes over IPv6 as well: one that the page's own policy blocked would look safe."""
    fill(web)
    context = chromium.new_context()
    page = context.new_page()
    for way in BYPASS_PROBES:
        page.route(
            way.url, lambda route: route.fulfill(json={"Answer": []}, headers={"access-control-allow-origin": "*"})
        )
    page.goto(f"{web.url}/check")
    page.get_by_role("button", name="Try it").click()
    page.get_by_text("Something is open").wait_for()
    assert page.locator("[data-result]").all_inner_texts() == ["open"] * len(BYPASS_PROBES)
    context.close()


def test_names_without_a_space_fit_a_phone(chromium, web):
    person, device = "Donaudampfschifffahrtsgesellschaftskapit", "d" * 40
    policy = POLICY.replace("people:", f"people:\n  {person}: {{age: 12, devices: [{device}]}}", 1)
    web.policy_path.write_text(policy.replace("devices:\n", f"devices:\n  {device}: {{ip: 192.168.1.99}}\n", 1))
    web.control.devices["127.0.0.1"] = DeviceView(DeviceId(device), person, "child-8-12", ())
    page = chromium.new_page(viewport={"width": 360, "height": 740}, locale="de")
    for path in (
        "/",
        "/people",
        f"/people/{person}",
        f"/people/{person}/sites",
        "/devices",
        "/log",
        "/start/people",
        "/start/devices",
        "/start/done",
        "/device",
    ):
        page.goto(web.url + path)
        page.evaluate(OPEN)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    page.close()


def test_a_switch_keeps_its_place_after_it_is_pressed(chromium, web):
    """The group is open again, and the switch and the undo button are visible."""
    page = chromium.new_page(viewport={"width": 360, "height": 740})
    page.goto(f"{web.url}/people/mia/services")
    page.get_by_role("link", name="Social networks").click()
    page.wait_for_url("**#group-*")
    page.get_by_role("switch", name="Snapchat").click()
    page.wait_for_url("**saved=*")
    expect(page.get_by_role("switch", name="Snapchat")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Undo")).to_be_in_viewport()
    page.close()


def guide(page, web):
    """Set the first password and make a change."""
    page.goto(f"{web.url}/start#{SETUP_CODE}")
    page.locator("[name=name]").fill("parent")
    page.locator("[name=password]").fill("four words and more")
    page.locator("main button.yes").click()
    page.wait_for_url(re.compile("/start/(place|people)$"))
    page.goto(web.url + "/people")
    page.locator("[name=name]").fill("zoe")
    page.locator("[name=age]").fill("3")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("status").wait_for()


BAR = """[...document.querySelectorAll('.top nav li')].filter(each => each.offsetParent).map(each => {
  const box = each.getBoundingClientRect(), text = each.querySelector('span').getBoundingClientRect();
  return {top: box.top, height: box.height, width: box.width, isWhole: text.left >= box.left && text.right <= box.right,
    text: each.innerText};
})"""


@pytest.mark.parametrize("seats", [False, True])
@pytest.mark.parametrize("reader", ["en", "de", "fr", "es", "pt", "pt-BR"])
def test_the_navigation_of_a_phone_is_one_row_at_the_bottom(chromium, request, seats, reader):
    """In every language: at most five entries, none truncated, large enough for a thumb, in less than a tenth of the
    height.
    """
    context = chromium.new_context(locale=reader)
    page = context.new_page()
    page.goto(request.getfixturevalue("household" if seats else "web").url)
    for width, height in ((320, 640), (360, 740), (390, 844), (768, 1024)):
        page.set_viewport_size({"width": width, "height": height})
        found = page.evaluate(BAR)
        assert len(found) == 5, found
        assert {each["top"] for each in found} == {found[0]["top"]}, (width, found)
        assert all(each["isWhole"] and each["height"] >= 44 and each["width"] >= 44 for each in found), (width, found)
        assert page.locator(".top nav").bounding_box()["height"] < height / 10
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        bar, foot = page.locator(".top nav").bounding_box(), page.locator(".foot summary").bounding_box()
        assert bar["y"] + bar["height"] == height
        assert foot["y"] + foot["height"] <= bar["y"], "the bar hides the end of the page"
    context.close()


def test_pages_without_a_place_in_the_bar_are_behind_more(chromium, household):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{household.url}/")
    page.get_by_role("link", name="More", exact=True).click()
    page.locator("#main").get_by_role("link", name="Settings").click()  # the bar's is hidden once styles are applied
    page.wait_for_url("**/settings")
    assert page.get_by_role("link", name="More", exact=True).get_attribute("aria-current") == "page"
    page.set_viewport_size({"width": 1200, "height": 800})
    expect(page.get_by_role("link", name="More", exact=True)).to_have_count(0)
    assert page.get_by_role("link", name="Settings").get_attribute("aria-current") == "page"
    page.close()


def test_a_page_is_small_and_needs_one_round_trip_after_the_first(chromium, web):
    """The browser caches style sheet and script, and a page is less than 100 kB."""
    fill(web)
    context = chromium.new_context()
    page = context.new_page()
    for path in ("/people/mia", *PAGES[:9]):  # some have files of their own
        page.goto(web.url + path)
    for path in PAGES[:9]:
        page.goto(web.url + path, wait_until="load")
        fetched = page.evaluate(
            "performance.getEntriesByType('resource').filter(each => each.transferSize).map(each => each.name)"
        )
        assert [url for url in fetched if "/static/" in url] == [], path
        assert page.evaluate("performance.getEntriesByType('navigation')[0].transferSize") < 100_000, path
    context.close()


def test_names_of_attackers_stay_text_in_a_browser(chromium, filled):
    page = chromium.new_page(viewport={"width": 320, "height": 800})
    for path in ("/", "/people/mia", "/devices", "/log", "/why?device=mia-tablet&target=x.example", "/device"):
        page.goto(filled.url + path)
        assert "caught" not in page.title(), path
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    page.close()


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*[(a + b) / 2 for a, b in zip(start, end, strict=True)])
    page.mouse.move(*end)
    page.mouse.up()


def track(page, form, day, part):
    """Return the screen position of a fraction (0 to 1) of a day's row."""
    box = page.locator(form).get_by_role("group", name=day, exact=True).bounding_box()
    return box["x"] + box["width"] * part, box["y"] + box["height"] / 2


NIGHTS = "form[action$='/nights']"


@pytest.mark.parametrize("touch", [False, True])
def test_nights_are_drawn_on_the_week_shown_as_a_diff_and_undone(chromium, web, touch):
    before = web.policy_path.read_text()
    context = chromium.new_context(
        viewport={"width": 390, "height": 844} if touch else {"width": 1200, "height": 900}, has_touch=touch
    )
    page = context.new_page()
    page.goto(f"{web.url}/people/mia/nights")
    form = page.locator(NIGHTS)
    form.scroll_into_view_if_needed()
    # From noon to noon: 9/24 is nine in the evening, 19/24 seven in the morning. Monday to Thursday in one stroke.
    drag(page, track(page, NIGHTS, "Monday", 9 / 24), track(page, NIGHTS, "Thursday", 19 / 24))
    assert form.get_by_role("slider", name="Thursday, closed until").get_attribute("aria-valuetext") == "07:00"
    # The end of Monday's is drawn on by an hour.
    end = form.get_by_role("slider", name="Monday, closed until").bounding_box()
    drag(page, (end["x"] + end["width"] / 2, end["y"] + end["height"] / 2), track(page, NIGHTS, "Monday", 20 / 24))
    form.get_by_role("button", name="Save the nights").click()
    page.get_by_role("status").wait_for()
    until_policy_says(page, web, 'bedtime: {mon: "21:00-08:00", tue-thu: "21:00-07:00"}')
    page.goto(f"{web.url}/changes")
    page.get_by_role("link", name=re.compile("^Details")).first.click()
    page.locator("summary", has_text="The lines that changed").click()
    expect(page.locator("ins")).to_contain_text("tue-thu")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_url("**/changes**saved=*")
    assert web.policy_path.read_text() == before
    context.close()


def test_nights_and_times_of_the_week_by_keyboard_alone(chromium, web):
    page = chromium.new_page()
    page.goto(f"{web.url}/people/mia/nights")
    form = page.locator(NIGHTS)
    form.get_by_role("button", name="Monday: add a time").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Monday, closed from"
    for key in ("ArrowLeft", "ArrowLeft", "PageDown", "Tab", "ArrowRight"):
        page.keyboard.press(key)
    form.get_by_role("button", name="Every day like the first").focus()
    page.keyboard.press("Enter")
    form.get_by_role("slider", name="Sunday, closed from").focus()
    page.keyboard.press("Delete")
    form.get_by_role("button", name="Save the nights").focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    until_policy_says(page, web, 'bedtime: {mon-sat: "19:30-07:15"}')
    page.goto(f"{web.url}/people/mia/schedules")
    page.get_by_text("Add another").focus()
    page.keyboard.press("Enter")
    new = page.locator("form[action$='/schedule']").last
    new.get_by_role("textbox", name="Name").focus()
    page.keyboard.type("homework")
    new.get_by_role("checkbox", name="Games").focus()
    page.keyboard.press("Space")
    new.get_by_role("button", name="Tuesday: add a time").focus()
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    new.get_by_role("button", name="Add", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    until_policy_says(page, web, 'homework: {block: games, when: {tue: "14:00-16:00"}}')
    page.close()


def test_without_scripts_the_week_is_a_form_and_a_browser_cannot_be_notified(chromium, web):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{web.url}/people/mia/nights")
    page.get_by_label("Friday, closed from").fill("22:00")
    page.get_by_label("Friday, closed until").fill("08:00")
    page.get_by_role("button", name="Save the nights").click()
    page.get_by_role("status").wait_for()
    until_policy_says(page, web, 'bedtime: {fri: "22:00-08:00"}')
    page.goto(f"{web.url}/settings/notices")
    expect(page.locator("#push-insecure")).to_be_visible()
    expect(page.locator("#push")).to_be_hidden()  # without its script it could not work
    context.close()


def test_seats_are_opened_extended_and_ended_by_touch(chromium, web):
    fill(web)
    context = chromium.new_context(viewport={"width": 768, "height": 1024}, has_touch=True)
    page = context.new_page()
    page.goto(f"{web.url}/counter")
    first, second = (page.locator(f"[data-seat=seat-{number}]") for number in (1, 2))
    expect(second).to_contain_text("free")
    page.get_by_label("30", exact=True).check(force=True)
    page.get_by_label("Adult", exact=True).check(force=True)
    second.get_by_role("button", name="Open seat-2").tap()
    expect(second.locator("b")).to_have_text("30 min left")
    expect(page.get_by_label("Adult", exact=True)).to_be_checked()  # as the last guest, for the next one
    for undone in (True, False):
        first.locator("summary").first.tap()
        first.locator("summary").last.tap()
        first.get_by_role("button", name="End now seat-1").tap()
        expect(first).to_contain_text("free")
        if undone:
            page.get_by_role("button", name="Undo").tap()
            expect(first.locator("b")).to_have_text("4 min left")
    second.locator("summary").first.tap()
    with page.expect_navigation():
        second.get_by_role("button", name="seat-2: 15 minutes extra").tap()
    expect(second.locator("b")).to_have_text("45 min left")  # and the seat is still unfolded
    second.get_by_label("Move to").select_option("seat-1")
    second.get_by_role("button", name="seat-2: move the guest").tap()
    expect(second).to_contain_text("free")
    expect(first.locator("b")).to_have_text("45 min left")
    page.evaluate("document.querySelectorAll('.seat details').forEach(each => { each.open = true; })")
    # in one step, since live pages replace their parts
    sizes = page.evaluate(
        """[...document.querySelectorAll('.seat button')].map(each => each.getBoundingClientRect())
        .filter(box => box.width).map(box => Math.min(box.width, box.height))"""
    )
    assert len(sizes) > 4
    assert min(sizes) >= 44
    context.close()


@pytest.mark.parametrize("reader", ["en", "de", "fr", "es", "pt", "pt-BR"])
def test_the_counters_buttons_do_not_truncate_their_texts(chromium, household, reader):
    context = chromium.new_context(locale=reader)
    page = context.new_page()
    for width in (360, 768):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"{household.url}/counter")
        page.evaluate("document.querySelectorAll('.seat details').forEach(each => { each.open = true; })")
        cut = "[...document.querySelectorAll('.seat button')].filter(each => each.scrollWidth > each.clientWidth)"
        assert page.evaluate(f"{cut}.map(each => each.textContent)") == [], width
        # in one step, since live pages replace their parts
        last = "[...document.querySelectorAll('.seat button')].at(-1)"
        assert page.evaluate(f"getComputedStyle({last}).overflowWrap") == "normal"
    context.close()


def test_the_french_page_is_french_in_a_french_browser(chromium, filled):
    context = chromium.new_context(locale="fr-FR")
    page = context.new_page()
    page.goto(filled.url)
    assert page.locator("html").get_attribute("lang") == "fr"
    page.get_by_role("button", name="Autoriser une heure").click()
    expect(page.get_by_text("Aucune demande en attente.")).to_be_visible()
    page.locator(".foot summary").click()
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_text("Keine offenen Anfragen.")).to_be_visible()
    context.close()


def test_answering_pausing_and_filtering_without_scripts(chromium, filled):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(filled.url)
    assert page.title().startswith("(1) ")
    page.get_by_role("button", name="Allow an hour").click()
    expect(page.get_by_text("No requests are waiting.")).to_be_visible()
    page.get_by_role("link", name="Whole day").click()
    expect(page.get_by_role("button", name="End the permission for scratch.example")).to_be_visible()
    page.get_by_label("Who").select_option("mia")
    page.get_by_role("button", name="Pause the internet").click()
    page.get_by_role("button", name="Resume").first.click()
    expect(page.locator("#pause-title")).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)
    page.get_by_role("link", name="Activity", exact=True).click()
    page.get_by_label("Search").fill("www.bet.example")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("bet.example").first).to_be_visible()
    context.close()


def test_the_keyboard_reaches_the_content_first_and_every_answer(chromium, filled):
    page = chromium.new_page()
    page.goto(filled.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    names = []
    for _ in range(30):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
        )
    assert {"Allow an hour", "Deny scratch.example", "Other answers: scratch.example", "Pause mia"} <= set(names)
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
    assert all("Requested" not in frame.content() for frame in page.frames)
    page.get_by_role("button").click()
    page.wait_for_url(f"{filled.url}/requests/1/approve")
    assert "not sent from a page of Hedgerow" in page.content()
    assert filled.ledger.request(1).state == "open"
    page.close()


def test_the_guide_and_a_change_by_keyboard_alone(chromium, new_web):
    new_web.policy_path.unlink()
    page = chromium.new_page(timezone_id="UTC")
    page.goto(new_web.url)
    assert page.url.endswith("/start")
    for text, key in ((SETUP_CODE, "Tab"), ("Ana", "Tab"), ("four words and more", "Enter")):
        page.keyboard.type(text)
        page.keyboard.press(key)
    page.wait_for_url("**/start/place")
    assert page.evaluate("document.activeElement.name") == "country"
    page.keyboard.type("P")
    page.get_by_role("button", name="Continue").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/start/people")
    page.locator("[name=name-1]").focus()
    page.keyboard.type("mia")
    page.keyboard.press("Tab")
    page.keyboard.type("9")
    page.keyboard.press("Enter")  # to the next person
    page.get_by_role("button", name="Continue").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/start/connect")
    until_policy_says(page, new_web, "age: 9")
    page.goto(f"{new_web.url}/people/mia/topics")
    games = page.get_by_role("switch", name="Games", exact=True)
    assert games.get_attribute("aria-checked") == "true"
    games.focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").first.wait_for()
    assert page.get_by_role("switch", name="Games").get_attribute("aria-checked") == "false"
    until_policy_says(page, new_web, "block: [games]")
    page.get_by_role("button", name="Undo").focus()
    with page.expect_navigation(url="**/people/mia/topics?*"):
        page.keyboard.press("Enter")
    assert "games" not in new_web.policy_path.read_text()
    page.close()


def test_ask_and_answer_across_two_browsers(chromium, filled):
    parent, child = chromium.new_context(), chromium.new_context()
    theirs, mine = child.new_page(), parent.new_page()
    theirs.goto(f"{filled.url}/device")
    expect(theirs.get_by_text("waiting for an answer")).to_be_visible()
    mine.goto(filled.url)
    mine.get_by_text("Other answers").click()
    mine.get_by_role("button", name="For today").click()
    theirs.reload()
    expect(theirs.get_by_text("yes", exact=True)).to_be_visible()
    expect(theirs.get_by_text("scratch.example").first).to_be_visible()
    parent.close()
    child.close()


def test_a_sheet_of_vouchers_is_printed_dark_on_light_without_the_menu(chromium, web):
    fill(web)
    context = chromium.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(f"{web.url}/counter")
    page.get_by_role("button", name="Create a sheet to print").click()
    page.wait_for_selector(".vouchers")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".top, .foot").filter(visible=True).count()
    assert page.evaluate("getComputedStyle(document.querySelector('.vouchers b')).color") == "rgb(28, 36, 29)"
    context.close()
