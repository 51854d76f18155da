"""The jobs of a parent, done by touch on a phone in Chromium with a running Hedgerow: what counts is what the apps and
the browser on the children's devices get afterwards, in a home with DNS only and in one with proxy and certificate.

The tables in docs/parent-jobs.md are written by these tests: HEDGEROW_WRITE_DOCS=1 writes them. The last one, of what a
child and a parent do together, is written by the tests of `wishes` and `agreement` on phones.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from parent_jobs import BOTH, DNS_ONLY, WITH_CERTIFICATE, Child, Hand, Home, running_home
from parent_jobs.home import BENS_PHONE, NEW_DEVICE, OPEN_SITE, PATIENCE, real_app
from parent_jobs.side_by_side import DOCUMENT, TOGETHER
from playwright.sync_api import BrowserContext, expect
from simulated_apps import SimulatedApp
from small_internet import SmallInternet
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.clients import curl, ticket_in
from small_internet.running import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium")]
HEAD = """# What a parent does, and what it takes

Each job is done by a test by touch, in Chromium at the size of a phone (390 × 844), signed in, beginning on *Today*, against a running Hedgerow. It
counts as done once the child's device shows it: simulated apps with their real hosts, or the child's browser. A tap is a touch on a button,
link, switch or field; choosing in a list is two taps. Keystrokes are characters typed; a date is picked with three taps.

