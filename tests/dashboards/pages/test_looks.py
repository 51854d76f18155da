"""Small things that look unfinished: fields that grow, empty width, cut-off texts, and marks of the browser's own."""

import re

import httpx
import pytest
from playwright.sync_api import expect
from web_server.household import PAGES, fill

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.pages.people import PARTS
from hedgerow.policies.model import DeviceId

HOMEWORK = 'tom: {age: 15, schedules: {homework: {block: [games], when: {school-days: "15:00-17:00"}}},'


@pytest.fixture
def home(web):
    fill(web)
    web.policy_path.write_text(web.policy_path.read_text().replace("tom: {age: 15,", HOMEWORK))
    return web


@pytest.fixture
def phone(chromium):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="en")
    page = context.new_page()
    yield page
    context.close()


@pytest.mark.browser
def test_no_field_grows_when_its_neighbour_is_refused(phone, home):
    phone.goto(f"{home.url}/start/people")
    row = phone.locator(".pair").nth(1)
    name, age = row.locator("input[name^=name]"), row.locator("input[name^=age]")
    before = name.bounding_box()["height"]
    name.fill("Leo")
    age.evaluate("each => each.removeAttribute('pattern')")
    age.fill("eight")
    phone.get_by_role("button", name="Continue").click()
    expect(phone.locator(".mistake")).to_be_visible()
    assert name.bounding_box()["height"] == pytest.approx(before, abs=1)


@pytest.mark.browser
def test_devices_use_the_width_of_a_desktop(chromium, home):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{home.url}/devices")
    boxes = [each.bounding_box() for each in page.locator("li.device").all()]
    inside = page.locator("section", has=page.locator(".devicegroups")).bounding_box()
    reached = max(box["x"] + box["width"] for box in boxes) - min(box["x"] for box in boxes)
    assert reached > 0.9 * inside["width"]
    page.close()


@pytest.mark.browser
def test_the_times_of_homework_are_whole_and_its_ends_large_enough(phone, home):
    phone.goto(f"{home.url}/people/tom/schedules")
    week = phone.locator("#schedules details[open] .weekgrid")
    times = week.locator(".track .times").first
    expect(times).to_have_text("15:00–17:00")
    assert times.evaluate("each => each.scrollWidth <= each.clientWidth")
    track, text = week.locator(".track").first.bounding_box(), times.bounding_box()
    assert track["x"] <= text["x"]
    assert text["x"] + text["width"] <= track["x"] + track["width"]
    ends = [each.bounding_box() for each in week.locator(".track").first.locator(".handle").all()]
    assert min(end["width"] for end in ends) >= 24
    assert ends[0]["x"] + ends[0]["width"] <= ends[1]["x"] + 0.5, "one does not cover the other"


@pytest.mark.browser
@pytest.mark.parametrize(
    "path", ["/", "/day", "/people/tom", *(f"/people/tom/{part}" for part in PARTS), "/devices", "/log", "/lists"]
)
def test_folds_have_one_mark_and_not_the_browsers_own(phone, home, path):
    phone.goto(home.url + path)
    marks = phone.evaluate(
        "[...document.querySelectorAll('main summary')].filter(each => getComputedStyle(each).listStyleType !== 'none')"
        ".map(each => each.textContent.trim())"
    )
    assert marks == []


@pytest.mark.browser
def test_a_card_of_today_has_one_fold(phone, home):
    phone.goto(home.url)
    for card in phone.locator(".child, .request").all():
        assert card.locator("summary").count() <= 1


@pytest.mark.parametrize(("code", "said"), [("de", "Hausaufgaben"), ("es", "deberes"), ("pl", "praca domowa")])
def test_a_childs_homework_is_in_the_childs_language(home, code, said):
    home.control.devices["127.0.0.1"] = DeviceView(DeviceId("tom-phone"), "tom", "teen-13-15")
    with httpx.Client(
        base_url=home.url, headers={"accept-language": code}, trust_env=False, timeout=60, verify=False
    ) as child:
        page = child.get("/device").text
    assert re.search(rf"<dt><bdi>{said}</bdi></dt>", page)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("link", "heading"),
    [
        ("The week at home", "The week at home"),
        ("What to tell the children", "What to tell the children"),
        ("Help", "Help"),
    ],
)
def test_more_leads_to_the_report_the_sheet_and_help_and_back(phone, home, link, heading):
    phone.goto(home.url)
    phone.get_by_role("link", name="More").click()
    phone.get_by_role("main").get_by_role("link", name=link).click()
    expect(phone.get_by_role("heading", level=1)).to_contain_text(heading)
    phone.get_by_role("navigation", name="Pages").get_by_role("link", name="Today").click()
    expect(phone.get_by_role("button", name="Pause all")).to_be_visible()


