"""Switches of several people match each person's decisions, before and after a change, whichever page is
opened first.
"""

import itertools

import httpx
import pytest
from web_server import NOW, view_of
from web_server.switches import ShownSwitches

from hedgerow.policies.decide import decide
from hedgerow.policies.explain import find_device
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Request, RequestKind, Verdict
from hedgerow.policies.reading.load import load_policy

HOUSE = """\
network: {timezone: Europe/Lisbon}
people:
  mia: {age: 6, devices: [mia-tablet]}
  tom: {age: 14, devices: [tom-phone]}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  mia-tablet: {ip: 192.168.1.31}
  tom-phone: {ip: 192.168.1.32}
  ana-phone: {ip: 192.168.1.33}
"""
DEVICES = {"mia": "mia-tablet", "tom": "tom-phone", "Ana": "ana-phone"}
SITES = {"gambling": "pokerstars.com", "dating": "tinder.com", "adult": "pornhub.com"}
"""A site of each topic that does not belong to a service."""


@pytest.fixture
def browser(web):
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=30, headers={"origin": web.url}, verify=False
    ) as client:
        yield client


def shown(browser, name):
    """Return the state of each switch on a person's page."""
    return {id: each.is_on for id, each in ShownSwitches.of(browser, name).by_id.items()}


def own_rules(switches):
    return {id for id, each in switches.by_id.items() if each.is_own}


def decided(view, name):
    """Return the verdicts of `decide` for a person's device."""
    device = find_device(view.rulesets, DEVICES[name])
    assert device is not None
    ruleset = view.rulesets.ruleset(device, NOW)
    hosts = {id: service.domains[0] for id, service in Services.load().by_id.items() if service.domains} | SITES
    requests = {id: Request(device.id, RequestKind.DNS, host) for id, host in hosts.items()}
    return {
        id: decide(ruleset, view.catalogue, request).verdict is not Verdict.BLOCK for id, request in requests.items()
    }


def assert_all_agree(web, browser, order):
    """Return what the pages of all show, opened in this order."""
    view = view_of(load_policy(web.policy_path))
    pages = {}
    for name in order:
        pages[name], verdicts = ShownSwitches.of(browser, name), decided(view, name)
        assert {id: pages[name].by_id[id].is_on for id in verdicts} == verdicts, name
    return pages


@pytest.mark.parametrize("order", list(itertools.permutations(DEVICES)), ids="-".join)
def test_switches_match_decisions_before_and_after_each_change(web, browser, order):
    pages = assert_all_agree(web, browser, order)
    for name in order:
        assert own_rules(pages[name]) == set(), "nobody has a rule of their own yet"
    for name, item in itertools.product(order, ("tiktok", "roblox", "gambling")):
        was = pages[name].by_id[item].is_on
        answer = browser.post(f"/people/{name}/switch", data={"close" if was else "open": item, "sure": "yes"})
        assert "saved=0" not in answer.headers["location"], f"nothing had to change for {name}: {item}"
        pages = assert_all_agree(web, browser, order)
        assert pages[name].by_id[item].is_on is not was, (name, item)
    for name in order:
        assert own_rules(pages[name]) == {"tiktok", "roblox", "gambling"}


def test_switching_back_restores_everybodys_rules(web, browser):
    for first, second in itertools.permutations(DEVICES, 2):
        shown(browser, first)
        there, back = ("close", "open") if shown(browser, second)["tiktok"] else ("open", "close")
        assert "saved=0" not in browser.post(f"/people/{second}/switch", data={there: "tiktok"}).headers["location"]
        assert "saved=0" not in browser.post(f"/people/{second}/switch", data={back: "tiktok"}).headers["location"]
        assert web.policy_path.read_text() == HOUSE


def test_a_service_opens_in_a_topic_that_is_closed_for_the_same_person(web, browser):
    browser.post("/people/Ana/switch", data={"close": "social"})
    assert shown(browser, "Ana")["tiktok"] is False
    assert "tiktok" not in own_rules(ShownSwitches.of(browser, "Ana")), "the rule is for the topic"
    browser.post("/people/Ana/switch", data={"open": "tiktok"})
    assert shown(browser, "Ana")["tiktok"] is True
    assert_all_agree(web, browser, DEVICES)


def test_expired_rules_do_not_affect_switches(web, browser):
    web.policy_path.write_text(HOUSE.replace("{age: 14,", "{age: 14, block: [{what: shopping, until: 2026-01-01}],"))
    assert shown(browser, "tom")["shopping"] is True
    assert "shopping" not in own_rules(ShownSwitches.of(browser, "tom"))


def test_a_person_page_sets_what_happens_to_names_that_no_list_has(web, browser):
    def level():
        content = load_policy(web.policy_path).people["tom"].rules.content
        return content.name_block, content.name_mark

    assert "as the profile says: block the site" in browser.get("/people/tom/protection").text
    for chosen, expected in (("mark", (0, 60)), ("off", (0, 0)), ("block", (60, None)), ("", (None, None))):
        answer = browser.post("/people/tom/names", data={"level": chosen})
        assert "saved=0" not in answer.headers["location"], chosen
        assert level() == expected
        assert f'<option value="{chosen}" selected>' in browser.get("/people/tom/protection").text
    assert "saved=0" in browser.post("/people/tom/names", data={"level": ""}).headers["location"]
    assert browser.post("/people/tom/names", data={"level": "sometimes"}).status_code >= 400
