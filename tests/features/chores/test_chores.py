"""Chores: what they earn, the schedules that they lift, and their cards on the child's and the parent's page."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from web_server import NOW, Web, running_web

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.dashboards.control import BudgetRow, DeviceView
from hedgerow.dashboards.edits.times import presets
from hedgerow.dashboards.edits.yaml_text import apply_edits
from hedgerow.dashboards.scopes import Role
from hedgerow.dashboards.words.languages import language
from hedgerow.features.chores.pages import chore_edit, chores_first, remove_chore_edit
from hedgerow.features.chores.service import states_of, write_confirmation
from hedgerow.features.chores.settings import chores_of
from hedgerow.journal.access_store import GrantStore, NoSuchEntry
from hedgerow.journal.database import open_journal
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.decide import decide
from hedgerow.policies.model import AccessRequest, Device, DeviceId, Grant, Policy, Request, RequestKind, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import Bonus

CHILD = "127.0.0.2"
NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC
TABLET = DeviceId("mia-tablet")
ENTRY = "people:\n  mia:\n    age: 9   # nearly ten\n"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Store]:
    store = open_journal(tmp_path / "journal.sqlite")
    yield store
    store.dispose()


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    generation = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), generation)
    return Catalogue.open(generation)


def _rulesets(catalogue: Catalogue, policy: bytes, *grants: Grant) -> Rulesets:
    return Rulesets(parse_policy(policy, None), grants, (), catalogue)


def _at(rulesets: Rulesets, address: str) -> Device:
    device = rulesets.devices.find(address, None)
    assert device is not None
    return device


def test_a_schedule_holds_until_the_chores_of_the_day_are_done(catalogue: Catalogue) -> None:
    policy = b"""
network: {lan: [192.168.1.0/24]}
schedules: {chores first: {block: internet, when: "08:00-20:00", unless: chores}}
people:
  mia: {age: 9, devices: [tablet], chores: {Tidy: none}}
  tom: {age: 9, devices: [phone]}
devices:
  tablet: {ip: 192.168.1.9}
  phone: {ip: 192.168.1.10}
