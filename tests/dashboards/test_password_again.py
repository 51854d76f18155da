"""Changes over plain HTTP need the password again after a while, with a session whose cookie others can have read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyotp
import pytest
from small_internet.authority import Authority, server_context
from web_server import NOW, OWNER, OWNER_PASSWORD, Web, running_web
from web_server.walking import PageReader

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.credentials import ONCE
from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy

HERE = "127.0.0.7"
HOUSE = "people:\n  mia: {age: 9}\n  Ana: {profile: adult, devices: [phone]}\ndevices:\n  phone: {ip: 192.168.1.33}\n"
MINUTE, HOUR = 60.0, 3600.0


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Home:
    web: Web
    clock: Clock

    @contextmanager
    def phone(self, grade: Grade, scheme: str = "http") -> Iterator[httpx.Client]:
        """A parent's phone that has just signed in."""
        view = DeviceView(DeviceId("phone"), "Ana", "adult", may_sign_in=True, grade=grade)
        self.web.control.devices[HERE] = view
        self.web.policy_path.write_text(HOUSE)
        transport = httpx.HTTPTransport(local_address=HERE, verify=False)
        url = self.web.url.replace("http:", f"{scheme}:")
        headers = {"origin": url, "accept-language": "en"}
        with httpx.Client(base_url=url, transport=transport, headers=headers, timeout=60) as phone:
            done = phone.post("/sign-in", data={"name": OWNER, "password": OWNER_PASSWORD})
            assert done.status_code == 303
            yield phone

    def allowed(self) -> list[str]:
        return [target.name for target in load_policy(self.web.policy_path).people["mia"].rules.allow]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    clock, state = Clock(), Path(tmp_path_factory.mktemp("home"))
    tls = server_context(Authority(Path(tmp_path_factory.mktemp("tls"))).leaf("localhost"))
    with running_web(state, clock=clock, tls=tls) as web:
        yield Home(web, clock)


def switch(phone: httpx.Client, item: str = "social") -> httpx.Response:
    return phone.post("/people/mia/switch", data={"open": item})


def new_account(phone: httpx.Client) -> httpx.Response:
    return phone.post("/settings/accounts", data={"name": "eve", "role": "admin", "password": "four unrelated words"})


@pytest.mark.parametrize(
    ("grade", "send", "free", "asked"),
    [
        (Grade.MAC_AND_ADDRESS, switch, 11 * HOUR, 13 * HOUR),  # nobody is asked all day
        (Grade.ADDRESS, switch, 14 * MINUTE, 16 * MINUTE),
        (Grade.MAC_AND_ADDRESS, new_account, 14 * MINUTE, 16 * MINUTE),
    ],
)
def test_a_change_needs_the_password_again_after_a_while(
    home: Home, grade: Grade, send: Callable[[httpx.Client], httpx.Response], free: float, asked: float
) -> None:
    with home.phone(grade) as phone:
        home.clock.now += free
        assert send(phone).status_code in (303, 422), "the same account twice is refused"
        home.clock.now += asked - free
        answer = send(phone)
        assert (answer.status_code, "Your password again" in answer.text) == (403, True)
        assert phone.get("/people").status_code == 200, "looking needs no password"


def test_the_form_goes_on_and_a_stolen_cookie_ends(home: Home) -> None:
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        home.clock.now += 13 * HOUR
        stolen = phone.cookies[SESSION_COOKIE]
        asked = switch(phone)
        assert home.allowed() == []
        for password, status in (("wrong password", 403), (OWNER_PASSWORD, 307)):
            (form,) = (each for each in PageReader(asked.text).forms if each.action == "/account/again")
            fields = {each.name: each.value for each in form.fields} | {"again-password": password}
            asked = phone.post(form.action, data=fields)
            assert asked.status_code == status, asked.text
            assert password not in asked.text
        assert asked.headers["location"] == "/people/mia/switch"
        assert phone.post(asked.headers["location"], data=fields).status_code == 303
        assert home.allowed() == ["social"]
        phone.cookies.set(SESSION_COOKIE, stolen)
        assert phone.get("/people").status_code == 303, "the session has another cookie now"


def test_continue_may_be_tapped_twice(home: Home) -> None:
    """The browser drops the answer to the first tap, with the new cookie."""
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        home.clock.now += 13 * HOUR
        before = phone.cookies[SESSION_COOKIE]
        (form,) = (each for each in PageReader(switch(phone).text).forms if each.action == "/account/again")
        fields = {each.name: each.value for each in form.fields} | {"again-password": OWNER_PASSWORD}
        assert phone.post(form.action, data=fields).status_code == 307
        phone.cookies.clear()
        phone.cookies.set(SESSION_COOKIE, before)
        wrong = phone.post(form.action, data=fields | {"again-password": "wrong"})
        assert (wrong.status_code, "Your password again" in wrong.text) == (403, True)
        answer = phone.post(form.action, data=fields)
        assert (answer.status_code, answer.headers["location"]) == (307, "/people/mia/switch")
        phone.cookies.clear()
        phone.cookies.set(SESSION_COOKIE, answer.cookies[SESSION_COOKIE])
        assert phone.post(answer.headers["location"], data=fields).status_code == 303
        assert home.allowed() == ["social"]


def test_behind_a_proxy_for_tls_the_page_does_not_promise_that_https_helps(home: Home) -> None:
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        home.clock.now += 13 * HOUR
        assert "Nobody is asked whose HTTPS reaches Hedgerow itself" in switch(phone).text
        phone.headers["origin"] = phone.headers["origin"].replace("http:", "https:")
        asked = switch(phone).text
        assert "HTTPS ends at a proxy before Hedgerow" in asked
        assert 'href="https:' not in asked


