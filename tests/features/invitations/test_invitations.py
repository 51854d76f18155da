"""Invitations on the pages, by the API and on the command line, and roles that change later."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner
from web_server import NOW, OWNER, TOKEN, Web, running_web

from hedgerow.app.cli import make_cli
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.dashboards.accounts import ExternalIdentity
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.scopes import Role
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy

PHONE, OTHER_PHONE, CHILD, LAPTOP, SEAT = "127.0.0.21", "127.0.0.22", "127.0.0.23", "127.0.0.24", "127.0.0.25"
PASSWORD = "quiet hedgehog on a wall"
ADULTS = """
people:
  mia: {age: 9, devices: [mia-tablet]}
  Ana: {profile: adult, devices: [ana-laptop]}
  Ben: {profile: adult}
devices:
  mia-tablet: {ip: 127.0.0.23}
  ana-laptop: {ip: 127.0.0.24}
"""


@pytest.fixture
def now() -> list[float]:
    """The time on the clock of the house, in its first item."""
    return [NOW]


@pytest.fixture
def house(tmp_path: Path, now: list[float]) -> Iterator[Web]:
    """A family of two adults, of whom one has an account, with phones that nobody has named."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "hedgerow.yaml").write_text(f"network: {{timezone: UTC}}{ADULTS}")
    with running_web(state, clock=lambda: now[0]) as web:
        yield with_devices(web)


def with_devices(web: Web) -> Web:
    views = web.control.devices
    for address in (PHONE, OTHER_PHONE):
        views[address] = DeviceView(DeviceId(address), None, "child-8-12")
    views[CHILD] = DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12")
    views[LAPTOP] = DeviceView(DeviceId("ana-laptop"), "Ana", "adult", may_sign_in=True)
    views[SEAT] = DeviceView(DeviceId("seat-1"), None, "child-8-12", is_seat=True)
    return web


@contextmanager
def browser(web: Web, address: str = "127.0.0.1", **headers: str) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(local_address=address, verify=False)
    with httpx.Client(
        base_url=web.url, transport=transport, trust_env=False, timeout=30, headers={"origin": web.url} | headers
    ) as client:
        yield client


def invite(web: Web, name: str = "Ben", role: str = "parent") -> str:
    """Invite somebody on the page of settings. Returns the code that the page shows."""
    with browser(web) as ana:
        page = ana.post("/settings/invitations", data={"name": name, "role": role})
    assert page.status_code == 200, page.text
    return html.unescape(page.text).split("/invitation?")[1].split("#")[1][:19]


def accept(client: httpx.Client, code: str, password: str = PASSWORD, own: str = "") -> httpx.Response:
    return client.post("/invitation", data={"code": code, "password": password, "own": own})


def names(web: Web) -> dict[str, str]:
    return {row.name: row.role for row in web.accounts.accounts()}


def test_the_other_parent_scans_the_code_and_manages_at_once(house: Web) -> None:
    code = invite(house)
    assert re.fullmatch(r"(?:[A-HJKMNP-Z2-9]{4}-){3}[A-HJKMNP-Z2-9]{4}", code)
    with browser(house, PHONE, **{"user-agent": "Mozilla/5.0 (iPhone) Mobile"}) as phone:
        welcome = phone.get("/invitation?name=Ben")
        assert (welcome.status_code, "Welcome, Ben" in welcome.text) == (200, True)
        done = accept(phone, code, own="yes")
        assert done.status_code == 303
        assert re.fullmatch(r"/\?done=[\w-]+", done.headers["location"])
        assert phone.post("/people/mia/age", data={"age": "10"}).status_code == 303, "he is signed in as a parent"
        assert phone.get("/settings").status_code == 200
        assert phone.post("/settings/accounts/remove", data={"name": "Ana"}).status_code == 403, "which is for admins"
    policy = load_policy(house.policy_path)
    assert {name: device.person for name, device in policy.devices.items() if device.person == "Ben"} == {
        "Ben phone": "Ben"
    }
    with browser(house, LAPTOP) as laptop:
        assert laptop.post("/sign-in", data={"name": "ben", "password": PASSWORD}).status_code == 303


