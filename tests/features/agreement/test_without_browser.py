"""The agreement by API and command: what the pages do, and no child signs for a parent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.app.cli import make_cli
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.scopes import ROLE_SCOPES, TOKEN_SCOPES, AccessScope, Role
from hedgerow.features.agreement.actions import AGREEMENT_ACTIONS
from hedgerow.features.agreement.agreements import Agreements
from hedgerow.features.agreement.terms import Side
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: PT}
people:
  mia: {age: 9, devices: [mia-tablet], budget: 1h, block: [roblox], bedtime: "21:00-07:00"}
  Ana: {profile: adult}
devices:
  mia-tablet: {ip: 127.0.0.31}
"""
MIA = "127.0.0.31"


@dataclass
class House:
    """The web server of a family, for scripts, commands and the child's browser."""

    web: Web

    def api(self, method: str, path: str, token: str = TOKEN, address: str = "", **body: object) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {"origin": self.web.url}
        transport = httpx.HTTPTransport(local_address=address or None, verify=False)
        with httpx.Client(base_url=self.web.url, transport=transport, trust_env=False, timeout=60) as client:
            return client.request(method, f"/api/v1{path}", json=body or None, headers=headers)

    def command(self, *words: str) -> str:
        done = CliRunner().invoke(make_cli(), ["agreement", *words, "--state", str(self.web.policy_path.parent)])
        return done.stdout + done.stderr

    @property
    def agreements(self) -> Agreements:
        return Agreements(self.web.engine, self.web.control.policy, lambda _notices: None, lambda: NOW)

    def child_says_yes(self) -> None:
        self.agreements.say_yes(Side.CHILD, "mia", seen=self.agreements.standing("mia").terms.digest)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    place = Endpoint("127.0.0.1", 9)
    settings = Settings(tmp_path, None, place, place, place)
    settings.run.mkdir()
    settings.save()
    settings.control_socket.symlink_to(tmp_path / "control.sock")
    with running_web(tmp_path, clock=lambda: NOW) as web:
        web.control.devices[MIA] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12", grade=Grade.ADDRESS)
        yield House(web)


def test_a_parent_reads_and_signs_by_api(house: House) -> None:
    found = house.api("GET", "/agreements/mia").json()
    assert [each["person"] for each in house.api("GET", "/agreements").json()] == ["mia"]
    assert "The internet is off at night: every night 21:00–07:00" in found["terms"]
    assert "Closed: " in " ".join(found["terms"])
    signed = house.api(
        "POST", "/agreements/mia/yes", seen=found["seen"], promises=["table"], words="We play.", months=1
    )
    assert signed.status_code == 200
    said = signed.json()
    assert (said["parent_said_yes"], said["child_said_yes"], said["months"]) == (True, False, 1)
    assert said["promises"] == ["table"]
    assert "Promise: We play." in said["terms"]
    again = house.api("POST", "/agreements/mia/yes", seen=said["seen"]).json()
    assert (again["promises"], again["words"]) == (["table"], "We play."), "what is left out stays"
    house.child_says_yes()
    assert house.api("GET", "/agreements/mia").json()["is_agreed"]


def test_a_parent_reads_and_signs_by_command(house: House) -> None:
    assert "not agreed yet" in house.command("list")
    shown = house.command("show", "mia")
    assert "21:00–07:00" in shown
    assert "parents: not yet." in shown
    seen = shown.rpartition("Terms: ")[2].strip()
    assert "Now it is mia's turn." in house.command("yes", "mia", "--seen", seen, "--promise", "why", "--months", "6")
    assert "waits for the child" in house.command("list")
    house.child_says_yes()
    assert "both have said yes" in house.command("list")
    assert "You look at the rules of mia again on 2026-07-01." in house.command("look", "mia", "2026-07-01")
    assert "Next look: 2026-07-01" in house.command("show", "mia")


def test_the_day_of_the_next_look_is_read_on_both_pages_and_reminds_again(house: House) -> None:
    seen = house.agreements.standing("mia").terms.digest
    assert house.api("POST", "/agreements/mia/look", day="2026-07-01").status_code == 422, "nobody has agreed yet"
    house.api("POST", "/agreements/mia/yes", seen=seen)
    house.child_says_yes()
    with httpx.Client(base_url=house.web.url, trust_env=False, timeout=60, verify=False) as parent:
        sent = {"origin": house.web.url}
        done = parent.post("/agreement/mia/look", data={"day": "2026-07-01"}, headers=sent, follow_redirects=True)
        assert "The day of the next look is on both pages." in done.text
    assert house.agreements.standing("mia").agreement.look_at == 1_782_864_000.0


@pytest.mark.parametrize("day", ["", "soon", "2026-05-28", "1900-01-01", "2027-12-01", "9999-12-31", "2026-13-01"])
def test_made_up_days_change_nothing(house: House, day: str) -> None:
    house.api("POST", "/agreements/mia/yes", seen=house.agreements.standing("mia").terms.digest)
    house.child_says_yes()
    before = house.agreements.store.of_person("mia")
    assert house.api("POST", "/agreements/mia/look", day=day).status_code == 422
    assert house.agreements.store.of_person("mia") == before


@pytest.mark.parametrize(
    "order",
    [{"seen": "x"}, {"months": 2}, {"months": 0}, {"months": "x"}, {"promises": ["money"]}, {"words": "x" * 999}],
)
def test_made_up_terms_sign_nothing(house: House, order: dict[str, Any]) -> None:
    seen = house.agreements.standing("mia").terms.digest
    assert house.api("POST", "/agreements/mia/yes", **({"seen": seen} | order)).status_code == 422
    assert house.agreements.store.all() == ()


def test_adults_and_people_who_are_removed_have_no_agreement(house: House) -> None:
    for name in ("Ana", "nobody"):
        assert house.api("GET", f"/agreements/{name}").status_code == 422
        assert house.api("POST", f"/agreements/{name}/yes", seen="x").status_code == 422
    assert house.agreements.store.all() == ()


def test_signing_takes_the_right_to_change_rules() -> None:
    """A child may have a token to read, or an account that opens seats."""
    for signing in AGREEMENT_ACTIONS:
        assert signing.access is AccessScope.MANAGE
    assert AccessScope.MANAGE not in TOKEN_SCOPES["read"] | ROLE_SCOPES[Role.OPERATOR]


def test_no_child_signs_for_a_parent_and_no_script_for_a_child(house: House) -> None:
    seen = house.agreements.standing("mia").terms.digest
    for path in ("/agreements/mia/yes", "/agreements/mia/look"):
        body = {"seen": seen} if path.endswith("yes") else {"day": "2026-07-01"}
        for token in ("", "made-up"):
            assert house.api("POST", path, token=token, address=MIA, **body).status_code in (401, 403), token
    assert house.api("GET", "/agreements/mia", token="", address=MIA).status_code in (401, 403)
    transport = httpx.HTTPTransport(local_address=MIA, verify=False)
    with httpx.Client(base_url=house.web.url, transport=transport, trust_env=False, timeout=60) as child:
        answer = child.post("/agreement/mia/yes", data={"seen": seen, "months": "3"}, headers={"origin": house.web.url})
        assert answer.status_code in (303, 401, 403)
    assert house.api("POST", "/agreements/mia/yes", seen=seen, side="child").status_code == 422
    assert house.agreements.store.all() == ()