"""

    def verdict(address: str, *given: Grant, at: float = NOON) -> Verdict:
        rulesets = _rulesets(catalogue, policy, *given)
        device = _at(rulesets, address)
        return decide(
            rulesets.ruleset(device, at), catalogue, Request(device.id, RequestKind.DNS, "example.org")
        ).verdict

    done = Grant("g", "chores", "ana", NOON, NOON + 3600, person="mia")
    assert verdict("192.168.1.9") is Verdict.BLOCK
    assert verdict("192.168.1.10") is Verdict.ALLOW, "tom has no chores"
    assert verdict("192.168.1.9", done) is Verdict.ALLOW
    assert verdict("192.168.1.9", done, at=NOON + 3600) is Verdict.BLOCK
    rulesets = _rulesets(catalogue, policy, done)
    assert rulesets.ruleset(_at(rulesets, "192.168.1.9"), NOON).until == NOON + 3600
    assert verdict("192.168.1.9", Grant("g", "chores", "ana", NOON, NOON + 3600, person="tom")) is Verdict.BLOCK


def test_the_last_chore_of_the_day_lifts_schedules(journal: Store) -> None:
    store, reader = GrantStore(journal, clock=lambda: NOW), JournalReader(journal)
    names, since = frozenset({"Read", "Tidy"}), NOW - 3600

    def report(chore: str, when: float = NOW) -> int:
        return store.file(AccessRequest(when, TABLET, "mia", "", chore=chore)) or 0

    def confirm(number: int, key: str, minutes: int = 15) -> None:
        bonus = Bonus(key, "person:mia", "", minutes, "web page", NOW)
        day_off = Grant(f"g-{key}", "chores", "web page", NOW, NOW + 3600, person="mia")
        write_confirmation(journal, number, bonus, day_off, names=names, since=since)

    first = report("Read")
    assert report("Read") == first
    assert report("Tidy", NOW - 86400) != first
    assert states_of(journal, "mia", since) == {"Read": "open"}
    confirm(first, "b1")
    assert [bonus.minutes for bonus in UsageStore(journal).bonuses(NOW - 60)] == [15]
    assert reader.grants(NOW) == (), "the other chore was reported yesterday"
    store.deny(report("Tidy"), "web page")
    assert states_of(journal, "mia", since) == {"Read": "approved", "Tidy": "denied"}
    confirm(report("Tidy"), "b2", 0)
    assert [(grant.subject, grant.person) for grant in reader.grants(NOW)] == [("chores", "mia")]
    with pytest.raises(NoSuchEntry):
        confirm(first, "b3")
    given = [bonus.id for bonus in UsageStore(journal).bonuses(NOW - 60)]
    assert given == ["b1"], "a chore without minutes leaves no bonus"


def test_the_preset_is_offered_once_there_are_chores_and_gives_a_valid_policy() -> None:
    def of(text: str) -> Policy:
        return parse_policy(text.encode(), None)

    def offered(text: str) -> list[str]:
        mia, german = of(text).people["mia"], language("de")
        return [each.name for each in presets(mia, german, [chores_first(of(text), mia, german)])]

    assert "chores-first" not in offered(ENTRY)
    text = apply_edits(ENTRY, [chore_edit("mia", "Read", minutes=0, subject="")])
    assert offered(text)[-1] == "chores-first"
    text = apply_edits(text, chores_first(of(text), of(text).people["mia"], language("de")).edits)
    assert "chores-first" not in offered(text)
    (schedule,) = of(text).people["mia"].rules.schedules
    assert (schedule.name, schedule.unless) == ("Erst die Aufgaben", "chores")
    text = apply_edits(text, [remove_chore_edit(of(text), "mia", "Read")])
    assert chores_of(of(text), "mia") == ()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text("people: {mia: {age: 9, budget: 1h, chores: {Tidy: none}}}\n")
    with running_web(tmp_path) as running:
        running.control.devices[CHILD] = DeviceView(TABLET, "mia", "child-8-12")
        running.time.rows = (BudgetRow("mia", "", 10, 60, 50, NOW + 3600),)
        yield running


@pytest.fixture
def child(web: Web) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(local_address=CHILD, verify=False)
    with httpx.Client(
        base_url=web.url, transport=transport, trust_env=False, timeout=60, headers={"origin": web.url}
    ) as client:
        yield client


def test_the_next_page_shows_what_was_just_reported(web: Web, child: httpx.Client) -> None:
    """The journal is written later than a report comes. Without waiting for it, the button would seem to do nothing."""
    is_over = threading.Event()

    def write() -> None:
        while not is_over.wait(0.2):
            web.recorder.flush()

    writer = threading.Thread(target=write)
    writer.start()
    page = child.post("/device/chore", data={"chore": "Tidy"}, follow_redirects=True).text
    is_over.set()
    writer.join()
    assert "waiting for a yes" in page
    assert "/device/chore" not in page


def test_a_report_of_a_chore_of_somebody_else_is_refused(child: httpx.Client) -> None:
    refused = child.post("/device/chore", data={"chore": "Cook"})
    assert refused.status_code == 422
    assert "This chore is not one of yours." in refused.text


def test_the_page_changes_by_itself_when_a_report_is_answered(web: Web, child: httpx.Client) -> None:
    before = child.get("/device/state").json()
    number = web.ledger.file(AccessRequest(NOW, TABLET, "mia", "", chore="Tidy")) or 0
    reported = child.get("/device/state").json()
    web.ledger.deny(number, "ana")
    assert len({each["state"] for each in (before, reported, child.get("/device/state").json())}) == 3


def test_a_parent_adds_and_removes_chores_and_a_mistake_is_said_at_its_field(web: Web) -> None:
    asyncio.run(web.accounts.create("Ana", Role.PARENT, "correct horse battery"))
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, headers={"origin": web.url}, verify=False) as ana:
        assert ana.post("/sign-in", data={"name": "ana", "password": "correct horse battery"}).status_code == 303
        mistaken = {"form": "chore-new", "chore": "Read", "minutes": "soon", "what": ""}
        wrong = ana.post("/people/mia/chore", data=mistaken, headers={"referer": f"{web.url}/people/mia/time"})
        assert wrong.status_code == 422
        (minutes,) = re.findall(r'<input name="minutes" inputmode[^>]*aria-invalid="true"[^>]*>', wrong.text)
        assert 'value="soon"' in minutes
        assert "autofocus" in minutes
        assert re.search(r'<input name="chore"[^>]*value="Read"', wrong.text)
        assert ana.post("/people/mia/chore", data={"chore": "Read", "minutes": "20"}).status_code == 303
        assert "+20 min" in unescape(ana.get("/people/mia/time").text)
        assert ana.post("/people/mia/chore/remove", data={"chore": "Tidy"}).status_code == 303
        assert [chore.name for chore in chores_of(web.control.policy(), "mia")] == ["Read"]