def test_the_parent_who_invites_sees_it_once_and_then_who_used_it(house: Web) -> None:
    code = invite(house)
    with browser(house) as ana:
        waiting = ana.get("/settings").text
        assert "invited by" in waiting
        assert "/settings/invitations/withdraw" in waiting
        assert code not in waiting
        assert code not in ana.get("/api/v1/invitations", headers={"authorization": f"Bearer {TOKEN}"}).text
        with browser(house, PHONE) as phone:
            accept(phone, code)
        page = ana.get("/settings").text
        assert "invited by" not in page
        assert re.search(rf"signed in on [^<]*{PHONE}", page), "and on which device"
        assert ana.post("/settings/accounts/remove", data={"name": "Ben", "sure": "yes"}).status_code == 303
    with browser(house, PHONE) as phone:
        assert phone.post("/people/mia/age", data={"age": "10"}).status_code in (401, 403)
    assert "Ben" not in names(house)


def test_a_code_works_once_also_for_two_at_the_same_time(house: Web) -> None:
    code = invite(house)

    def tries(address: str) -> int:
        with browser(house, address) as phone:
            return accept(phone, code, f"{PASSWORD} of {address}").status_code

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(tries, (PHONE, OTHER_PHONE) * 2))
    assert sorted(results) == [303, 403, 403, 403]
    assert len(house.accounts.sessions("Ben")) == 1


def test_what_is_expired_withdrawn_or_replaced_does_not_work(house: Web, now: list[float]) -> None:
    first = invite(house)
    second = invite(house)
    with browser(house, PHONE) as phone, browser(house) as ana:
        assert accept(phone, first).status_code == 403, "a new code takes the place of the one before"
        now[0] += 49 * 3600
        assert "expired" in ana.get("/settings").text
        assert accept(phone, second).status_code == 403
        second = invite(house)
        third = invite(house, "Grandma", "operator")
        assert ana.post("/settings/invitations/withdraw", data={"name": "Grandma"}).status_code == 303
        assert accept(phone, third).status_code == 403
        assert ana.post("/settings/invitations/withdraw", data={"name": "ana"}).status_code == 422, "no invitation"
        assert accept(phone, second).status_code == 303
        assert ana.post("/settings/invitations/withdraw", data={"name": "Ben"}).status_code == 422, "he has accepted it"


def test_a_weak_password_leaves_the_invitation_as_it_is(house: Web) -> None:
    code = invite(house)
    with browser(house, PHONE) as phone:
        weak = accept(phone, code, "short")
        assert weak.status_code == 422
        assert code in html.unescape(weak.text), "what was typed stays"
        assert re.search(r'<input[^>]*name="password"[^>]*aria-invalid', weak.text)
        assert accept(phone, f" {code.lower().replace('-', ' ')} ").status_code == 303


def test_a_childs_device_a_seat_and_a_claimed_name_are_refused(house: Web) -> None:
    code = invite(house)
    house.control.devices["127.0.0.26"] = DeviceView(DeviceId("x"), "mia", "child-8-12", grade=Grade.HOST_NAME)
    house.control.devices["127.0.0.27"] = DeviceView(DeviceId("sofa"), "mia", "child-8-12")
    for address in (CHILD, SEAT, "127.0.0.26", "127.0.0.27", "127.0.0.99"):
        with browser(house, address) as child:
            assert child.get("/invitation?name=Ben").status_code == 403, address
            assert accept(child, code).status_code == 403, address
    with browser(house, PHONE) as phone:
        assert accept(phone, code).status_code == 303, "the code was not used up"


def test_guesses_are_delayed_as_wrong_passwords_are(house: Web) -> None:
    code = invite(house)
    with browser(house, PHONE) as guesser, browser(house, OTHER_PHONE) as ben:
        tries = [accept(guesser, f"AAAA-AAAA-AAAA-{number:04}").status_code for number in range(8)]
        assert tries == [403] * 5 + [429] * 3
        assert accept(guesser, code).status_code == 429
        assert accept(ben, code).status_code == 303


def test_nobody_signs_in_with_an_invitation(house: Web) -> None:
    code = invite(house)
    with browser(house, LAPTOP) as laptop:
        for password in ("", code, code.replace("-", ""), "invitation"):
            assert laptop.post("/sign-in", data={"name": "Ben", "password": password}).status_code == 403
    state = house.policy_path.parent
    texts = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    assert not any(code.replace("-", mark).encode() in text for mark in ("-", "") for text in texts), "in no file"


