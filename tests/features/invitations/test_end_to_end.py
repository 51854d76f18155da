"""Invitations in a running Hedgerow with Chromium, and in a store that two machines share."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser
from postgres_server import running_server
from small_internet import SmallInternet
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until
from web_server import Web, running_web

from hedgerow.dashboards.control import DeviceView
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy

PHONE, CHILD, OTHER = "127.0.0.21", "127.0.0.23", "127.0.0.24"
PASSWORD = "quiet hedgehog on a wall"
SHOTS = os.environ.get("HEDGEROW_SHOTS")
"""The folder that gets screenshots in both themes, if there is one."""
FAMILY = f"""people:
  mia: {{age: 9, devices: [mia-tablet]}}
  Ana: {{profile: adult, devices: [ana-laptop]}}
  Ben: {{profile: adult}}
devices:
  mia-tablet: {{ip: {CHILD}}}
  ana-laptop: {{ip: 127.0.0.1}}
"""


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + FAMILY) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not FOR_PAGES.exists():
        pytest.skip("needs Debian's chromium")
    with browser_for_pages() as browser:
        yield browser


def client(web: str, address: str) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    return httpx.Client(base_url=web, transport=transport, trust_env=False, timeout=60, headers={"origin": web})


def accounts(house: Hedgerow, *words: str) -> str:
    """Run a command of the group `accounts`."""
    done = hedgerow_command("accounts", *words, "--state", str(house.state))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.browser
def test_the_code_of_the_link_leaves_the_address_and_one_password_is_enough(house: Hedgerow, chromium: Browser) -> None:
    (cookie,) = house.cookies.items()
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": house.web}])
    page = context.new_page()

    def look(name: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        for theme in ("dark", "light") if SHOTS else ():
            page.emulate_media(color_scheme=theme)
            page.screenshot(path=Path(SHOTS or "", f"{name}-{theme}.png"), full_page=True)

    page.goto(f"{house.web}/settings")
    assert page.locator("#invited-adults option").evaluate_all("all => all.map(each => each.value)") == ["Ana", "Ben"]
    page.fill("#invitations [name=name]", "Ben")
    page.click("#invitations button.yes")
    look("invitation")
    link = page.locator("details code").text_content() or ""
    page.goto(f"{house.web}/people/Ana")
    look("person")
    page.goto(f"{house.web}/settings")
    look("settings")
    guest = chromium.new_context(viewport={"width": 390, "height": 844})
    other = guest.new_page()
    other.goto(link)
    assert other.url.endswith("/invitation?name=Ben"), "the code has left the address"
    code = link.partition("#")[2]
    assert other.locator("[name=code]").input_value() == code
    page = other
    look("accept")
    other.fill("[name=password]", PASSWORD)
    other.click("form button.yes")
    other.wait_for_url(re.compile(rf"^{house.web}/(\?.*)?$"))
    other.goto(f"{house.web}/people/mia")
    assert other.locator("h1").count() == 1
    assert code not in house.stderr
    context.close()
    guest.close()


def test_a_phone_that_nobody_named_is_named_and_signed_in(house: Hedgerow) -> None:
    assert house.cookies, "somebody has set the first password"
    code = json.loads(accounts(house, "invite", "Grandma", "--json"))["code"]
    with client(house.web, CHILD) as child:
        assert child.get("/invitation").status_code == 403
        assert child.post("/invitation", data={"code": code, "password": PASSWORD}).status_code == 403
    with client(house.web, PHONE) as phone:
        done = phone.post("/invitation", data={"code": code, "password": PASSWORD, "own": "yes"})
        assert done.status_code == 303
        assert done.headers["location"].startswith("/?done=")
        policy = load_policy(house.policy_path)
        assert [device.person for device in policy.devices.values() if str(PHONE) in str(device.networks)] == [
            "Grandma"
        ]
        wait_until(lambda: "Grandma" in phone.get("/device").text, 30, "its own page knows it")
        assert phone.get("/people").status_code == 200
        accounts(house, "role", "Grandma", "operator")
        assert [phone.get(path).status_code for path in ("/devices", "/people")] == [200, 403]
    with client(house.web, PHONE) as phone:
        assert phone.post("/sign-in", data={"name": "Grandma", "password": PASSWORD}).status_code == 303
    assert "Grandma" in accounts(house, "list")


def test_two_machines_of_a_site_give_one_account(tmp_path: Path) -> None:
    with running_server() as server, ExitStack() as running:
        store = server.address(server.database())
        machines: list[Web] = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir(mode=0o700)
            (tmp_path / name / "hedgerow.yaml").write_text(FAMILY)
            machines.append(running.enter_context(running_web(tmp_path / name, store=store)))
        for web in machines:
            for address in (PHONE, OTHER):
                web.control.devices[address] = DeviceView(DeviceId(address), None, "child-8-12")
        one, other = machines
        for _ in range(3):
            with client(one.url, "127.0.0.1") as ana:
                shown = ana.post("/settings/invitations", data={"name": "Ben", "role": "parent"}).text
            code = shown.split("/invitation?name=Ben#")[1][:19]
            with client(other.url, PHONE) as phone:
                early = phone.post("/invitation", data={"code": "A" * 16, "password": PASSWORD})
                assert early.status_code == 403
            other.accounts.adopt(other.accounts.read())  # as the follower of the store does

            def accept(place: tuple[Web, str], code: str = code) -> int:
                web, address = place
                with client(web.url, address) as phone:
                    form = {"code": code, "password": f"{PASSWORD} {address}"}
                    return phone.post("/invitation", data=form).status_code

            with ThreadPoolExecutor(2) as pool:
                results = list(pool.map(accept, ((one, PHONE), (other, OTHER))))
            assert sorted(results) == [303, 403]
            for web in machines:
                web.accounts.adopt(web.accounts.read())
                assert len(web.accounts.sessions("Ben")) == 1
            with ThreadPoolExecutor(1) as thread:  # Chromium's event loop runs in this one
                thread.submit(asyncio.run, one.accounts.remove("Ben")).result()
            other.accounts.adopt(other.accounts.read())