The guide of the first start comes before: from the QR code to *Today*, a family of four needs 13 taps and 25 keystrokes
([what each step takes](first-day.md#how-long-it-takes)). A parent with two children needs 11 taps and 22 keystrokes, whether nothing is connected yet, the
router hands out Hedgerow's address, or one device was set by hand. A phone that changes its MAC address meanwhile signs in again: 3 taps and 13 keystrokes more.
What the router needs comes on top.

*DNS* is enough for all jobs that name nothing else. What closes or opens something is tried on a tablet that uses Hedgerow's DNS alone, and on a
laptop that also uses the proxy and trusts the certificate. An app or site that somebody has allowed by its name stays open at homework time.

| Job | Taps | Keystrokes | Needs | Way |
|---|---|---|---|---|
"""  # noqa: E501
WITHOUT = """
## With DNS only

DNS sees names of sites and no pages. So in a home without the proxy and the certificate,

| Job | what happens, and what the page says |
|---|---|
"""
BESIDE = """
## A child and a parent together

Done by touch on two phones side by side, the child's with its own page open and the parent's with *Today*. Nobody types anything. Reading takes no tap: an
open page shows what the other side has done. The rules are agreed on with the child first: it opens *Our rules* and says yes there, and the parent on *Today*.

| Job | The child's taps | The parent's taps |
|---|---|---|
"""  # noqa: E501
SAYS = {
    "Close YouTube Shorts": (
        "The rule is saved, and nothing is closed",
        "does not work yet on tablet: pages are not checked there",
    ),
    "Only one YouTube channel": (
        "The form is refused, and YouTube stays as it is",
        "This needs a device whose pages are inspected: install the certificate, then switch it on at Devices.",
    ),
    "Find out how to install the certificate": (
        "It can be installed, and changes nothing",
        "It has an effect only on devices that also use Hedgerow's proxy",
    ),
}
"""Jobs that have no effect with DNS only: the result, and the sentence of the page."""

DNS, FULL = "DNS", "proxy and certificate"


@dataclass(frozen=True, slots=True)
class Job:
    """A job: what it needs, the way to it, and the function that does it and checks the outcome.

    `children` are those for whom it is done. None: it is about no child.
    """

    way: str
    needs: str
    do: Callable[..., None]
    children: tuple[Child | None, ...]


JOBS: dict[str, Job] = {}


def job(name: str, way: str, needs: str = DNS, children: tuple[Child | None, ...] = BOTH) -> Callable[..., None]:
    def register(do: Callable[..., None]) -> None:
        JOBS[name] = Job(way, needs, do, children)

    return register


@job("Add a second child", "People, Today", children=(None,))
def add_a_child(hand: Hand, home: Home) -> None:
    """With a tablet, which has been at home for a while and has the rules of unknown devices until then."""
    home.addresses(NEW_DEVICE, OPEN_SITE)
    hand.go("People")
    hand.enter(hand.page.get_by_role("textbox", name="Name"), "Zoe")
    hand.enter(hand.page.get_by_role("textbox", name="Age"), "17")
    hand.button("Add")
    hand.said("Zoe added.")
    assert home.addresses(NEW_DEVICE, "www.facebook.com") == ["0.0.0.0"]
    row = hand.page.locator("article.newdevice", has_text=NEW_DEVICE)
    hand.go("Today")
    hand.unfold("Whose is it?")
    hand.tap(row.get_by_role("button", name=re.compile("Zoe")).first)
    wait_until(lambda: home.addresses(NEW_DEVICE, "www.facebook.com") != ["0.0.0.0"], PATIENCE, "17 years' rules")
    assert home.addresses(NEW_DEVICE, "www.pornhub.com") == ["0.0.0.0"]


@job("An hour of a game", "Activity")
def open_a_game(hand: Hand, home: Home, child: Child) -> None:
    home.await_closed(child, "roblox")
    row = hand.page.locator("summary", has_text="Roblox")
    hand.await_on_page(row, f"{home.running.web}/log?person={child.name}")
    hand.page.goto(home.running.web)
    hand.go("Activity")
    hand.unfold("Roblox")
    allow = hand.page.locator("summary", has_text="Allow this").locator("visible=true")
    hand.tap(allow.nth(0))
    hand.tap(hand.page.get_by_role("button", name="An hour").locator("visible=true").first)
    hand.page.wait_for_url(re.compile("done="))
    hand.said("Roblox open for ")
    home.await_open(child, "roblox")


@job("Find out why a site does not work", "Activity, why it does not work", children=(DNS_ONLY,))
def explain_a_site(hand: Hand, home: Home, child: Child) -> None:
    home.await_closed(child, "reddit")
    hand.go("Activity")
    hand.enter(hand.page.get_by_label("Site, service or app"), "reddit.com")
    hand.choose(hand.page.get_by_label("Person or device"), child.name)
    hand.button("Explain")
    hand.said("Blocked lately")
    hand.said("Reddit is closed here.")


@job("TikTok closed until Christmas", "People, the child, own rules")
def close_until_christmas(hand: Hand, home: Home, child: Child) -> None:
    home.await_open(child, "tiktok")
    now = datetime.fromtimestamp(home.clock.now(), UTC)
    eve = datetime(now.year + (now.month == 12 and now.day > 20), 12, 24, tzinfo=UTC)
    hand.go("People", child.name)
    hand.open("Own rules")
    hand.enter(hand.page.get_by_label("Site, service or topic"), "TikTok")
    hand.pick_date(hand.page.get_by_label("Until the end of"), f"{eve:%Y-%m-%d}")
    hand.tap(hand.page.locator("#sites").get_by_role("button", name="Block"))
    hand.said(f"TikTok closed for {child.name} until {eve:%Y-%m-%d}.")
    home.await_closed(child, "tiktok")
    christmas = f"{eve + timedelta(hours=36):%Y-%m-%dT%H:%M}"
    explained = home.run("explain", child.device, "www.tiktok.com", "--at", christmas)
    assert not re.search("^block", explained, re.M), explained


@job("Close YouTube Shorts", "People, the child, services", FULL)
def close_shorts(hand: Hand, home: Home, child: Child) -> None:
    home.await_open(child, "youtube")
    hand.go("People", child.name)
    hand.open("Services")
    hand.tap(hand.page.get_by_role("link", name="Video"))
    hand.tap(hand.page.get_by_role("switch", name=re.compile("YouTube Shorts")))
    hand.said("YouTube Shorts")
    expect(hand.page.locator("#switch-youtube-shorts button")).to_have_attribute("aria-checked", "false")
    if child is DNS_ONLY:
        hand.said(SAYS["Close YouTube Shorts"][1])
    else:
        shorts = "/shorts/some-video1"
        wait_until(lambda: home.fetch(child, "www.youtube.com", shorts).status == 403, PATIENCE, "Shorts are closed")
        assert home.fetch(child, "www.youtube.com", "/watch?v=some-video1").status == 200
    home.await_open(child, "youtube")


@job("Only one YouTube channel", "People, the child, protection", FULL)
def choose_a_channel(hand: Hand, home: Home, child: Child) -> None:
    chosen, other = "UC" + "a" * 22, "UC" + "b" * 22
    home.await_open(child, "youtube")
    hand.go("People", child.name)
    hand.open("Protection")
    hand.enter(hand.page.get_by_label("Channel, or address of a channel or video"), chosen)
    hand.tap(hand.page.locator("#youtube").get_by_role("button", name="Add"))
    if child is DNS_ONLY:
        hand.said(SAYS["Only one YouTube channel"][1])
        home.await_open(child, "youtube")
    else:
        hand.said(f"at YouTube open for {child.name}.")
        wait_until(lambda: watch(home, child, other) == 403, PATIENCE, "the other channel is closed")
        assert watch(home, child, chosen) == 200


def watch(home: Home, child: Child, channel: str) -> int:
    """Return the status of a video of a channel."""
    details = {"videoId": "some-video1", "title": "Clay birds", "channelId": channel}
    player = {"playabilityStatus": {"status": "OK"}, "videoDetails": details}
    page = f"<!doctype html><script>var ytInitialPlayerResponse = {json.dumps(player)};</script>".encode()
    data = base64.urlsafe_b64encode(page).decode()
    path = f"/watch?v=some-video1&type={quote('text/html')}&data={data}"
    return home.fetch(child, "www.youtube.com", path).status


@job("Approve a request for an hour", "Today")
def approve(hand: Hand, home: Home, child: Child) -> None:
    """Asked for on the block page, or with DNS only on the child's own page. Both say then that it is open."""
    home.await_closed(child, "minecraft")
    if child.has_certificate:
        page = home.fetch(child, "www.minecraft.net", scheme="http")
        form = {"url": home.internet.url("www.minecraft.net", "/", "http"), "ticket": ticket_in(page.text), "note": ""}
        options = [word for name, value in form.items() for word in ("--data-urlencode", f"{name}={value}")]
        assert ask(home, child, options) == 200
    else:
        with home.browser(child.address) as browser:
            assert browser.post("/device/ask", data={"site": "Minecraft"}).status_code == 303
    card = hand.page.get_by_role("form", name="Allow Minecraft", exact=True)
    card.first.wait_for(timeout=PATIENCE * 1000)
    hand.tap(card.get_by_role("button", name="Allow an hour").first)
    hand.said(f"Minecraft open for {child.name} until ")
    home.await_open(child, "minecraft")
    assert re.search(r"Minecraft</bdi></b> is open until ", home.own_page(child))


def ask(home: Home, child: Child, options: list[str]) -> int:
    url = home.internet.url("www.minecraft.net", "/.well-known/hedgerow/ask", "http")
    origin = url.removesuffix("/.well-known/hedgerow/ask")
    return curl(
        url, proxy=home.running.proxy, source=child.address, headers=[f"Origin: {origin}"], options=options
    ).status


def watch_for_a_minute(home: Home, child: Child) -> None:
    """Watch a film until the minute is used up. A device that asks for a single name in a minute is not in use."""
    app = SimulatedApp("youtube", real_app("youtube").hosts[:2])
    wait_until(lambda: len(app.unreached(home.reach(child))) == len(app.hosts), PATIENCE, "the minute is used up")


@job("15 minutes more", "Today", "DNS and a daily limit")
def fifteen_more(hand: Hand, home: Home, child: Child) -> None:
    """The limit of a minute is used up by watching a film."""
    home.reset({f"{child.name}: {{": f"{child.name}: {{budget: 1m, "})
    watch_for_a_minute(home, child)
    home.await_closed(child, OPEN_SITE)
    more = hand.page.get_by_role("button", name=f"15 minutes extra for {child.name}")
    hand.await_on_page(more, home.running.web)
    hand.tap(more)
    hand.said(f"15 more minutes for {child.name} today.")
    home.await_open(child, OPEN_SITE)


@job("Give fewer minutes than a child asks for", "Today; the child asks with one tap", children=(DNS_ONLY,))
def give_fewer(hand: Hand, home: Home, child: Child) -> None:
    home.reset({f"{child.name}: {{": f"{child.name}: {{budget: {{youtube: 1m}}, "})
    watch_for_a_minute(home, child)
    asked = {"kind": "minutes", "minutes": "30", "subject": "youtube"}
    with home.browser(child.address) as browser:
        assert browser.post("/device/wish", data=asked).status_code == 303
    fewer = hand.page.get_by_role("button", name="Only 15 min")
    fewer.wait_for(timeout=PATIENCE * 1000)
    hand.tap(fewer)
    hand.said(f"15 more minutes for {child.name} today.")
    home.await_open(child, "www.youtube.com")
    assert "You got 15 more minutes." in home.own_page(child)


@job("Say yes to a later bedtime", "Today; the child asks with one tap", children=(DNS_ONLY,))
def later_bedtime(hand: Hand, home: Home, child: Child) -> None:
    now = datetime.fromtimestamp(home.clock.now(), UTC)
    night = f"{now - timedelta(minutes=10):%H:%M}-{now + timedelta(hours=2):%H:%M}"
    home.reset({f"{child.name}: {{": f'{child.name}: {{bedtime: "{night}", '})
    home.await_closed(child, OPEN_SITE)
    with home.browser(child.address) as browser:
        assert browser.post("/device/wish", data={"kind": "bedtime", "minutes": "30"}).status_code == 303
    yes = hand.page.get_by_role("button", name=f"Yes: {child.name}")
    yes.wait_for(timeout=PATIENCE * 1000)
    hand.tap(yes)
    hand.said(f"{child.name}'s bedtime is later: open until ")
    home.await_open(child, OPEN_SITE)


@job("Say yes to the rules with a child", "People, the child, our rules", children=(DNS_ONLY,))
def agree(hand: Hand, home: Home, child: Child) -> None:
    hand.go("People", child.name, f"Our rules with {child.name}")
    hand.button("Yes, we agree")
    hand.said(f"You have said yes. Now it is {child.name}'s turn.")
    assert "Your parents have said yes. Now it is your turn." in home.own_page(child)


@job("Pause everybody for dinner", "Today")
def pause_for_dinner(hand: Hand, home: Home, child: Child) -> None:
    home.await_open(child, OPEN_SITE)
    hand.button("Pause all")
    hand.said("The internet is paused for everybody")
    home.await_closed(child, OPEN_SITE)
    assert home.addresses(child.address, "www.childline.org.uk") != ["0.0.0.0"]


@job("See what a child did today", "People, the child", children=(WITH_CERTIFICATE,))
def see_the_day(hand: Hand, home: Home, child: Child) -> None:
    home.await_open(child, "youtube")
    hand.await_on_page(hand.page.locator("summary", has_text="YouTube"), f"{home.running.web}/log?person={child.name}")
    hand.page.goto(home.running.web)
    hand.go("People", child.name)
    hand.go("What happened")
    hand.said("YouTube")
    assert f"person={child.name}" in hand.page.url


@job("See why something was blocked", "Today, what was blocked", children=(DNS_ONLY,))
def see_why(hand: Hand, home: Home, child: Child) -> None:
    home.await_closed(child, "reddit")
    hand.await_on_page(hand.page.get_by_role("link", name=re.compile("^Blocked")), home.running.web)
    hand.tap(hand.page.get_by_role("link", name=re.compile("^Blocked")))
    hand.tap(hand.page.get_by_role("link", name="Why?").first)
    hand.said("Why")
    assert "/why" in hand.page.url


@job("Read the weekly report", "More", children=(None,))
def read_the_report(hand: Hand, home: Home) -> None:
    home.await_open(DNS_ONLY, "youtube")
    hand.go("More", "The week at home")
    hand.said("Mia", "Tom")


@job("Undo the last change", "the bar after a change", children=(DNS_ONLY,))
def undo(hand: Hand, home: Home, child: Child) -> None:
    home.await_closed(child, "roblox")
    hand.go("People", child.name)
    hand.open("Own rules")
    hand.button("Remove the rule for Roblox")
    hand.said(f"The rule for Roblox removed for {child.name}.")
    home.await_open(child, "roblox")
    taps, keys = hand.taps, hand.keys
    hand.button("Undo")
    hand.said(f"Undone: The rule for Roblox removed for {child.name}.")
    home.await_closed(child, "roblox")
    hand.taps, hand.keys = hand.taps - taps, hand.keys - keys


@job("Rename a device", "Devices, the card", children=(WITH_CERTIFICATE,))
def rename_a_device(hand: Hand, home: Home, child: Child) -> None:
    home.await_closed(child, "roblox")
    hand.go("Devices")
    card = hand.page.locator(f"#device-{child.device}")
    hand.tap(card.locator("summary", has_text="Change"))
    hand.enter(card.get_by_label("Name"), "playroom")
    hand.tap(card.get_by_role("button", name="Save"))
    hand.said(f"{child.device} is now called playroom.")
    wait_until(lambda: "playroom" in home.own_page(child), PATIENCE, "the new name")
    home.await_closed(child, "roblox")


@job("Make a device a guest's", "Devices, the card", children=(WITH_CERTIFICATE,))
def make_a_guest(hand: Hand, home: Home, child: Child) -> None:
    home.await_closed(child, "roblox")
    hand.go("Devices")
    card = hand.page.locator(f"#device-{child.device}")
    hand.tap(card.locator("summary", has_text="Change"))
    hand.choose(card.get_by_label("Belongs to"), "Guest with their own device")
    hand.tap(card.get_by_role("button", name="Save"))
    hand.said(f"{child.device} changed.")
    home.await_open(child, "roblox")
    home.await_closed(child, "www.pornhub.com")


@job("Erase what is stored about a child", "People, the child, about", children=(DNS_ONLY,))
def erase(hand: Hand, home: Home, child: Child) -> None:
    home.await_closed(child, "reddit")
    hand.await_on_page(hand.page.locator("summary", has_text="Reddit"), f"{home.running.web}/log?person={child.name}")
    hand.page.goto(home.running.web)
    hand.go("People", child.name)
    hand.open("About")
    hand.button("Erase")
    hand.said("These stay: rules")
    hand.button("Erase")
    hand.said("What was stored about")
    hand.page.goto(f"{home.running.web}/log?person={child.name}")
    hand.said("Nothing to show")
    home.await_closed(child, "reddit")


@job("Find out how to install the certificate", "More", FULL)
def find_the_certificate(hand: Hand, home: Home, child: Child) -> None:
    """The child's device gets the file that the page offers, and trusts it."""
    home.reset({"block: [roblox": "block: [youtube-shorts, roblox"})
    hand.go("More", "Certificate")
    hand.said("Hedgerow network CA", SAYS["Find out how to install the certificate"][1])
    with home.browser(child.address) as browser:
        proxy = f"{home.running.proxy[0]}:{home.running.proxy[1]}"
        assert proxy in browser.get(hand.page.get_by_text("/proxy.pac").inner_text()).text
        home.running.directory.joinpath("got.pem").write_bytes(browser.get("/certificate/hedgerow-ca.pem").content)
    if child.has_certificate:
        page = home.fetch(child, "www.youtube.com", ca=home.running.directory / "got.pem")
        assert (page.exit_code, page.status) == (0, 200)


@job("Invite the other parent", "More, Settings", children=(None,))
def invite_the_other_parent(hand: Hand, home: Home) -> None:
    """Ben's phone scans the code, is his own then, and opens Today."""
    hand.go("More", "Settings")
    card = hand.page.get_by_role("region", name="Invite the other parent")
    expect(card.get_by_label("Name")).to_have_value("Ben")
    hand.tap(card.get_by_role("button", name="Invite"))
    expect(hand.page.get_by_role("img", name="QR code of the invitation")).to_be_visible()
    code = (hand.page.locator("details code").text_content() or "").partition("#")[2]
    with home.browser(BENS_PHONE) as phone:
        accepted = phone.post("/invitation", data={"code": code, "password": "quiet hedgehog on a wall", "own": "yes"})
        assert accepted.status_code == 303, accepted.text[:500]
        wait_until(lambda: phone.get("/").status_code == 200, PATIENCE, "Ben sees Today")
        assert phone.post("/pause", data={"person": "Mia"}).status_code == 303
    home.await_closed(DNS_ONLY, OPEN_SITE)


@job("Change one's own password", "More, the account", children=(None,))
def change_the_password(hand: Hand, home: Home) -> None:
    hand.go("More", "owner")
    hand.enter(hand.page.get_by_label("Current password"), home.password)
    hand.enter(hand.page.get_by_label("New password"), "four more words then")
    hand.button("Change")
    hand.page.wait_for_url("**/sign-in*")
    taps, keys = hand.taps, hand.keys
    for password in (home.password, "four more words then"):
        hand.page.locator("[name=name]").fill("owner")
        hand.page.locator("[name=password]").fill(password)
        with hand.page.expect_navigation():
            hand.page.locator("main form button.yes, main form button").first.tap()
    hand.page.wait_for_url(re.compile(rf"^{home.running.web}/(\?.*)?$"))
    hand.taps, hand.keys = taps, keys


@job("Homework time on school days", "People, the child, weekly times, a preset")
def set_homework(hand: Hand, home: Home, child: Child) -> None:
    """At half past three on the next school day, games are closed, and other sites are not."""
    home.reset({"block: [roblox, minecraft, reddit], allow: [tiktok, youtube]": "block: [reddit]"})
    home.await_open(child, "roblox")
    hand.go("People", child.name)
    hand.open("Other weekly times")
    hand.button(re.compile("Homework"))
    hand.said(f"Homework set for {child.name}.")
    home.clock.set_local(next_weekday(home, 15.5, range(5)))
    home.await_closed(child, "roblox")
    home.await_open(child, OPEN_SITE)
    home.clock.set_local(next_weekday(home, 17.5, range(5)))
    home.await_open(child, "roblox")


@job("School nights", "People, the child, bedtime, a preset")
def set_bedtime(hand: Hand, home: Home, child: Child) -> None:
    hand.go("People", child.name)
    hand.open("Bedtime")
    hand.button(re.compile("School nights"))
    hand.said(f"School nights set for {child.name}.")
    home.clock.set_local(next_weekday(home, 22.5, (0, 1, 2, 3)))
    home.await_closed(child, OPEN_SITE)
    home.clock.set_local(next_weekday(home, 12, range(5)))
    home.await_open(child, OPEN_SITE)


def next_weekday(home: Home, hour: float, days: range | tuple[int, ...]) -> datetime:
    """Return the next instant at this hour on one of some days of the week (Monday is 0)."""
    now = datetime.fromtimestamp(home.clock.now(), UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moments = (midnight + timedelta(days=day, hours=hour) for day in range(8))
    return next(each for each in moments if each > now and each.weekday() in days)


@pytest.fixture(scope="module")
def home(whole_internet: SmallInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(whole_internet, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def phone(home: Home) -> Iterator[BrowserContext]:
    """The parent's phone, signed in."""
    with browser_for_pages() as chromium:
        context = chromium.new_context(
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="en"
        )
        cookies = home.running.cookies
        context.add_cookies(
            [{"name": name, "value": value, "url": home.running.web} for name, value in cookies.items()]
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[int, int]]:
    return {}


CASES = [(name, child) for name, job in JOBS.items() for child in job.children]


@pytest.mark.parametrize(("name", "child"), CASES, ids=lambda each: getattr(each, "device", each))
def test_job(
    home: Home, phone: BrowserContext, measured: dict[str, tuple[int, int]], name: str, child: Child | None
) -> None:
    home.reset()
    with phone.new_page() as page:  # one that stays listens to the server for the next test
        page.set_default_timeout(30_000)
        page.goto(home.running.web)
        hand = Hand(page)
        JOBS[name].do(hand, home, *([child] if child is not None else []))
    done = hand.taps, hand.keys
    assert measured.setdefault(name, done) == done, "it takes the same on both devices"
    if not os.environ.get("HEDGEROW_WRITE_DOCS"):
        assert row(name, *done) in DOCUMENT.read_text(encoding="utf-8").splitlines()


def row(name: str, taps: int, keys: int) -> str:
    return f"| {name} | {taps} | {keys} | {JOBS[name].needs} | {JOBS[name].way} |"


def test_the_document_has_these_jobs(measured: dict[str, tuple[int, int]]) -> None:
    tail = WITHOUT + "".join(f"| {name} | {what}: *{said}* |\n" for name, (what, said) in SAYS.items()) + BESIDE
    text = DOCUMENT.read_text(encoding="utf-8")
    together = text.partition(BESIDE)[2] or "".join(f"| {name} |\n" for name in TOGETHER)
    if os.environ.get("HEDGEROW_WRITE_DOCS"):
        rows = [row(name, *measured[name]) for name in JOBS]
        text = HEAD + "\n".join(rows) + "\n" + tail + together
        DOCUMENT.write_text(text, encoding="utf-8")
    assert text.startswith(HEAD)
    assert text.endswith(tail + together)
    for found, jobs in ((text.removeprefix(HEAD).removesuffix(tail + together), tuple(JOBS)), (together, TOGETHER)):
        assert tuple(line.split(" | ")[0].removeprefix("| ") for line in found.splitlines()) == jobs
    assert {name for name, job in JOBS.items() if job.needs == FULL} == set(SAYS)