def test_a_child_is_not_invited_and_a_name_is_taken_once(house: Web) -> None:
    with browser(house) as ana:
        for name, why in (
            ("mia", "rules of a child"),
            (OWNER.upper(), "There is an account"),
            ("<b>", "letters, digits"),
        ):
            refused = ana.post("/settings/invitations", data={"name": name, "role": "parent"})
            assert refused.status_code == 422, name
            assert why in refused.text
        admin = ana.post("/settings/invitations", data={"name": "Eve", "role": "admin"})
        assert admin.status_code == 422, "no code makes an admin"
    assert "Eve" not in names(house)


@pytest.mark.parametrize("address", [PHONE, LAPTOP, "127.0.0.1"])
def test_only_a_device_that_nobody_uses_becomes_the_invited_ones(house: Web, address: str) -> None:
    before = house.policy_path.read_text()
    code = invite(house, "Grandma")
    with browser(house, address, cookie="hedgerow_session=none") as there:
        assert accept(there, code, own="yes").status_code == 303
    policy = load_policy(house.policy_path)
    if address == PHONE:
        assert policy.people["Grandma"].profile == "adult", "an adult whom the policy did not have"
        assert [device.person for device in policy.devices.values()].count("Grandma") == 1
    else:
        assert house.policy_path.read_text() == before


def test_staff_is_invited_without_a_word_in_the_policy(house: Web) -> None:
    before = house.policy_path.read_text()
    code = invite(house, "Tom", "operator")
    with browser(house, PHONE) as phone:
        assert accept(phone, code, own="yes").status_code == 303
        assert [phone.get(path).status_code for path in ("/", "/devices", "/people")] == [200, 200, 403]
    assert house.policy_path.read_text() == before, "an operator names no device"


def test_the_api_and_the_command_line_invite_too(house: Web) -> None:
    state = house.policy_path.parent
    place = Endpoint("127.0.0.1", 9)
    settings = Settings(state, None, place, place, place)
    settings.run.mkdir(exist_ok=True)
    settings.save()
    settings.control_socket.symlink_to(state / "control.sock")

    def command(*words: str) -> str:
        done = CliRunner().invoke(make_cli(), ["accounts", *words, "--state", str(state)])
        assert done.exit_code == 0, done.output
        return done.stdout

    script = {"authorization": f"Bearer {TOKEN}"}
    with browser(house, **script) as api:
        made = api.post("/api/v1/invitations", json={"name": "Ben"}).json()
        assert made["role"] == "parent"
        assert api.post("/api/v1/invitations", json={"name": "mia"}).status_code == 422
        (waiting,) = api.get("/api/v1/invitations").json()
        assert (waiting["name"], waiting["role"], "code" in waiting) == ("Ben", "parent", False)
        assert api.delete("/api/v1/invitations/Ben").status_code == 204
        assert api.get("/api/v1/invitations").json() == []
    told = json.loads(command("invite", "ben", "--role", "operator", "--json"))
    assert (told["name"], told["role"]) == ("Ben", "operator")
    assert told["link"].endswith(f"/invitation?name=Ben#{told['code']}")
    assert "Ben" in command("list")
    assert "has the role parent" in command("role", "Ben", "parent")
    with browser(house, PHONE) as phone:
        assert accept(phone, told["code"]).status_code == 303
        assert phone.get("/people").status_code == 200, "an operator's invitation with a parent's role by now"
        (session,) = (row for row in json.loads(command("sessions", "--json"))["sessions"] if row["account"] == "Ben")
        assert session["address"] == PHONE
        assert session["id"][:12] in command("sessions")
        assert "has ended" in command("sessions", "--end", session["id"][:12])
        assert phone.get("/people").status_code != 200
    with browser(house, **script) as api:
        api.post("/api/v1/tokens", json={"name": "terraform", "scopes": ["read"]})
    (token,) = json.loads(command("tokens", "--json"))["tokens"]
    assert (token["used_at"], token["used_from"]) == (None, "")
    assert "terraform" in command("tokens")
    assert "has ended" in command("tokens", "--end", token["id"][:8])
    assert "no tokens" in command("tokens")
    assert "no longer sign in" in command("remove", "Ben")
    assert "is invalid" in command("invite", "Grandma") + command("invite", "Grandma", "--withdraw")


