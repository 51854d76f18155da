"""The pages of advice: open to every child at any time, in its language, read aloud by its device, and kept nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright
from small_internet.browser import CHROMIUM, look_through
from sqlalchemy import select
from web_server import TOKEN, Web, running_web

from hedgerow.dashboards.control import DeviceView
from hedgerow.features.advice.guides import load_guides
from hedgerow.features.advice.own_words import CHILDRENS_TOPICS
from hedgerow.features.advice.sources import load_sources
from hedgerow.journal.tables import metadata
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.model import DeviceId, Reason
from hedgerow.policies.text.locales import LANGUAGES

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: Europe/London, country: GB}
people:
  eve: {age: 6, devices: [eve-tablet]}
  mia: {age: 9, devices: [mia-tablet]}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  eve-tablet: {ip: 127.0.0.36}
  mia-tablet: {ip: 127.0.0.31}
  ana-phone: {ip: 127.0.0.33}
"""
EVE, MIA, ANA, STRANGER, OUTSIDE = (f"127.0.0.{number}" for number in (36, 31, 33, 99, 98))
PAGES = [f"/device/advice/{topic.name}" for topic in CHILDRENS_TOPICS]
APPS = "/device/advice/apps"
A_YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    state = tmp_path_factory.mktemp("advice")
    (state / "hedgerow.yaml").write_text(HOUSE)
    lines = Lifelines.load().for_country("GB")
    with running_web(state) as running:
        at = running.control.devices
        at[EVE] = DeviceView(DeviceId("eve-tablet"), "eve", "child-under-8", lines)
        at[MIA] = DeviceView(
            DeviceId("mia-tablet"), "mia", "child-8-12", lines, "pause", held_until=None, held_by=Reason.PAUSE
        )
        at[ANA] = DeviceView(DeviceId("ana-phone"), "Ana", "adult", lines)
        at[STRANGER] = DeviceView(DeviceId("stranger"), None, "child-8-12", lines)
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM))
        yield browser
        browser.close()


def look(web: Web, address: str, path: str, language: str = "en") -> httpx.Response:
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    headers = {"accept-language": language}
    with httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60, headers=headers) as device:
        return device.get(path)


def test_a_child_finds_the_pages_on_its_own_page_and_an_adult_has_none(web: Web) -> None:
    for address in (EVE, MIA):
        page = look(web, address, "/device").text
        assert [path for path in PAGES if f'href="{path}"' not in page] == []
    assert "/device/advice/" not in look(web, ANA, "/device").text


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_open_while_everything_is_closed_and_to_devices_without_a_name(web: Web, path: str) -> None:
    for address in (MIA, EVE, STRANGER):
        answer = look(web, address, path)
        assert answer.status_code == 200
        assert "Childline" in answer.text, "the helplines of the country"
        assert 'href="tel:08001111"' in answer.text


def test_unknown_pages_do_not_exist(web: Web) -> None:
    assert look(web, MIA, "/device/advice/nothing").status_code == 404


def test_a_parent_reads_what_to_say(web: Web) -> None:
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False) as parent:
        assert 'href="/advice/told"' in parent.get("/people/mia").text
        page = parent.get("/advice/told").text
    assert "It is not your fault" in page
    assert all(source.url in page for source in load_sources()["told"])


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_of_the_block_page_has_all_the_advice(web: Web, code: str) -> None:
    for topic, path in zip(CHILDRENS_TOPICS, PAGES, strict=True):
        page = look(web, MIA, path, code).text
        assert f'<html lang="{code}"' in page
        assert (topic.title in page) is (code == "en")
        assert [step for step in topic.steps if step in page] == (list(topic.steps) if code == "en" else [])


def test_sentences_are_short_enough_for_a_child_of_eight() -> None:
    for topic in CHILDRENS_TOPICS:
        for sentence in re.split(r"[.:?] ?", " ".join(topic.steps)):
            assert len(sentence.split()) <= 13, sentence


def test_nothing_is_kept_of_a_visit(web: Web) -> None:
    """The pages say so."""

    def kept() -> dict[str, list[str]]:
        web.recorder.flush()
        with web.engine.connect() as connection:
            return {
                table.name: [str(row) for row in connection.execute(select(table))] for table in metadata.sorted_tables
            }

    look(web, MIA, "/device")
    before = kept()
    for path in (*PAGES, APPS):
        look(web, MIA, path)
    assert kept() == before
    headers = {"authorization": f"Bearer {TOKEN}"}
    metrics = httpx.get(f"{web.url}/metrics", headers=headers, trust_env=False, timeout=60, verify=False)
    assert metrics.status_code == 200
    assert "advice" not in metrics.text
    exported = look(web, MIA, "/device/kept").text
    assert "advice" not in exported


def test_each_page_names_its_sources_and_they_were_checked_within_a_year() -> None:
    now = datetime.now(UTC).date()
    assert set(load_sources()) == {topic.name for topic in CHILDRENS_TOPICS} | {"told"}
    for sources in load_sources().values():
        assert sources
        for source in sources:
            assert source.url.startswith("https://")
            assert source.name
            assert source.title
            assert now - A_YEAR <= source.checked <= now, f"compare {source.url} with our words again"


