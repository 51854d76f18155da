"""The pages and the API of all sites: what they report, and policies published by the office and by the manager of one
site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from postgres_server import running_server
from web_server import NOW, TOKEN, Web, running_web
from web_server.household import fill

from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.control import Status, WorkerHealth
from hedgerow.dashboards.deferred_app import health_of, readiness_problems
from hedgerow.features.organisation.levels import OrganisationStore, SiteState
from hedgerow.features.organisation.pages import PROBLEMS
from hedgerow.journal.batch import Batch
from hedgerow.journal.database import open_journal
from hedgerow.journal.policy_history import PolicyVersion
from hedgerow.journal.postgresql_rights import grant_site, make_role
from hedgerow.journal.store import Store, StoreAddress
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

BASE = "locked: [profiles.child-8-12.block]\nprofiles:\n  child-8-12: {block: [+roblox]}\n"
NEXT = BASE.replace("+roblox", "+roblox, +tiktok")
STATE = SiteState("0.2.0", "0123", {}, 5, {}, 0, 0, ())


def test_sites_in_need_of_attention_come_first(web: Web) -> None:
    fill(web)
    answer = httpx.get(
        f"{web.url}/organisation", headers={"Authorization": f"Bearer {TOKEN}"}, verify=False, timeout=60
    )
    assert answer.status_code == 200
    for words in (
        "2 machines report.",
        "2 need attention.",
        "some workers are not running",
        "7 / 20",
        "never seen",
        "only at: cafe-1",
        "Blocked by topic",
        ">31<",
    ):
        assert words in answer.text
    assert all(words in answer.text for words in ("Blocked by topic in the last 24 hours", ">31<"))
    with caller(web.url) as script:
        refused = script.post("/api/v1/organisation/versions", json={"policy": BASE})
    assert (refused.status_code, "this machine keeps its own" in refused.json()["detail"]) == (422, True)


def test_many_machines_are_searched_and_turned_over(web: Web) -> None:
    organisation = OrganisationStore(web.engine)
    for number in range(103):
        organisation.report(f"node-{number}", NOW, STATE)
    with caller(web.url) as person:

        def shown(**query: str | int) -> list[str]:
            return re.findall(r"<bdi>(node-\d+)</bdi>", person.get("/organisation", params=query).text)

        names = sorted(f"node-{number}" for number in range(103))
        assert (shown(), shown(page=2), shown(page=99)) == (names[:100], names[100:], names[100:])
        assert shown(q=" NODE-77 ") == ["node-77"]
        assert "No machine matches." in person.get("/organisation", params={"q": "atlantis"}).text


def caller(url: str, token: str = TOKEN) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}", "origin": url}
    return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30, verify=False)


class Chain(NamedTuple):
    """Clients of the pages of an office and of a site, the office's URL, and the store as the site and as its owner see
    it.
    """

    office: httpx.Client
    site: httpx.Client
    url: str
    store: Store
    owner: Store


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """An office and the site `cafe-1`, whose role manages it, in one store."""
    with running_server() as server, ExitStack() as running:
        database = server.database()
        with closing(open_journal(server.address(database))) as owner:
            server.execute("ALTER ROLE hedgerow CREATEROLE")
            with owner.begin() as connection:
                make_role(connection, "cafe", "a password")
                grant_site(connection, "cafe", "cafe-1", may_manage=True)

        def served(role: str, site: str | None) -> Web:
            folder: Path = tmp_path_factory.mktemp(role)
            store = StoreAddress(server.address(database, role).url, None, site)
            return running.enter_context(running_web(folder, store=store))

        office, site = served("hedgerow", None), served("cafe", "cafe-1")
        for web in (office, site):
            OrganisationStore(web.engine).report("node", NOW, STATE)
        yield Chain(
            running.enter_context(caller(office.url)),
            running.enter_context(caller(site.url)),
            office.url,
            site.engine,
            office.engine,
        )


def test_an_office_publishes_by_api(chain: Chain) -> None:
    office, site, _url, store, owner = chain
    made = office.post("/api/v1/organisation/versions", json={"policy": BASE, "note": "the first"}).json()
    assert (made["note"], made["only"], made["actor"]) == ("the first", [], "the command line")
    tried = office.post("/api/v1/organisation/versions", json={"policy": NEXT, "only": ["cafe-7"]}).json()
    assert [each["id"] for each in office.get("/api/v1/organisation/versions").json()] == [tried["id"], made["id"]]
    found = office.get(f"/api/v1/organisation/versions/{tried['id']}").json()
    assert (found["level"], found["files"]) == ("@", {"hedgerow.yaml": NEXT})
    assert "+  child-8-12: {block: [+roblox, +tiktok]}" in found["diff"]
    same = office.get(f"/api/v1/organisation/versions/{made['id']}", params={"against": made["id"]}).json()
    assert same["diff"] == []

    # Which other sites try a version is not for a site to see, nor the version.
    assert [each["id"] for each in site.get("/api/v1/organisation/versions").json()] == [made["id"]]
    assert site.get(f"/api/v1/organisation/versions/{tried['id']}").status_code == 404
    assert [each["site"] for each in site.get("/api/v1/organisation/sites").json()] == ["cafe-1"]
    assert {each["site"] for each in office.get("/api/v1/organisation/sites").json()} == {"home", "cafe-1"}

    # The office sees who has a version, and who refuses it and why.
    again = office.post("/api/v1/organisation/versions", json={"version": made["id"]}).json()
    taken = replace(STATE, versions={"organisation": again["id"]})
    refusing = replace(STATE, refused={"organisation": again["id"]}, refusal="line 2: <b> is locked")
    OrganisationStore(owner).report("node", NOW, taken)
    OrganisationStore(store).report("node", NOW, refusing)
    place = f"/organisation/versions/{again['id']}"
    answers = office.get(f"/api/v1{place}/answers", params={"wait": 5}).json()
    assert {each["site"]: (each["answer"], each["why"]) for each in answers} == {
        "home": ("taken", ""),
        "cafe-1": ("refused", "line 2: <b> is locked"),
    }
    page = office.get(place).text
    assert "1 machine has it, or a newer one. 1 refuses it." in page
    assert "line 2: &lt;b&gt; is locked" in page
    assert [each["site"] for each in site.get(f"/api/v1{place}/answers").json()] == ["cafe-1"]
    for engine in (owner, store):
        OrganisationStore(engine).report("node", NOW, STATE)
    assert again["note"] == f"version {made['id']} again"
    assert OrganisationStore(store).levels()["organisation"].id == again["id"]


def test_one_search_finds_what_all_sites_recorded_and_no_more(chain: Chain) -> None:
    office, site = chain.office, chain.site

    def seen(device: str, person: str | None, host: str, at: float = NOW) -> Observation:
        rule = (RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult")
        return Observation(at, DeviceId(device), person, "child-8-12", *rule, host)

    # What a person's privacy leaves of a decision is what workers send: at `category` no host, at `none` nothing.
    here = [seen("Tablet-1", "Élodie", "www.naughty.example", NOW + 1), seen("Tablet-1", "Élodie", "")]
    Batch([*here, *(seen("pc", None, f"n{number}.many.example") for number in range(120))]).write(chain.store)
    Batch([seen("laptop", "tom", "naughty.example"), seen("laptop", "tom", "img.100%.example", NOW - 1)]).write(
        chain.owner
    )

    def found(text: str, by: httpx.Client = office) -> list[tuple[str, str]]:
        answer = by.get("/api/v1/organisation/search", params={"q": text}).json()
        assert answer["is_complete"] is (text != "many.example"), answer
        return [(each["site"], each["decision"]["host"]) for each in answer["decisions"]]

    both = [("cafe-1", "www.naughty.example"), ("home", "naughty.example")]
    assert found("naughty.example") == found(" AUGHTY") == both
    assert found("www.naughty.example") == found("naughty", site) == both[:1]
    assert found("élodie") == found("tablet") == found("LODIE", site) == [both[0], ("cafe-1", "")]
    assert found("0%.ex") == [("home", "img.100%.example")]
    assert found("laptop", site) == found("example.org") == found("_%") == []
    assert len(found("many.example")) == 100  # at most
    assert office.get("/api/v1/organisation/search", params={"q": "x"}).status_code == 422

    page = office.get("/organisation/search", params={"q": "naughty"}).text
    assert all(f"<bdi>{name}</bdi>" in page for name in ("cafe-1", "home", "Élodie", "tom"))
    assert "Search this site" in site.get("/organisation/search", params={"q": "naughty"}).text
    assert "There may be more." in office.get("/organisation/search", params={"q": "many.example"}).text
    reader = office.post("/api/v1/tokens", json={"name": "reader", "scopes": ["read"]}).json()["token"]
    with caller(chain.url, reader) as stranger:
        assert stranger.get("/api/v1/organisation/search", params={"q": "naughty"}).status_code == 403


def test_what_can_not_be_published(chain: Chain) -> None:
    office, site = chain.office, chain.site
    newest = office.post("/api/v1/organisation/versions", json={"policy": BASE}).json()["id"]

    def check(body: dict[str, object], words: str, by: httpx.Client = office, status: int = 422) -> None:
        answer = by.post("/api/v1/organisation/versions", json=body)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]

    check({"policy": "profiles:\n  child: {block: [+roblox]}\n"}, "line 2: ")
    check({"policy": "locked: [peopel]\n"}, "a policy has no key 'peopel'")
    check(
        {"policy": BASE.partition("\n")[2], "group": "north"}, "locked by the organisation (organisation.yaml, line 1)"
    )
    check({"policy": NEXT, "follows": newest - 1}, "Somebody else has just published")
    check({"policy": NEXT, "only": ["Café 1"]}, "lower-case letters")
    check({"policy": NEXT, "group": "North!"}, "lower-case letters")
    check({"policy": NEXT, "version": newest}, "or the `version`")
    check({"version": newest + 1000}, "there is no version", status=404)
    check({"policy": NEXT, "site": "cafe-1", "only": ["cafe-1"]}, "in force there only")
    check({"policy": "network: {site: cafe-2}\n", "site": "cafe-1"}, "without network.site: cafe-1")
    check({"policy": NEXT, "group": "north", "follows": newest}, "Somebody else has just published")
    check({"policy": NEXT}, "belongs to the site cafe-1", site)
    check({"policy": NEXT, "group": "north"}, "belongs to the site cafe-1", site)
    check({"policy": NEXT, "site": "cafe-2"}, "belongs to the site cafe-1", site)
    refused = site.put("/api/v1/organisation/sites/cafe-1", json={"group": "south"})
    assert (refused.status_code, "office" in refused.json()["detail"]) == (422, True)
    token = office.post("/api/v1/tokens", json={"name": "ci", "scopes": ["manage"]}).json()["token"]
    with caller(chain.url, token) as ci:
        check(
            {"policy": f"{BASE}code_of_conduct: /etc/passwd\n"},
            "Only an admin may change code_of_conduct in the policy",
            ci,
            403,
        )
        assert ci.post("/api/v1/organisation/versions", json={"policy": NEXT}).status_code == 201
    kept = "network: {site: cafe-1, store: 'postgresql://cafe@db.example/h'}\n"
    assert site.post("/api/v1/organisation/versions", json={"policy": kept, "site": "cafe-1"}).status_code == 201
    check(
        {"policy": "network: {site: cafe-1}\n", "site": "cafe-1"},
        "without network.store: postgresql://cafe@db.example/h",
        site,
    )


def test_keys_of_admins_are_published_by_admins(chain: Chain) -> None:
    office, url = chain.office, "/api/v1/organisation/versions"
    token = office.post("/api/v1/tokens", json={"name": "rollout", "scopes": ["manage"]}).json()["token"]
    listen = "network: {listen: {dns: '127.0.0.1:5400', web: '127.0.0.1:8400'}}\n"
    with caller(chain.url, token) as ci:

        def refused(answer: httpx.Response, key: str) -> None:
            assert answer.status_code == 403, answer.text
            assert answer.json()["detail"] == f"Only an admin may change {key} in the policy, so nothing was changed."

        def published(by: httpx.Client, **body: object) -> int:
            answer = by.post(url, json=body)
            assert answer.status_code == 201, answer.text
            return int(answer.json()["id"])

        published(office, policy="people: {}\n")
        keys = "network.listen.dns, network.listen.web"
        for place in ({}, {"group": "north"}, {"site": "cafe-9"}, {"only": ["cafe-9"]}):
            text = listen.replace("{listen", "{site: cafe-9, listen") if "site" in place else listen
            answer = ci.post(url, json=place | {"policy": text})
            assert answer.status_code == 403, answer.text
        refused(ci.post(url, json={"policy": listen}), keys)
        refused(ci.post(url, json={"policy": "locked: [network.upstream]\n"}), "locked")

        older = published(office, policy=listen)
        published(ci, policy=f"{listen}people: {{}}\n")  # the key is as it was
        refused(ci.post(url, json={"policy": "people: {}\n"}), keys)
        assert "The policy would be invalid" in ci.post(url, json={"policy": "people: ["}).json()["detail"]
        newer = published(office, policy="people: {}\n")
        refused(ci.post(url, json={"version": older}), keys)
        form = {"policy": listen, "follows": str(newer)}
        page = ci.post("/organisation/edit", data=form)
        assert page.status_code == 403
        assert "Only an admin may change network.listen.dns" in page.text

        tried = published(office, policy=listen, only=["cafe-9"])
        refused(ci.post(url, json={"version": tried}), keys)  # for all sites, what an admin lets one of them try
        refused(ci.post(url, json={"policy": "people: {}\n"}), keys)  # and back at that one
        published(ci, policy="people: {}\n", only=["cafe-8"])
        published(ci, version=tried, only=["cafe-9"])

        published(office, group="south", policy=listen)
        refused(ci.put("/api/v1/organisation/sites/cafe-9", json={"group": "south"}), keys)
        assert office.put("/api/v1/organisation/sites/cafe-9", json={"group": "south"}).status_code == 204
        refused(ci.put("/api/v1/organisation/sites/cafe-9", json={"group": None}), keys)
        assert ci.put("/api/v1/organisation/sites/cafe-8", json={"group": "west"}).status_code == 204


def test_an_office_publishes_on_its_pages(chain: Chain) -> None:
    office, site, _url, store, _owner = chain
    assert office.post("/organisation/sites", data={"site": "cafe-1", "group": "north"}).status_code == 303
    page = office.get("/organisation")
    assert "Policy of the group north" in page.text
    assert "No version has been published yet." in page.text
    form = office.get("/organisation/edit", params={"group": "north"}).text
    follows = re.search(r'name="follows" value="(\d+)"', form)
    assert follows is not None
    sent = {"group": "north", "follows": follows[1], "policy": "people: [<b>]\r\n", "only": "", "note": "for the north"}
    refused = office.post(
        "/organisation/edit", data=sent, headers={"referer": f"{office.base_url}organisation/edit?group=north"}
    )
    assert refused.status_code == 422
    assert "people: [&lt;b&gt;]" in refused.text
    assert "The policy would be invalid: line 1" in refused.text
    done = office.post("/organisation/edit", data=sent | {"policy": "network:\r\n  timezone: Europe/Lisbon\r\n"})
    place = done.headers["location"]
    shown = office.get(place).text
    assert "<ins>+  timezone: Europe/Lisbon</ins>" in shown
    assert "for the north" in shown
    assert OrganisationStore(store).levels()["group"].files["hedgerow.yaml"] == "network:\n  timezone: Europe/Lisbon\n"
    office.post(
        "/organisation/edit",
        data=sent | {"policy": "network: {}", "follows": place.rpartition("/")[2], "only": "cafe-1 cafe-2"},
    )
    again = office.post(place, data={"only": ""})
    assert again.headers["location"] != place
    kept = again.headers["location"].rpartition("/")[2].partition("?")[0]
    assert OrganisationStore(store).levels()["group"].id == int(kept)

    # The manager of a site sees what is in force there, and no form.
    seen = site.get("/organisation").text
    assert "Policy of the group north" in seen
    assert "/organisation/edit" not in seen
    assert 'action="/organisation' not in site.get(again.headers["location"]).text
    assert site.post("/organisation/sites", data={"site": "cafe-1", "group": "south"}).status_code == 422
    assert site.post("/organisation/edit", data=sent | {"policy": "network: {}"}).status_code == 422


def test_an_office_changes_the_policy_of_one_site_and_goes_back(chain: Chain) -> None:
    office, site = chain.office, chain.site
    assert 'href="/organisation/edit?site=cafe-1"' in office.get("/organisation").text
    assert "does not share its policy file" in office.get("/organisation/edit", params={"site": "cafe-9"}).text
    old, new = "people: {mia: {age: 9}}\n", "people: {mia: {age: 10}}\n"
    versions = OrganisationStore(chain.store).of_level("cafe-1")
    before, beside = versions.newest(), {"more.yaml": "people: {}\n"}
    first = versions.add(
        PolicyVersion(0, NOW, "node", "", "node", before.id if before else 0, {"hedgerow.yaml": old, **beside})
    )

    def in_force() -> dict[str, str]:
        newest = versions.newest()
        assert newest is not None
        return dict(newest.files)

    form = office.get("/organisation/edit", params={"site": "cafe-1"}).text
    assert old in form
    assert 'name="only"' not in form
    assert f'href="/organisation/versions/{first}"' in form
    done = office.post("/organisation/edit", data={"site": "cafe-1", "follows": first, "policy": new})
    assert done.status_code == 303, done.text
    assert "Policy of the site cafe-1" in office.get(done.headers["location"]).text
    assert in_force() == {"hedgerow.yaml": new, **beside}
    assert site.post(f"/organisation/versions/{first}", data={}).status_code == 303, (
        "the site's own manager may go back, too"
    )
    assert in_force() == {"hedgerow.yaml": old, **beside}
    assert (
        office.post("/organisation/edit", data={"site": "cafe-1", "group": "north", "policy": new}).status_code == 422
    )


def test_the_page_of_all_sites_translates_what_its_machines_report() -> None:
    stopped = WorkerHealth("dns-0", "dns", "stopped", NOW)
    wrong = Status(
        "0", NOW, "UTC", workers=(stopped,), policy_problems=(Problem("x", None, None, "y"),), rules_in_force=False
    )
    found = readiness_problems(health_of(wrong))
    assert len(found) > 2
    assert set(found) <= set(PROBLEMS)
