"""Allowing means that the app works: each way of asking and allowing, for all hosts of an app, on all devices of the
child.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import httpx
import pytest
from dnslib import DNSRecord
from simulated_apps import Reach, SimulatedApp, app, by_dns, by_proxy, serve, usual_hosts
from small_internet import SmallInternet
from small_internet.clients import HttpAnswer, curl, ticket_in
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.host_facts import Services

TABLET, PHONE, LAPTOP = "127.0.0.2", "127.0.0.3", "127.0.0.4"
PATIENCE = 30.0
APPS = (
    "roblox",
    "tiktok",
    "instagram",
    "minecraft",
    "snapchat",
    "spotify",
    "discord",
    "reddit",
    "twitch",
    "pinterest",
    "tumblr",
)
OTHERS = sorted(usual_hosts().keys() - set(APPS))
"""All other services whose real hosts are known."""
IS_THOROUGH = "HEDGEROW_ALL_WAYS" in os.environ
"""Whether each of those is allowed by every way: 474 openings, some three minutes. Else every fifth by one way."""

ROUNDS, ADULTS = 6 if IS_THOROUGH else 1, 13
"""One adult may ask so often only."""

BLOCKED = f"block: [{', '.join(OTHERS)}]"
EVES = {f"eve-{number}": f"127.0.1.{1 + number}" for number in range(ROUNDS * ADULTS)}
"""Adults with a device each, for whom all of those are closed."""

NEWLINE = "\n"
PEOPLE = f"""
people:
{NEWLINE.join(f"  {name}: {{profile: adult, devices: [{name}s], {BLOCKED}}}" for name in EVES)}
  mia: {{age: 9, devices: [tablet, phone], block: [{", ".join(APPS)}]}}
  tom: {{age: 9, devices: [laptop], block: [{", ".join(APPS)}]}}