def test_a_role_changes_in_open_sessions_and_the_last_admin_stays(house: Web) -> None:
    code = invite(house)
    with browser(house, PHONE) as phone, browser(house) as ana:
        accept(phone, code)

        def change(role: str, name: str = "Ben") -> int:
            return ana.post("/settings/accounts/role", data={"name": name, "role": role}).status_code

        assert phone.get("/people").status_code == 200
        assert change("operator") == 303
        assert [phone.get(path).status_code for path in ("/", "/people")] == [200, 403]
        assert change("admin") == 303
        assert phone.get("/api/v1/accounts").status_code == 200
        assert change("parent") == 303
        owner = next(row.name for row in house.accounts.accounts() if row.role == "admin")
        assert change("parent", owner) == 422
        assert change("admin", "nobody") == change("parent", "nobody") == 422
        assert change("emperor") == 422
        assert house.accounts.sessions("Ben"), "nobody was signed out"
    assert names(house)[owner] == "admin"


def test_a_role_from_a_provider_is_changed_there(house: Web) -> None:
    identity = ExternalIdentity("https://login.example 1", "Tom", Role.OPERATOR)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, house.accounts.sign_in_from(identity, PHONE, "")).result()
    with browser(house) as ana:
        refused = ana.post("/settings/accounts/role", data={"name": "Tom", "role": "parent"})
    assert (refused.status_code, "provider" in refused.text) == (422, True)


def test_an_operator_and_a_parent_invite_nobody(house: Web) -> None:
    code = invite(house)
    with browser(house, PHONE) as ben:
        accept(ben, code)
        for path, form in (
            ("/settings/invitations", {"name": "Eve", "role": "operator"}),
            ("/settings/accounts/role", {"name": "Ben", "role": "admin"}),
            ("/settings/invitations/withdraw", {"name": "Eve"}),
        ):
            assert ben.post(path, data=form).status_code == 403, path
        assert "Invite the other parent" not in ben.get("/settings").text
        assert "/settings/invitations" not in ben.get("/people/Ana").text


@pytest.mark.parametrize("own", ["", "yes"])
@pytest.mark.parametrize("name", ["tv", "family-ipad", ""])
def test_a_device_keeps_its_rules_and_signs_out_after_hours(house: Web, now: list[float], name: str, own: str) -> None:
    """A television of guests, a tablet without an owner, and a phone that may be a child's with another address."""
    house.policy_path.write_text(
        f"{house.policy_path.read_text()}  tv: {{ip: 127.0.0.31, profile: guest}}\n  family-ipad: {{ip: 127.0.0.32}}\n"
    )
    before = house.policy_path.read_text()
    address = {"tv": "127.0.0.31", "family-ipad": "127.0.0.32"}.get(name, PHONE)
    if name:
        house.control.devices[address] = DeviceView(DeviceId(name), None, "guest")
    code = invite(house)
    with browser(house, address) as device:
        page = device.get("/invitation").text
        assert ("Is this device your own?" in page) is not bool(name)
        assert accept(device, code, own=own).status_code == 303
        assert device.get("/people").status_code == 200
        is_named = bool(own) and not name
        assert (house.policy_path.read_text() == before) is not is_named
        now[0] += 5 * 3600
        assert (device.get("/people").status_code == 200) is is_named


def test_what_a_local_proxy_forwards_is_not_the_machines_own(house: Web) -> None:
    code = invite(house)
    house.control.devices["127.0.0.1"] = DeviceView(DeviceId("127.0.0.1"), None, "child-8-12")
    for name in ("x-forwarded-for", "via", "forwarded"):
        for address in ("127.0.0.1", PHONE):
            with browser(house, address, **{name: CHILD, "cookie": "hedgerow_session=none"}) as proxy:
                assert proxy.get("/invitation").status_code == 403, (name, address)
                assert accept(proxy, code).status_code == 403, (name, address)
                assert proxy.get("/device/name").headers["location"] == "/device"


def test_somebody_who_is_a_child_by_now_does_not_accept(house: Web) -> None:
    code = invite(house)
    house.policy_path.write_text(house.policy_path.read_text().replace("Ben: {profile: adult}", "Ben: {age: 12}"))
    with browser(house, PHONE) as phone:
        refused = accept(phone, code)
        assert (refused.status_code, "rules of a child" in refused.text) == (403, True)
    assert "Ben" not in {session.account for session in house.accounts.sessions()}
