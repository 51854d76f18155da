"""*Make it work*: the steps for the very device of a child, by its name, and the tap that comes after them."""

from __future__ import annotations

import re

import httpx
import pytest
from web_server import Web
from web_server.household import fill


@pytest.fixture
def home(web: Web) -> Web:
    fill(web)
    return web


def page(home: Web, device: str, **headers: str) -> str:
    with httpx.Client(base_url=home.url, trust_env=False, headers=headers, timeout=60) as client:
        return client.get("/certificate", params={"device": device}).text


def test_a_switch_leads_to_the_steps_of_the_device_on_which_it_does_not_work(home: Web) -> None:
    with httpx.Client(base_url=home.url, trust_env=False, headers={"origin": home.url}, timeout=60) as parent:
        parent.post("/people/tom/switch", data={"close": "youtube-shorts"})
        shown = parent.get("/people/tom/services?group=video").text
    line = shown.partition('id="switch-youtube-shorts"')[2].partition("</li>")[0]
    assert 'href="/certificate?device=tom-phone"' in line


def test_the_page_names_the_device_and_has_the_next_tap_and_no_path_of_a_file(home: Web) -> None:
    text = page(home, "tom-phone")
    assert "Check pages on tom-phone" in text
    assert "A device of tom" in text
    visible = re.sub(r"<details[^>]* hidden>.*?</details>", "", text, flags=re.DOTALL)
    assert "iPhone and iPad" in visible
    assert not re.search(r"Windows</summary>|/usr/local|/etc/|ca show", visible)
    form = visible.partition('action="/devices/look"')[2].partition("</form>")[0]
    assert 'name="device" value="tom-phone"' in form
    with httpx.Client(base_url=home.url, trust_env=False, headers={"origin": home.url}, timeout=60) as parent:
        answer = parent.post(
            "/devices/look",
            data={"device": "tom-phone", "on": "yes"},
            headers={"referer": f"{home.url}/certificate?device=tom-phone"},
            follow_redirects=True,
        )
    assert answer.url.path == "/certificate"
    assert answer.url.params["device"] == "tom-phone"
    assert "Inspection is on for tom-phone." in answer.text


def test_a_console_takes_no_certificate_and_the_next_device_is_named(home: Web) -> None:
    text = page(home, "console")
    assert "This kind of device takes no certificate" in text
    assert "/devices/look" not in text
    assert 'href="/certificate?device=mia-tablet"' in text


@pytest.mark.parametrize("device", ["", "nobody", "a" * 200])
def test_any_other_device_is_the_one_that_opens_the_page(home: Web, device: str) -> None:
    text = page(home, device)
    assert "The certificate of this network" in text
    assert "Does this device trust it?" in text
    assert "Windows</summary>" in re.sub(r"<details[^>]* hidden>", "", text)
