"""Every key of the policy that is reserved for admins, published to other sites by somebody who is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from policy_samples import LEAVES, WHOLE, changed_value, named, with_value
from postgres_server import running_server
from web_server import NOW, TOKEN, running_web

from hedgerow.features.organisation.levels import OrganisationStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion
from hedgerow.policies.reading.key_scopes import KeyPath
from hedgerow.policies.reading.schema_types import KeyScope

VERSIONS = "/api/v1/organisation/versions"
SITE = str(WHOLE["network"]["site"])
PLACES: dict[str, dict[str, Any]] = {
    "organisation": {},
    "group": {"group": "north"},
    "some sites": {"group": "north", "only": ["cafe-7"]},
    "site": {"site": SITE},
}
RESERVED = [path for path, scope in LEAVES if scope is not KeyScope.MANAGE]


@dataclass(frozen=True, slots=True)
class Office:
    """Clients of an office's API: an admin's, and one with a token of the scope `manage`."""

    admin: httpx.Client
    manager: httpx.Client


def at(place: str, document: dict[str, Any], path: KeyPath = ()) -> str:
    """Return a policy without the keys that a place may not have, except for the one that is tried.

    No two levels name a list alike.
    """
    unknown = {"include", "locked"} if place == "site" else {"include"}
    lists = [{**each, "name": f"lists of {place}"} for each in document["lists"]]
    return json.dumps(
        {key: value for key, value in (document | {"lists": lists}).items() if key not in unknown or path == (key,)}
    )


def client(url: str, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60, verify=False
    )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """An office that has published every key at each level, in the store of a site that shares its policy."""
    with running_server() as server:
        address = server.address(server.database())
        with closing(open_journal(address)) as store:
            shared = PolicyVersion(0, NOW, SITE, "", "node", 0, {MAIN_FILE: at("site", WHOLE)})
            OrganisationStore(store).of_level(SITE).add(shared)
        with running_web(tmp_path_factory.mktemp("office"), store=address) as web, client(web.url, TOKEN) as admin:
            for place in ("organisation", "group"):
                answer = admin.post(VERSIONS, json={"policy": at(place, WHOLE), **PLACES[place]})
                assert answer.status_code == 201, answer.text
            token = admin.post("/api/v1/tokens", json={"name": "rollout", "scopes": ["manage"]}).json()["token"]
            with client(web.url, token) as manager:
                yield Office(admin, manager)


@pytest.mark.parametrize("place", PLACES)
def test_only_admins_publish_a_reserved_key(place: str, office: Office) -> None:
    for path in RESERVED:
        wanted = at(place, with_value(path, changed_value(path)), path)
        answer = office.manager.post(VERSIONS, json={"policy": wanted, **PLACES[place]})
        key = ".".join(named(path))
        assert answer.status_code == 403, (key, answer.text)
        assert answer.json()["detail"] == f"Only an admin may change {key} in the policy, so nothing was changed."


@pytest.mark.parametrize("place", PLACES)
def test_managers_publish_other_keys(place: str, office: Office) -> None:
    for path in (("network", "country"), ("people", "*", "bedtime"), ("cafe", "name"), ("lists", "[]", "format")):
        for document in (with_value(path, changed_value(path)), WHOLE):
            answer = office.manager.post(VERSIONS, json={"policy": at(place, document), **PLACES[place]})
            assert answer.status_code == 201, (path, answer.text)


def test_files_of_the_sites_are_not_looked_for_at_the_office(office: Office) -> None:
    names = "code_of_conduct: house-rules.txt\nnetwork: {holidays: [school.ics]}\n"
    for place in ({"group": "south"}, {"group": "west", "only": ["cafe-7"]}):
        answer = office.admin.post(VERSIONS, json={"policy": names, **place})
        assert answer.status_code == 201, answer.text