def test_guides_were_checked_within_a_year_and_are_for_services_of_the_catalogue_or_have_a_title() -> None:
    now = datetime.now(UTC).date()
    for guide in load_guides().values():
        assert guide.title
        assert guide.controls or guide.safety
        for line in (*guide.controls, *guide.safety):
            assert line.url.startswith("https://")
            assert line.title
            assert now - A_YEAR <= line.checked <= now, f"compare {line.url} with the entry again"
        assert all(control.name for control in guide.controls)


def test_four_consoles_five_systems_and_the_services_with_a_source_have_a_guide() -> None:
    """An entry that cannot be sourced is left out, so this is less than the sixty most used."""
    guides, consoles = load_guides(), {"playstation", "nintendo", "xbox", "oculus"}
    systems = {"windows", "ios", "macos", "android", "chromeos"}
    assert consoles | systems <= guides.keys()
    count = len(guides.keys() - consoles - systems)
    assert count >= 36
    document = Path(__file__).parents[3] / "docs" / "features" / "advice.md"
    assert f": {count} services are there." in document.read_text(encoding="utf-8")


def test_a_parent_finds_a_services_own_controls_beside_its_switch_and_by_two_taps(web: Web) -> None:
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False) as parent:
        assert 'href="/advice/apps"' in parent.get("/people/mia").text
        switches = parent.get("/people/mia/services", params={"find": "tiktok"}).text
        page = parent.get("/advice/apps").text
    assert 'href="/advice/apps#tiktok"' in switches
    for guide in load_guides().values():
        assert (f'id="{guide.id}"' in page) is bool(guide.controls)
        assert all(line.url in page.replace("&amp;", "&") for line in guide.controls)


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_child_reads_how_to_block_and_report(web: Web, code: str) -> None:
    page = look(web, MIA, "/device/advice/apps", code).text
    assert ("Reporting: the app is told" in page) is (code == "en")
    assert all(line.url in page for guide in load_guides().values() for line in guide.safety)


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_accessible_and_fit_a_phone_in_the_longest_language(
    web: Web, chromium: Browser, theme: Literal["light", "dark"]
) -> None:
    for code in ("de", "ar"):
        context = chromium.new_context(
            locale=code, viewport={"width": 390, "height": 844}, color_scheme=theme, ignore_https_errors=True
        )
        page = context.new_page()
        web.control.devices["127.0.0.1"] = web.control.devices[MIA]
        for path in ("/device", *PAGES, APPS, "/advice/told", "/advice/apps", "/people/mia/services?find=tiktok"):
            page.goto(f"{web.url}{path}")
            assert look_through(page).response["violations"] == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        context.close()
        del web.control.devices["127.0.0.1"]


VOICE = """
const said = [];
const speech = Object.assign(new EventTarget(), {
  getVoices: () => [{lang: "en-US", localService: false}, {lang: "en_GB", localService: true, name: "mine"}],
  speak: text => said.push([text.text, text.lang, text.voice && text.voice.name]),
  cancel: () => { said.push("cancelled"); },
});
Object.defineProperty(window, "speechSynthesis", {value: speech});
window.SpeechSynthesisUtterance = class extends EventTarget { constructor(text) { super(); this.text = text; } };
window.said = said;
"""
"""Stands for the voices of a device: Chromium has none here."""


@pytest.mark.browser
def test_a_page_is_read_aloud_by_a_voice_of_the_device_and_by_keyboard(web: Web, chromium: Browser) -> None:
    context = chromium.new_context(locale="en-GB", ignore_https_errors=True)
    page = context.new_page()
    web.control.devices["127.0.0.1"] = web.control.devices[MIA]
    page.goto(f"{web.url}{PAGES[0]}")
    assert page.get_by_role("button", name="Read aloud").count() == 0, "without a voice there is no button"
    page.add_init_script(VOICE)
    page.goto(f"{web.url}{PAGES[0]}")
    page.get_by_role("button", name="Read aloud").focus()
    page.keyboard.press("Enter")
    said = page.evaluate("said")[1:]
    assert [text for text, _language, _voice in said] == [CHILDRENS_TOPICS[0].title, *CHILDRENS_TOPICS[0].steps]
    assert {(language, voice) for _text, language, voice in said} == {("en", "mine")}
    page.keyboard.press("Enter")
    assert page.evaluate("said.at(-1)") == "cancelled"
    page.goto(f"{web.url}/device")
    page.get_by_role("button", name="Read aloud").focus()
    page.keyboard.press("Enter")
    said = [text for text, _language, _voice in page.evaluate("said")[1:]]
    assert said[:2] == ["Ask your parents", "Why is it like this?"], "what a fold hides is not read"
    assert not any("Read aloud" in text for text in said)
    page.keyboard.press("Enter")
    assert page.get_by_role("button", name="Read aloud").is_visible()
    context.close()
    del web.control.devices["127.0.0.1"]
