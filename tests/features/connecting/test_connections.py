"""What is said of devices that do and do not use Hedgerow: never more than they have shown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from web_server import NOW, Web, running_web

from hedgerow.app.doctor.findings import Health
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.coverage import ListHealth, coverage_by_category
from hedgerow.dashboards.policy_index import PolicyIndex
from hedgerow.features.connecting.checks import connection_findings
from hedgerow.features.connecting.connections import (
    LATELY_S,
    ConnectionState,
    Home,
    Stage,
    connection_state,
    read_home,
)
from hedgerow.features.connecting.resolver import resolver_addresses
from hedgerow.features.connecting.routers import RouterKind, load_routers
from hedgerow.journal.activity import ActivityReader
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.network.discovery import VendorLookup
from hedgerow.network.own_addresses import own_addresses
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.network import NetworkSettings

POLICY = """\
people:
  Mia: {age: 9, devices: [mia-tablet]}
  Tom: {age: 15, devices: [tom-phone]}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  mia-tablet: {mac: "02:00:00:00:77:0b"}
  tom-phone: {mac: "02:00:00:00:77:0c"}
  ana-phone: {mac: "02:00:00:00:77:0a"}
"""
CLAIMS = ("Hedgerow is set up", "have used Hedgerow", "every device is filtered")
TABLET, PHONE, ANA, STRANGER = (
    DeviceId("mia-tablet"),
    DeviceId("tom-phone"),
    DeviceId("ana-phone"),
    DeviceId("02:00:00:00:77:0d"),
)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        running.policy_path.write_text(POLICY)
        running.recorder.add(
            [DeviceSeen(NOW - 86_400, TABLET, "192.168.1.11", "02:00:00:00:77:0b", "Mia", "child-8-12")]
        )
        running.recorder.flush()
        running.recorder.add(
            [
                DeviceSeen(NOW - 60, TABLET, "192.168.1.11", "02:00:00:00:77:0b", "Mia", "child-8-12"),
                DeviceSeen(NOW - 60, PHONE, "192.168.1.12", "02:00:00:00:77:0c", "Tom", "teen-13-15"),
                DeviceSeen(NOW - 60, ANA, "192.168.1.10", "02:00:00:00:77:0a", "Ana", "adult"),
                DeviceSeen(NOW - 60, STRANGER, "192.168.1.13", STRANGER, None, "child-8-12", "lamp"),
            ]
        )
        running.recorder.flush()
        yield running


def use(web: Web, device: DeviceId, protection: Protection = Protection.DNS, ago: float = 30.0) -> None:
    web.recorder.add([ProtectionSeen(NOW - ago, device, protection)])
    web.recorder.flush()


def home_of(web: Web) -> Home:
    return read_home(
        PolicyIndex(web.control.policy()),
        web.control.reader,
        ActivityReader(web.control.reader.store),
        VendorLookup(),
        NOW,
    )


def words(web: Web, path: str) -> str:
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False) as browser:
        answer = browser.get(path)
    assert answer.status_code == 200, path
    inline = re.sub("</?(b|bdi|span)( [^>]*)?>", "", answer.text)
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", inline))


def test_nothing_is_called_filtered_before_a_device_has_asked(web: Web) -> None:
    assert home_of(web).stage is Stage.NONE
    assert "Nothing is filtered yet" in words(web, "/start/done")
    for path in ("/start/connect", "/start/devices", "/start/done", "/", "/devices", "/connecting/devices"):
        text = words(web, path)
        assert not any(claim in text for claim in CLAIMS), path
    assert words(web, "/devices").count("Not connected yet") == 3
    today = words(web, "/")
    assert "Nothing is filtered yet No child's device has used Hedgerow yet. Connect your home" in html.unescape(today)
    assert today.index("Nothing is filtered yet") < today.index("Pause all")
    for path in ("/", "/more", "/devices"):
        assert (
            'href="/start/connect">' in httpx.get(f"{web.url}{path}", trust_env=False, verify=False, timeout=60).text
        ), path


@pytest.mark.parametrize(
    ("policy", "step"),
    [("{}", "place"), ("network: {country: DE}", "people"), ("people: {Mia: {age: 9}}", "connect")],
)
def test_today_leads_to_the_step_at_which_the_guide_was_left(web: Web, policy: str, step: str) -> None:
    web.policy_path.write_text(policy)
    starter = ListHealth("starter/adult", "adult", 117, starter=True)
    web.change_status(lists=(starter,), coverage=coverage_by_category([starter], {}, {"adult"}))
    page = httpx.get(web.url, trust_env=False, verify=False, timeout=60).text
    assert page.index("Setting up is not finished") < page.index("Most adult sites are open")
    assert f'href="/start/{step}">Go on' in page
    assert "Nothing is filtered yet" not in page


def test_a_page_of_a_person_and_the_report_say_it_too(web: Web) -> None:
    use(web, PHONE)
    assert "mia-tablet has not used Hedgerow yet" in words(web, "/people/Mia")
    assert "has not used Hedgerow" not in words(web, "/people/Tom")
    report = words(web, "/api/v1/report")
    assert "No device of Mia used Hedgerow this week, so the rules for Mia applied to none." in report
    assert "Nothing notable was blocked for Mia" not in report


def test_it_is_set_up_once_all_devices_of_children_have_asked(web: Web) -> None:
    use(web, ANA)
    assert home_of(web).stage is Stage.NONE, "a parent's phone protects no child"
    use(web, TABLET)
    assert home_of(web).stage is Stage.PART
    assert "Almost set up" in words(web, "/start/done")
    assert "tom-phone (Tom) has not used Hedgerow yet" in words(web, "/")
    use(web, PHONE, Protection.PROXY)
    assert home_of(web).stage is Stage.ALL
    text = words(web, "/start/done")
    assert "Hedgerow is set up" in text
    assert "Filtered, websites only" in text
    assert "has not used Hedgerow" not in words(web, "/")


def test_a_child_without_a_device_is_named_at_the_guides_end(web: Web) -> None:
    web.policy_path.write_text(POLICY.replace("people:", "people:\n  Kim: {age: 7}"))
    assert "Kim No device yet" in words(web, "/start/done")
    use(web, TABLET)
    use(web, PHONE)
    assert home_of(web).stage is Stage.PART
    told = words(web, "/start/done")
    assert "Almost set up" in told
    assert "Kim No device yet" in told
    assert "Mia No device yet" not in told
    web.policy_path.write_text(POLICY.replace("people:", "people:\n  Kim: {age: 7, devices: [ana-phone]}"))
    assert "No device yet" not in words(web, "/start/done")


def test_the_guides_end_says_what_a_filter_by_names_does_not_do(web: Web) -> None:
    not_seen = "does not look inside a website or app that is open"
    assert not_seen not in words(web, "/start/done"), "nothing is filtered yet"
    for device in (TABLET, PHONE):
        use(web, device)
    assert not_seen in words(web, "/start/done")
    use(web, TABLET, Protection.CERTIFICATE)
    assert not_seen in words(web, "/connecting/end"), "the phone's pages are not inspected"
    use(web, PHONE, Protection.CERTIFICATE)
    assert not_seen not in words(web, "/start/done")
    use(web, STRANGER)
    assert not_seen in words(web, "/start/done")


def test_it_is_not_set_up_with_the_starter_list_alone(web: Web) -> None:
    use(web, TABLET)
    use(web, PHONE)
    starter = ListHealth("starter/adult", "adult", 117, starter=True)
    web.change_status(lists=(starter,), coverage=coverage_by_category([starter], {}, {"adult"}))
    assert "Almost set up" in words(web, "/start/done")


def test_a_device_without_a_name_that_asks_is_filtered_but_no_family_is_set_up(web: Web) -> None:
    use(web, STRANGER)
    assert home_of(web).stage is Stage.PART
    assert "1 device without a name uses Hedgerow, and is filtered as a child" in words(web, "/start/done")


def test_use_under_the_address_counts_after_a_device_has_got_its_name(web: Web) -> None:
    """Control moves what is recorded a moment later."""
    mac = DeviceId("02:00:00:00:77:0e")
    web.recorder.add([DeviceSeen(NOW - 5, mac, "192.168.1.14", mac, None, "child-8-12")])
    use(web, mac)
    web.policy_path.write_text(POLICY.replace('"02:00:00:00:77:0b"', f'"{mac}"'))
    (tablet,) = [each for each in home_of(web).named if each.id == TABLET]
    assert tablet.is_connected


def test_a_device_that_has_not_asked_for_days_is_not_called_filtered(web: Web) -> None:
    use(web, TABLET, ago=LATELY_S + 600)
    use(web, PHONE)
    assert "Has not used Hedgerow since" in words(web, "/devices")
    assert "mia-tablet (Mia) has not used Hedgerow since" in words(web, "/"), "and it was on the network a minute ago"


def test_people_and_their_pages_say_which_devices_are_not_connected(web: Web) -> None:
    web.policy_path.write_text(f"{POLICY.replace('people:', 'people:' + chr(10) + '  Kim: {age: 7}')}")
    use(web, PHONE)
    for path, shown in {
        "/people": "mia-tablet not connected yet",
        "/people/Mia": "Devices 1 mia-tablet not connected yet",
        "/people/Kim": "Devices 0 none yet, so the rules for Kim apply to no device",
    }.items():
        assert shown in words(web, path), path
    assert "not connected yet" not in words(web, "/people/Tom")


def test_a_no_to_the_check_leads_on(web: Web) -> None:
    web.control.devices["127.0.0.1"] = DeviceView(ANA, "Ana", "adult")
    page = httpx.get(f"{web.url}/check", trust_env=False, verify=False, timeout=60).text
    assert "<code>192.168.1.2</code>" in page
    assert 'href="/start/connect"' in page


def test_a_stranger_that_has_not_asked_is_not_told_that_it_is_filtered(web: Web) -> None:
    web.control.devices["127.0.0.3"] = DeviceView(STRANGER, None, "child-8-12")
    transport = httpx.HTTPTransport(local_address="127.0.0.3", verify=False)
    with httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60) as browser:
        before = browser.get("/").text
        assert "nothing is filtered on it" in before
        assert "gives it the rules" not in before
        use(web, STRANGER)
        assert "gives it the rules" in browser.get("/").text


@pytest.mark.parametrize(
    ("used", "state"),
    [
        ({}, ConnectionState.NEVER),
        ({Protection.DNS: NOW}, ConnectionState.FILTERED),
        ({Protection.GATEWAY: NOW}, ConnectionState.FILTERED),
        ({Protection.PROXY: NOW}, ConnectionState.WEBSITES),
        ({Protection.PROXY: NOW, Protection.DNS: NOW - 9}, ConnectionState.FILTERED),
        ({Protection.PROXY: NOW, Protection.DNS: NOW - LATELY_S - 1}, ConnectionState.WEBSITES),
        ({Protection.DNS: NOW - LATELY_S - 1}, ConnectionState.BEFORE),
    ],
)
def test_the_state_follows_from_the_last_use(used: Mapping[Protection, float], state: ConnectionState) -> None:
    assert connection_state(used, NOW) is state


def test_a_device_that_is_here_and_asks_little_may_know_a_second_server(web: Web) -> None:
    asked = Observation(
        NOW - 60, TABLET, "Mia", "child-8-12", RequestKind.DNS, Verdict.ALLOW, Reason.DEFAULT, "", "a.example", ""
    )
    web.recorder.add([asked])
    use(web, TABLET)
    here = {"02:00:00:00:77:0b", "02:00:00:00:77:0c"}
    assert [each.id for each in home_of(web).silent(here)] == [TABLET, PHONE]
    assert home_of(web).silent(set()) == [], "one that is off is not blamed"


def test_a_router_that_asks_for_the_whole_home_is_named_and_not_called_unfiltered(web: Web) -> None:
    router = DeviceId("02:00:00:00:77:fe")
    web.recorder.add([DeviceSeen(NOW - 60, router, "192.168.1.254", router, None, "child-8-12", "fritz-box")])
    web.recorder.flush()
    assert "fritz-box" not in words(web, "/connecting/devices")
    use(web, router)
    assert home_of(web).stage is Stage.PART
    for path in ("/", "/start/done"):
        assert "Nothing is filtered yet" not in words(web, path), path
    assert "fritz-box: This is a router or the like, and asks Hedgerow." in words(web, "/start/done")
    rows = httpx.get(f"{web.url}/api/v1/connections", trust_env=False, verify=False, timeout=60).json()
    assert "nothing is filtered" not in str(list(connection_findings(rows)))
    assert "fritz-box: This is a router or the like, and asks Hedgerow." in words(web, "/connecting/devices")


def test_this_machine_and_a_printer_are_named_for_what_they_are_and_set_nothing_up(web: Web) -> None:
    """This machine asks itself, and a printer asks for its ink: no device of the family uses Hedgerow."""
    own, printer = DeviceId(own_addresses()[0]), DeviceId("00:00:48:11:22:33")
    web.recorder.add([DeviceSeen(NOW - 60, own, str(own), None, None, "child-8-12")])
    web.recorder.add([DeviceSeen(NOW - 60, printer, "192.168.1.30", printer, None, "child-8-12")])
    web.recorder.flush()
    use(web, own)
    use(web, printer)
    assert home_of(web).stage is Stage.NONE
    for path in ("/start/done", "/connecting/devices", "/start/connect"):
        told = words(web, path)
        assert "Also here, and nobody's:" in html.unescape(told), path
        assert "This machine, Hedgerow's own" in html.unescape(told), path
        assert re.search("(Epson|Seiko Epson Corporation) · Printer", told), path
        assert "router or the like" not in told, path
    rows = httpx.get(f"{web.url}/api/v1/connections", trust_env=False, verify=False, timeout=60).json()
    roles = {row["id"]: row["role"] for row in rows if not row["is_named"]}
    assert roles == {STRANGER: "personal", own: "own", printer: "thing"}
    assert "nothing is filtered" in str(list(connection_findings([row for row in rows if not row["is_childs"]])))


def test_programs_read_the_same(web: Web) -> None:
    use(web, TABLET)
    rows = httpx.get(f"{web.url}/api/v1/connections", trust_env=False, verify=False, timeout=60).json()
    assert [(row["id"], row["state"]) for row in rows] == [
        ("mia-tablet", "filtered"),
        ("tom-phone", "never"),
        ("ana-phone", "never"),
        (STRANGER, "never"),
    ]
    found = {
        row["device"]: list(row["protections"])
        for row in httpx.get(f"{web.url}/api/v1/devices", trust_env=False, verify=False, timeout=60).json()
    }
    assert found[TABLET] == ["dns"]
    assert found[PHONE] == []


@pytest.mark.parametrize(
    ("rows", "health", "found"),
    [
        ([], Health.UNSURE, "none uses Hedgerow, so nothing is filtered"),
        ([("tablet", True, "never")], Health.UNSURE, "not connected: tablet"),
        ([("phone", False, "never")], Health.UNSURE, "none uses Hedgerow, so nothing is filtered"),
        (
            [("tablet", True, "filtered"), ("phone", False, "never")],
            Health.GOOD,
            "1 used Hedgerow in the last three days",
        ),
    ],
)
def test_the_doctor_names_devices_of_children_that_never_asked(
    rows: list[tuple[str, bool, str]], health: Health, found: str
) -> None:
    answer: list[dict[str, Any]] = [
        {"id": id, "is_childs": childs, "state": state, "role": "personal"} for id, childs, state in rows
    ]
    (finding,) = connection_findings(answer)
    assert (finding.health, finding.found) == (health, found)


def test_the_address_is_one_that_devices_reach() -> None:
    found = resolver_addresses(
        53, NetworkSettings(), ["127.0.0.1", "", "203.0.113.5", "192.168.1.2", "fe80::1", "fd00::2"]
    )
    assert (found.four, found.six, found.is_usable) == ("192.168.1.2", "fd00::2", True)
    assert not resolver_addresses(5353, NetworkSettings(), ["192.168.1.2"]).is_usable
    assert not resolver_addresses(53, NetworkSettings(), ["127.0.0.1"]).is_usable


def test_every_router_says_where_and_has_a_source() -> None:
    routers = load_routers()
    assert len([each for each in routers if each.kind is not RouterKind.NONE]) >= 10
    for each in routers:
        assert each.source.startswith("https://"), each.name
        assert each.kind is RouterKind.NONE or (each.open and each.path and each.field), each.name
        assert "192.168.1.2" in each.typed("192.168.1.2")
    assert routers[0].in_words_of("de").field == "Lokaler DNS-Server"
    assert routers[0].in_words_of("tr").field == "Local DNS server"


def test_the_step_shows_the_address_for_each_router_and_each_system(web: Web) -> None:
    """One at a time: with all drawings the page is heavy on a phone."""
    page = httpx.get(f"{web.url}/start/connect", trust_env=False, verify=False, timeout=60).text
    assert re.search('<input class="address" value="192.168.1.2" readonly', page)
    links = re.findall(r'<a class="fold make" href="(/start/connect\?make=(\w+)#make)">', page)
    makes = [each for each in load_routers() if each.kind is not RouterKind.NONE]
    closed = [each for each in load_routers() if each.kind is RouterKind.NONE]
    assert [key for _, key in links] == [*(each.key for each in (*makes, *closed)), "other", "device"]
    assert '<svg class="screen"' not in page
    for router in makes:
        path = f"/start/connect?make={router.key}"
        page = httpx.get(f"{web.url}{path}", trust_env=False, verify=False, timeout=60).text
        assert page.count('<svg class="screen"') == 1, path
        assert (router.typed("192.168.1.2") in page, router.field in page) == (True, True), path
    told = words(web, "/start/connect?make=device")
    for name in ("iPhone, iPad", "Android", "Windows", "Mac", "Chromebook"):
        assert name in told, name
    assert "Look for DHCP" in words(web, "/start/connect?make=other")
    for router in closed:
        told = words(web, f"/start/connect?make={router.key}")
        assert told.count("mostly have no setting") == 1, router.name


def test_the_step_and_the_check_get_the_address_to_which_the_browser_connected(web: Web) -> None:
    """The layout has variables of its own, which must not take the place of what a page was given."""
    page = httpx.get(f"{web.url}/start/connect", trust_env=False, verify=False, timeout=60)
    assert (page.status_code, "127.0.0.1:8053/check" in page.text) == (200, True)
    web.control.devices["127.0.0.1"] = DeviceView(ANA, "Ana", "adult", may_sign_in=True)
    page = httpx.get(f"{web.url}/check", trust_env=False, verify=False, timeout=60)
    assert '<object type="image/svg+xml" data="http' in page.text


def test_devices_beyond_a_screen_are_one_tap_away(web: Web) -> None:
    for at in (NOW - 4000, NOW - 60):
        new = [DeviceId(f"02:00:00:00:01:{number:02x}") for number in range(40)]
        web.recorder.add(DeviceSeen(at, mac, "192.168.1.99", mac, None, "child-8-12") for mac in new)
        web.recorder.flush()
    page = httpx.get(f"{web.url}/start/connect", trust_env=False, verify=False, timeout=60).text
    assert (page.count('<li class="arrival'), 'href="/start/connect?shows=all"' in page) == (24, True)
    page = httpx.get(f"{web.url}/start/connect?shows=all", trust_env=False, verify=False, timeout=60).text
    assert page.count('<li class="arrival') == 44
    (source,) = re.findall('data-source="(/connecting/devices[^"]*)"', page)
    live = httpx.get(f"{web.url}{source}", trust_env=False, verify=False, timeout=60).text
    assert live.count('<li class="arrival') == 44, "it stays whole as devices arrive"
