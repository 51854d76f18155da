"""A quiet hour by page, API and command: whom it closes, what they read, and what is left when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.app.cli import make_cli
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import starter_sources
from hedgerow.dashboards.control import DeviceView
from hedgerow.features.quiet_hour.hours import children_in
from hedgerow.policies.decide import decide
from hedgerow.policies.model import Decision, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.reading.load import load_policy, parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.time_model import PauseKind
from hedgerow.proxy.pages.block_page import BlockPage
from hedgerow.proxy.pages.translations import PageReader

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [mia-tablet]}
  tom: {age: 15, devices: [tom-phone, sofa-laptop]}
  eve: {age: 6, devices: [eve-tablet]}
  Ana: {profile: adult, devices: [ana-phone, old-tablet, sofa-laptop]}
devices:
  mia-tablet: {ip: 127.0.0.31}
  tom-phone: {ip: 127.0.0.32}
  eve-tablet: {ip: 127.0.0.36}
  ana-phone: {ip: 127.0.0.33}
  old-tablet: {ip: 127.0.0.34, profile: child-8-12}
  sofa-laptop: {ip: 127.0.0.35}
  television: {ip: 127.0.0.37, profile: adult}
"""
CLOSED = {"mia-tablet", "tom-phone", "eve-tablet", "old-tablet", "sofa-laptop", "127.0.0.99"}
HELPLINE = "sosvozamiga.org"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    generation = tmp_path_factory.mktemp("lists") / "generation"
    compile_generation(starter_sources(), generation)
    return Catalogue.open(generation)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    place = Endpoint("127.0.0.1", 9)
    settings = Settings(tmp_path, None, place, place, place)
    settings.run.mkdir()
    settings.save()
    settings.control_socket.symlink_to(tmp_path / "control.sock")
    with running_web(tmp_path) as web:
        yield web


def browser(web: Web, address: str = "127.0.0.1") -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    headers = {"origin": web.url}
    return httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60, headers=headers)


def api(web: Web, method: str, **body: object) -> httpx.Response:
    sent = {"authorization": f"Bearer {TOKEN}"}
    place = f"{web.url}/api/v1/quiet-hour"
    return httpx.request(method, place, json=body or None, headers=sent, trust_env=False, timeout=60, verify=False)


def command(web: Web, *words: str) -> str:
    done = CliRunner().invoke(make_cli(), ["quiet-hour", *words, "--state", str(web.policy_path.parent)])
    return done.stdout + done.stderr


def decisions(web: Web, catalogue: Catalogue, host: str = "news.example", now: float = NOW + 1) -> dict[str, Decision]:
    """Return the decision about a host for each device of the house, and for one without a name."""
    policy = load_policy(web.policy_path)
    rulesets = Rulesets(policy, (), web.control.reader.pauses(now), catalogue)
    addresses = [*(str(each.networks[0].network_address) for each in policy.devices.values()), "127.0.0.99"]
    found = [rulesets.devices.find(address, None) for address in addresses]
    return {
        device.id: decide(rulesets.ruleset(device, now), catalogue, Request(device.id, RequestKind.HTTP, host))
        for device in found
        if device is not None
    }


def closed(web: Web, catalogue: Catalogue, host: str = "news.example", now: float = NOW + 1) -> set[str]:
    return {name for name, each in decisions(web, catalogue, host, now).items() if each.verdict is Verdict.BLOCK}


def test_it_closes_all_children_and_no_adult_until_its_end(house: Web, catalogue: Catalogue) -> None:
    assert closed(house, catalogue) == set()
    begun = api(house, "POST", minutes=60)
    assert (begun.status_code, begun.json()["ends"]) == (201, NOW + 3600)
    assert (begun.json()["people"], begun.json()["devices"]) == (["eve", "mia", "tom"], ["old-tablet"])
    assert api(house, "GET").json() == begun.json()
    assert closed(house, catalogue) == CLOSED
    assert closed(house, catalogue, HELPLINE) == set(), "helplines stay open"
    assert closed(house, catalogue, now=NOW + 3601) == set()


def test_a_parent_begins_and_ends_it_on_today_and_everybody_sees_its_end(house: Web, catalogue: Catalogue) -> None:
    for address, device, person in (("127.0.0.31", "mia-tablet", "mia"), ("127.0.0.36", "eve-tablet", "eve")):
        house.control.devices[address] = DeviceView(
            DeviceId(device), person, "child", held="quiet-hour", held_until=NOW + 1800, held_by=Reason.PAUSE
        )
    with browser(house) as parent:
        assert "Closes the internet for all children" in parent.get("/").text
        assert parent.post("/quiet-hour", data={"minutes": "30"}).status_code == 303
        page = unescape(parent.get("/today/everybody").text)
        assert "Quiet hour until" in page
        assert "eve, mia, tom, old-tablet" in page
        assert "hedgerow_quiet_hour_closed 4.0" in parent.get("/metrics").text
        for address in ("127.0.0.31", "127.0.0.36"):
            with browser(house, address) as child:
                assert "Quiet hour for all children until" in unescape(child.get("/device").text)
        assert parent.post("/quiet-hour/end").status_code == 303
        assert 'formaction="/quiet-hour"' in parent.get("/").text
        assert "hedgerow_quiet_hour_closed 0.0" in parent.get("/metrics").text
    assert closed(house, catalogue) == set()