@pytest.mark.parametrize(
    ("headers", "is_asked"),
    [
        ({}, False),
        ({"x-forwarded-for": "192.168.1.31"}, True),
        ({"forwarded": "for=192.168.1.31"}, True),
        ({"x-forwarded-for": "192.168.1.31", "x-forwarded-proto": "http"}, True),
        ({"x-forwarded-for": "192.168.1.31", "x-forwarded-proto": "https"}, False),
    ],
)
def test_who_comes_through_a_proxy_on_the_machine_is_not_the_machine(
    home: Home, headers: dict[str, str], is_asked: bool
) -> None:
    with httpx.Client(base_url=home.web.url, headers={"origin": home.web.url, **headers}, timeout=60) as client:
        home.web.control.devices["127.0.0.1"] = DeviceView(DeviceId("here"), None, "adult", may_sign_in=True)
        done = client.post("/sign-in", data={"name": OWNER, "password": OWNER_PASSWORD})
        assert done.status_code == 303
        home.clock.now += 13 * HOUR
        home.web.policy_path.write_text(HOUSE)
        assert switch(client).status_code == (403 if is_asked else 303)


def test_a_cookie_that_was_read_is_no_better_over_https(home: Home) -> None:
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        home.clock.now += 13 * HOUR
        stolen = phone.cookies[SESSION_COOKIE]
        with home.phone(Grade.MAC_AND_ADDRESS, "https") as thief:
            thief.cookies.clear()
            thief.cookies.set(SESSION_COOKIE, stolen)
            asked = switch(thief)
        assert (asked.status_code, "Your password again" in asked.text) == (403, True)
        assert home.allowed() == []


def test_nobody_is_asked_who_signed_in_by_https(home: Home) -> None:
    with home.phone(Grade.ADDRESS, "https") as phone:
        home.clock.now += 13 * HOUR
        assert switch(phone).status_code == 303
        assert home.allowed() == ["social"]
        cookie = phone.cookies[SESSION_COOKIE]
        phone.cookies.clear()
        phone.cookies.set(SESSION_COOKIE, cookie.removeprefix("tls-"))
        assert phone.get("/people").status_code == 303, "the beginning is part of the secret"


def test_a_long_document_goes_on_as_well(home: Home) -> None:
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        fields = {"text": "x" * 100_000, "again-password": OWNER_PASSWORD, "again-path": "/organisation/edit"}
        assert phone.post("/account/again", data=fields).status_code == 307


def test_a_question_that_follows_does_not_repeat_the_password(home: Home) -> None:
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        home.clock.now += 13 * HOUR
        fields = {"open": "gambling", "again-password": OWNER_PASSWORD, "again-path": "/people/mia/switch"}
        assert phone.post("/account/again", data=fields).status_code == 307
        asked = phone.post("/people/mia/switch", data=fields)
        assert "Are you sure?" in asked.text
        assert OWNER_PASSWORD not in asked.text


def test_it_leads_to_no_other_place(home: Home) -> None:
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        for path in ("//evil.example/", "https://evil.example/", "/\\evil.example", "/people\r\nx: y"):
            answer = phone.post("/account/again", data={"again-password": OWNER_PASSWORD, "again-path": path})
            assert (answer.status_code, answer.headers["location"]) == (307, "/")


def test_a_script_with_the_cookie_learns_what_is_missing(home: Home) -> None:
    with home.phone(Grade.ADDRESS) as phone:
        home.clock.now += HOUR
        answer = phone.put("/api/v1/people/mia/rules", json={"subject": "roblox", "stance": "allow"})
        assert (answer.status_code, answer.json()["confirm"]) == (403, "password")
        assert phone.post("/sign-out").status_code == 303, "signing out needs none"


def test_what_is_no_form_is_refused(home: Home) -> None:
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        home.clock.now += 13 * HOUR
        headers = {"content-type": "application/x-www-form-urlencoded"}
        assert phone.post("/people/mia/switch", content=b"a=1&" * 3000, headers=headers).status_code == 403


def test_nobody_else_learns_which_accounts_have_codes(home: Home) -> None:
    accounts = home.web.accounts
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        secret = pyotp.random_base32()
        asyncio.run(accounts.start_totp(OWNER, secret, pyotp.TOTP(secret).now()))
        phone.cookies.clear()
        try:
            pages = []
            for name in (OWNER, "nobody"):
                fields = {
                    "again-password": "wrong password",
                    "again-username": name,
                    "again-path": "/people/mia/switch",
                }
                answer = phone.post("/account/again", data=fields)
                pages.append((answer.status_code, re.sub(f'value="{name}"', "", answer.text)))
            assert pages[0] == pages[1]
            right = fields | {"again-password": OWNER_PASSWORD, "again-username": OWNER}
            assert 'name="again-code"' in phone.post("/account/again", data=right).text
            again = phone.post("/account/again", data=fields | {"again-code": "123456"}).text
            assert 'name="again-code"' in again, "the field stays for whoever has typed a code"
        finally:
            asyncio.run(accounts.stop_totp(OWNER))


def test_a_session_from_this_page_is_as_short_on_a_childs_device_as_from_the_other(home: Home) -> None:
    fields = {"again-password": OWNER_PASSWORD, "again-username": OWNER, "again-path": "/people"}
    with home.phone(Grade.MAC_AND_ADDRESS) as phone:
        phone.cookies.clear()
        cookie = phone.post("/account/again", data=fields).cookies[SESSION_COOKIE]
        assert not cookie.startswith(ONCE)
        phone.cookies.clear()
        view = DeviceView(DeviceId("tablet"), "mia", "child", may_resume=True, grade=Grade.MAC_AND_ADDRESS)
        home.web.control.devices[HERE] = view
        assert phone.post("/account/again", data=fields).cookies[SESSION_COOKIE].startswith(ONCE)