devices:
  tablet: {{ip: {TABLET}}}
  phone: {{ip: {PHONE}}}
  laptop: {{ip: {LAPTOP}}}
{NEWLINE.join(f"  {name}s: {{ip: {address}}}" for name, address in EVES.items())}
"""
ASK = "/.well-known/hedgerow/ask"


type Way = Callable[[House, str, str, str], None]
"""A way for an adult to ask for a service and to allow it. It takes the adult, the service and one of its hosts."""


def real_app(id: str) -> SimulatedApp:
    """Return the app with its real hosts. All names of all services are tried with the policy alone."""
    return app(id, usual_hosts()[id])


@dataclass(frozen=True, slots=True)
class House:
    """A running Hedgerow, and the internet in which the apps' hosts answer."""

    running: Hedgerow
    internet: SmallInternet

    def reach(self, source: str, *, through_proxy: bool = False) -> Reach:
        if through_proxy:
            return by_proxy(self.running.proxy, source, self.internet)
        return by_dns(self.running.dns, source)

    def await_app(self, app: SimulatedApp) -> None:
        """Wait until the app works on both of Mia's devices, by DNS and through the proxy, and check that Tom's has
        nothing of it.
        """
        for source in (TABLET, PHONE):
            wait_until(lambda at=source: app.works(self.reach(at)), PATIENCE, f"{app.id} works")  # type: ignore[misc]
            assert app.unreached(self.reach(source, through_proxy=True)) == []
        assert app.is_stopped(self.reach(LAPTOP))

    def command(self, *words: str) -> str:
        done = self.running.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def press(self, path: str, **form: str) -> str:
        """Send a form as the parent, and return the page to which it leads."""
        token = (self.running.state / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(
            base_url=self.running.web, headers=headers, trust_env=False, timeout=60, follow_redirects=True, verify=False
        ) as client:
            answer = client.post(path, data=form)
        assert answer.status_code == 200, answer.text
        return answer.text

    def api(self, path: str, **body: object) -> dict[str, object]:
        token = (self.running.state / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.post(
            f"{self.running.web}/api/v1{path}", json=body, headers=headers, trust_env=False, timeout=60, verify=False
        )
        assert answer.status_code < 300, answer.text
        found: dict[str, object] = answer.json()
        return found

    def ask_at_block_page(self, host: str, source: str = TABLET) -> HttpAnswer:
        """Press the button of a host's block page."""
        url = self.internet.url(host, "/", "http")
        ticket = ticket_in(self.fetch(url, source).text)
        return self.send(host, {"url": url, "ticket": ticket, "note": ""}, source)

    def fetch(self, url: str, source: str) -> HttpAnswer:
        return curl(url, proxy=self.running.proxy, source=source)

    def send(self, host: str, form: dict[str, str], source: str) -> HttpAnswer:
        """Send a form of a host's block page."""
        url = self.internet.url(host, ASK, "http")
        options = [word for name, value in form.items() for word in ("--data-urlencode", f"{name}={value}")]
        origin = url.removesuffix(ASK)
        return curl(url, proxy=self.running.proxy, source=source, headers=[f"Origin: {origin}"], options=options)

    def poll(self, asked: HttpAnswer, host: str, source: str = TABLET) -> HttpAnswer:
        """Follow the waiting page to what it leads to."""
        again = asked.headers["refresh"][0].partition("url=")[2]
        return self.fetch(self.internet.url(host, again, "http"), source)

    def requests(self, subject: str) -> list[dict[str, object]]:
        return [each for each in json.loads(self.command("requests", "--json")) if each["subject"] == subject]

    def request(self, subject: str) -> int:
        """Wait for the request that is about an app, and return its id."""
        (found,) = wait_until(lambda: self.requests(subject), PATIENCE, f"a request for {subject}")
        return int(str(found["id"]))


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[House]:
    for id in (*APPS, *(OTHERS if IS_THOROUGH else ())):
        serve(whole_internet, real_app(id))
    with running_hedgerow(
        network_section(whole_internet) + PEOPLE, upstream_authority=whole_internet.authority.root
    ) as running:
        yield House(running, whole_internet)


def test_allow_this_on_activity_opens_the_app(house: House) -> None:
    roblox = real_app("roblox")
    assert roblox.is_stopped(house.reach(TABLET))
    form = {
        "subject": "www.roblox.com",
        "reason": "service: roblox",
        "device": "tablet",
        "person": "mia",
        "for": "hour",
    }
    page = house.press("/grants/new", **form)
    assert "Roblox open for mia until " in page
    assert "/revoke" in page.partition('data-done="')[2].partition("</section>")[0], "it can be undone"
    house.await_app(roblox)


def test_approving_the_request_of_a_block_page_opens_the_app(house: House) -> None:
    tiktok = real_app("tiktok")
    asked = house.ask_at_block_page("www.tiktok.com")
    assert asked.status == 200, asked.text
    request = house.request("tiktok")
    page = house.press(f"/requests/{request}/approve", **{"for": "hour"})
    assert "TikTok open for mia until " in page
    told = house.poll(asked, "www.tiktok.com").text
    assert "TikTok is open until " in told
    house.await_app(tiktok)


def test_asking_by_name_on_the_childs_page_opens_the_app(house: House) -> None:
    instagram = real_app("instagram")
    own = ["--data-urlencode", "site=Instagram", "--location"]
    page = curl(f"{house.running.web}/device/ask", source=PHONE, headers=[f"Origin: {house.running.web}"], options=own)
    assert "You have asked for" in page.text
    request = house.request("instagram")
    said = house.command("requests", "--approve", str(request), "--for", "hour")
    assert said.startswith("Instagram open for mia until "), said
    house.await_app(instagram)
    page = curl(f"{house.running.web}/device", source=PHONE)
    assert "Instagram</bdi></b> is open until " in page.text
    other = curl(f"{house.running.web}/device", source=TABLET)
    assert "Instagram</bdi></b> is open until " in other.text, "on her other device too"


def test_two_requests_for_one_app_are_one_question_and_one_answer(house: House) -> None:
    """From two hosts, and from two devices."""
    pinterest = real_app("pinterest")
    first, _second, third = (
        house.ask_at_block_page(host, source)
        for host, source in (("www.pinterest.com", TABLET), ("api.pinterest.com", TABLET), ("i.pinimg.com", PHONE))
    )
    wait_until(lambda: [row["asked"] for row in house.requests("pinterest")] == [1, 2], PATIENCE, "the requests")
    page = house.press(f"/requests/{house.requests('pinterest')[0]['id']}/deny")
    assert "Pinterest stays closed for mia, who can read your answer." in page
    assert house.requests("pinterest") == []
    for asked, host, source in ((first, "www.pinterest.com", TABLET), (third, "i.pinimg.com", PHONE)):
        assert "The answer is no" in house.poll(asked, host, source).text
        assert "The answer is no: " in curl(f"{house.running.web}/device", source=source).text
    assert pinterest.is_stopped(house.reach(TABLET))


def test_a_code_for_a_request_opens_the_app(house: House) -> None:
    minecraft = real_app("minecraft")
    house.ask_at_block_page("www.minecraft.net")
    digits = str(house.api("/codes", request=house.request("minecraft"), how_long="hour")["digits"])
    url = house.internet.url("www.minecraft.net", "/", "http")
    form = {"url": url, "ticket": ticket_in(house.fetch(url, PHONE).text), "code": digits}
    assert "Minecraft is open until " in house.send("www.minecraft.net", form, PHONE).text, "at her other device"
    house.await_app(minecraft)


def test_a_code_for_a_site_opens_its_app(house: House) -> None:
    snapchat = real_app("snapchat")
    digits = house.api("/codes", person="mia", subject="www.snapchat.com", how_long="hour")["digits"]
    form = ["--data-urlencode", f"code={digits}", "--location"]
    page = curl(
        f"{house.running.web}/device/code", source=TABLET, headers=[f"Origin: {house.running.web}"], options=form
    )
    assert "Snapchat</bdi></b> is open until " in page.text
    house.await_app(snapchat)


def test_the_command_line_opens_the_app_or_only_the_address(house: House) -> None:
    spotify = real_app("spotify")
    house.command("grant", "mia", "open.spotify.com", "--only-address")
    alone = app("spotify", ["open.spotify.com"])
    wait_until(lambda: alone.works(house.reach(TABLET)), PATIENCE, "the address")
    assert app("spotify", ["api.spotify.com", "i.scdn.co"]).is_stopped(house.reach(TABLET))
    said = house.command("grant", "mia", "open.spotify.com")
    assert said.startswith("Spotify open for mia until "), said
    house.await_app(spotify)


def test_the_command_line_opens_a_dangerous_app_only_with_yes(house: House) -> None:
    assert house.ask_at_block_page("www.tinder.com", PHONE).status == 200
    request = str(house.request("tinder"))
    for words in (["grant", "tom", "tinder"], ["code", "--request", request], ["requests", "--approve", request]):
        refused = house.running.run(*words)
        assert refused.returncode == 2
        assert "tinder is closed for a reason: it belongs to dating. Add --yes" in refused.stderr
        assert not refused.stdout
    assert house.requests("tinder"), "nothing was answered"
    assert house.command("requests", "--approve", request, "--yes").startswith("Tinder open for mia until ")


def test_the_api_opens_the_app(house: House) -> None:
    discord = real_app("discord")
    grant = house.api("/grants", subject="cdn.discordapp.com", person="mia", how_long="hour")
    assert (grant["subject"], grant["person"], grant["device"]) == ("discord", "mia", None)
    house.await_app(discord)
    request = house.ask_at_block_page("www.reddit.com")
    assert request.status == 200
    grant = house.api(
        f"/requests/{house.request('reddit')}/approve", how_long="hour", only_address=True, only_device=True
    )
    assert (grant["subject"], grant["person"], grant["device"]) == ("www.reddit.com", None, "tablet")


def test_a_site_that_is_typed_on_the_persons_page_means_the_app(house: House) -> None:
    twitch = real_app("twitch")
    house.press("/people/mia/site", site="www.twitch.tv", stance="allow", sure="yes")
    house.await_app(twitch)
    house.press("/people/mia/site", site="gql.twitch.tv", stance="block")
    wait_until(lambda: twitch.is_stopped(house.reach(TABLET)), PATIENCE, "Twitch is closed again")


def test_permanently_in_the_policy_means_the_app(house: House) -> None:
    tumblr = real_app("tumblr")
    form = {
        "subject": "www.tumblr.com",
        "reason": "service: tumblr",
        "device": "tablet",
        "person": "mia",
        "for": "policy",
    }
    house.press("/grants/new", **form)
    house.await_app(tumblr)
    assert "www.tumblr.com" not in house.running.policy_path.read_text()


def ask_on_own_page(house: House, eve: str, id: str, _host: str) -> None:
    own = ["--data-urlencode", f"site={Services.load().by_id[id].title}", "--location"]
    page = curl(
        f"{house.running.web}/device/ask", source=EVES[eve], headers=[f"Origin: {house.running.web}"], options=own
    )
    assert "You have asked for" in page.text, page.text
    house.press(f"/requests/{house.request(id)}/approve", **{"for": "hour"})


def ask_on_block_page(house: House, eve: str, id: str, host: str) -> None:
    assert house.ask_at_block_page(host, EVES[eve]).status == 200
    house.api(f"/requests/{house.request(id)}/approve", how_long="hour")


def allow_on_activity(house: House, eve: str, id: str, host: str) -> None:
    form = {"subject": host, "reason": f"service: {id}", "device": f"{eve}s", "person": eve, "for": "hour", "sure": "1"}
    house.press("/grants/new", **form)


def allow_by_api(house: House, eve: str, _id: str, host: str) -> None:
    house.api("/grants", subject=host, person=eve, how_long="hour")


def allow_by_command(house: House, eve: str, _id: str, host: str) -> None:
    house.command("grant", eve, host)


def allow_by_code(house: House, eve: str, id: str, _host: str) -> None:
    digits = house.api("/codes", person=eve, subject=id, how_long="hour")["digits"]
    form = ["--data-urlencode", f"code={digits}"]
    origin = [f"Origin: {house.running.web}"]
    assert curl(f"{house.running.web}/device/code", source=EVES[eve], headers=origin, options=form).status == 303


WAYS: tuple[Way, ...] = (
    ask_on_own_page,
    ask_on_block_page,
    allow_on_activity,
    allow_by_api,
    allow_by_code,
    allow_by_command,
)


def own_host(id: str) -> str:
    """Return the first usual host by which a service is known."""
    return next(host for host in usual_hosts()[id] if service_or_address(host) == id)


def asking(house: House, source: str, stack: ExitStack) -> Reach:
    """Return the reach of a device by DNS, without a program for each question."""
    device = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    device.bind((source, 0))
    device.settimeout(20)
    device.connect(house.running.dns)

    def reach(host: str) -> bool:
        device.send(DNSRecord.question(host).pack())
        return [str(each.rdata) for each in DNSRecord.parse(device.recv(4096)).rr] != ["0.0.0.0"]

    return reach


@pytest.mark.timeout(1200)
def test_each_service_is_closed_until_it_is_allowed_and_works_then(house: House) -> None:
    """All real hosts are asked for. Some services are allowed by each way in turn, the others by the policy."""
    with ExitStack() as stack:
        reaches = {eve: asking(house, source, stack) for eve, source in EVES.items()}
        apps = [real_app(id) for id in OTHERS]
        assert [app.id for app in apps if not app.is_stopped(reaches["eve-0"])] == []
        for turn in range(ROUNDS):
            for number, app in enumerate(apps if IS_THOROUGH else apps[::5]):
                way, eve = WAYS[(number + turn) % len(WAYS)], f"eve-{turn * ADULTS + number % ADULTS}"
                way(house, eve, app.id, own_host(app.id))
                wait_until(partial(app.works, reaches[eve]), PATIENCE, f"{app.id} works, by {way.__name__}")
        house.running.edit_policy(house.running.policy_path.read_text().replace(f", {BLOCKED}", ""))
        for app in apps:
            wait_until(partial(app.works, reaches["eve-0"]), PATIENCE, f"{app.id} works")