def test_it_is_begun_and_ended_by_commands(house: Web, catalogue: Catalogue) -> None:
    assert command(house, "begin", "--minutes", "30").endswith(" for eve, mia, tom, old-tablet.\n")
    assert closed(house, catalogue) == CLOSED
    assert command(house, "end") == "The quiet hour is over.\n"
    assert closed(house, catalogue) == set()


def test_what_was_paused_before_stays_as_it_was(house: Web, catalogue: Catalogue) -> None:
    house.ledger.pause("Ana", person="mia", ends=None)
    house.ledger.pause("Ana", person="tom", ends=NOW + 7200, kind=PauseKind.HOMEWORK)
    api(house, "POST", minutes=60)
    assert decisions(house, catalogue)["mia-tablet"].until is None, "mia's own pause has no end"
    left = {"mia-tablet", "127.0.0.99"}  # a device without a name could be mia's
    assert closed(house, catalogue, now=NOW + 3601) == left
    assert api(house, "DELETE").status_code == 204
    assert closed(house, catalogue) == left
    assert "tom-phone" in closed(house, catalogue, "roblox.com"), "homework goes on"


def test_another_one_takes_its_place(house: Web) -> None:
    api(house, "POST", minutes=60)
    api(house, "POST", minutes=30)
    assert api(house, "GET").json()["ends"] == NOW + 1800
    house.ledger.resume("Ana", person="mia")
    assert api(house, "GET").json()["people"] == ["eve", "tom"], "mia was let off"
    assert api(house, "DELETE").status_code == 204
    assert api(house, "GET").json() is None


@pytest.mark.parametrize("minutes", [0, -5, 481, "soon"])
def test_a_wrong_length_is_refused(house: Web, minutes: object) -> None:
    assert api(house, "POST", minutes=minutes).status_code == 422
    assert api(house, "GET").json() is None


def test_without_children_or_without_a_quiet_hour_it_says_so_everywhere(house: Web) -> None:
    none = "There is no quiet hour now."
    assert api(house, "DELETE").json()["detail"] == none
    assert command(house, "end") == f"hedgerow: {none}\n"
    house.policy_path.write_text("network: {timezone: UTC}\npeople: {Ana: {profile: adult}}\n")
    nobody = "A quiet hour is for children, and the policy names none."
    assert api(house, "POST", minutes=60).json()["detail"] == nobody
    assert command(house, "begin") == f"hedgerow: {nobody}\n"
    with browser(house) as parent:
        assert none in unescape(parent.post("/quiet-hour/end").text)
        assert nobody in unescape(parent.post("/quiet-hour", data={"minutes": "60"}).text)
        assert "/quiet-hour" not in parent.get("/").text


def test_a_child_ends_none(house: Web) -> None:
    api(house, "POST", minutes=60)
    house.control.devices["127.0.0.31"] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    with browser(house, "127.0.0.31") as child:
        assert child.post("/quiet-hour/end").status_code in (303, 401, 403)
    assert api(house, "GET").json() is not None


def test_seats_of_a_cafe_are_left_to_its_counter() -> None:
    text = b"people: {mia: {age: 9, devices: [desk]}}\nseats: {desk: {ip: 127.0.0.51}, hall: {ip: 127.0.0.52}}\n"
    assert list(children_in(parse_policy(text.replace(b", devices: [desk]", b""), None))) == [("mia", None)]


@pytest.mark.parametrize("reader", [PageReader(), PageReader(young=True), PageReader(is_family=True)])
def test_the_block_page_names_it_and_its_end(reader: PageReader) -> None:
    decision = Decision(Verdict.BLOCK, Reason.PAUSE, "quiet-hour", until=NOW + 3600)
    page = BlockPage("PT").blocked(decision, "news.example", "https://news.example/", NOW, reader=reader).body.decode()
    assert ">Quiet hour</h1>" in page
    assert "21:26" in page or "21:27" in page
    plain = Decision(Verdict.BLOCK, Reason.PAUSE, "pause", until=NOW + 3600)
    assert "Quiet hour" not in BlockPage("PT").blocked(plain, "a.example", "", NOW, reader=reader).body.decode()