def test_the_page_of_services_is_light_until_a_group_is_opened(home):
    with httpx.Client(base_url=home.url, trust_env=False, timeout=60, verify=False) as client:
        page, group = (client.get(f"/people/mia/services{query}").text for query in ("", "?group=video"))
        every = client.get("/people/mia/services?switch=tiktok").text
    assert len(page.encode()) < 60_000
    assert len(re.findall("<[a-z]", page)) < 800
    assert 'role="switch"' not in page
    assert 'id="switch-youtube-shorts"' in group
    assert 'id="switch-tiktok"' in every, "the switch that an address names"


JARGON = re.compile(r"\b(DNS|proxy|resolver|YAML|policy file|in the policy)\b", re.IGNORECASE)
EVERYDAY = (
    *("/", "/day", "/people", "/people/mia", "/log", "/report", "/devices", "/more", "/help", "/account", "/device"),
    *(f"/people/mia/{part}" for part in PARTS),
    *("/why?device=mia-tablet&target=x.example", "/start/people", "/start/devices"),
)


def test_pages_of_every_day_speak_a_parents_words(home):
    """What an admin wants to know is behind Details."""
    with httpx.Client(base_url=home.url, trust_env=False, timeout=60, headers={"accept-language": "en"}) as parent:
        for path in EVERYDAY:
            page = parent.get(path).text.partition("<main")[2].partition("</main>")[0]
            shown = re.sub(r"<details(?! open).*?</details>", "", page, flags=re.DOTALL)
            found = JARGON.search(re.sub(r"<[^>]+>|Dynamic DNS", " ", shown))  # the name of a topic
            assert found is None, (path, shown[max(0, shown.find(found[0]) - 100) :][:200])


def test_each_page_has_one_highlighted_entry_in_the_navigation(home):
    """On a phone one of the bar or *More*, on a wide screen that, or a link that is behind *More* on phones."""
    wrong = {}
    with httpx.Client(base_url=home.url, trust_env=False, timeout=60) as parent:
        for page in PAGES:
            text = parent.get(page).text
            if 'class="has-nav"' not in text:
                continue
            entries = re.findall(r"<li([^>]*)><a href=\"([^\"]*)\"( aria-current)?", text.partition("</nav>")[0])
            current = [(kind, href) for kind, href, is_current in entries if is_current]
            phone = [href for kind, href in current if "extra" not in kind]
            wide = [href for kind, href in current if "rest" not in kind or "alone" in kind]
            if len(phone) != 1 or len(wide) != 1:
                wrong[page] = phone, wide
    assert wrong == {}


@pytest.mark.parametrize(
    ("page", "entry"),
    [("/help", "/more"), ("/account", "/more"), ("/day", "/"), ("/why?row=1", "/log"), ("/certificate", "/devices")],
)
def test_a_page_without_a_link_belongs_to_the_one_that_leads_there(home, page, entry):
    text = httpx.get(home.url + page, trust_env=False, timeout=60).text.partition("</nav>")[0]
    current = re.findall(r'href="([^"]*)" aria-current', text)
    assert entry in current
    assert set(current) <= {entry, "/more"}


SLIPS = """() => {
  for (const each of document.querySelectorAll('main details')) each.open = true;
  const found = [];
  const shown = (each) => each.getBoundingClientRect().height > 1;
  const fields = 'input:not([type=hidden], [hidden]), select, button, textarea';
  for (const form of document.querySelectorAll('main form')) {
    const all = [...form.querySelectorAll(fields)].filter(shown);
    for (const field of all.filter((each) => each.matches('input:not([type=checkbox], [type=radio]), select'))) {
      const at = field.getBoundingClientRect();
      const middle = (box) => (box.top + box.bottom) / 2;
      const row = all.filter((each) => Math.abs(middle(each.getBoundingClientRect()) - middle(at)) < 6);
      const before = row.map((each) => each.getBoundingClientRect());
      const problem = document.createElement('span');
      problem.className = 'mistake';
      problem.textContent = 'This is not right: type it as it is on the box, please.';
      (field.closest('.secret') ?? field).after(problem);
      const now = field.getBoundingClientRect();
      row.forEach((each, place) => {
        const box = each.getBoundingClientRect();
        const grown = Math.abs(box.height - before[place].height);
        const slipped = Math.abs((box.top - now.top) - (before[place].top - at.top));
        if (grown > 3 || slipped > 3) found.push([form.getAttribute('action'), field.name, each.name || each.textContent.trim(), Math.round(grown), Math.round(slipped)].join(' '));
      });
      problem.remove();
    }
  }
  return found;
}"""  # noqa: E501


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_no_field_slips_or_grows_beside_one_with_a_mistake(chromium, home, width):
    context = chromium.new_context(viewport={"width": width, "height": 844}, locale="en")
    page, found = context.new_page(), {}
    for path in PAGES:
        if path.startswith(("/people/tom", "/counter/report", "/changes", "/device/advice", "/start/children")):
            continue
        page.goto(home.url + path)
        if slips := page.evaluate(SLIPS):
            found[path] = slips
    context.close()
    assert found == {}
