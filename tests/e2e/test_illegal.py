"""Illegal material stays closed whatever anybody does from outside: switches, rules, permissions, codes, the API,
commands and the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig_addresses
from small_internet.family import LAPTOP, LISTS, OWN_LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, hedgerow_command, running_hedgerow, wait_until

SITE = "adult.example"
"""On a list of illegal material and, so that it exists, in the small internet."""


@pytest.fixture(scope="module")
def home(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    lists = OWN_LISTS + "  - {category: illegal, path: lists/illegal.txt}\n"
    policy = family_policy(whole_internet, lists=lists).replace("age: 17", "profile: adult")
    with running_hedgerow(policy, lists=LISTS | {"lists/illegal.txt": f"{SITE}\n"}) as running:
        yield running


@pytest.fixture
def browser(home: Hedgerow) -> Iterator[httpx.Client]:
    headers = {"origin": home.web, "accept-language": "en"}
    with httpx.Client(
        base_url=home.web, trust_env=False, timeout=60, cookies=home.cookies, headers=headers, verify=False
    ) as client:
        yield client


def is_blocked(home: Hedgerow) -> bool:
    return all(kdig_addresses(home.dns, SITE, source=source) == ["0.0.0.0"] for source in (TABLET, LAPTOP))


@pytest.mark.parametrize("subject", ["illegal", SITE, f"www.{SITE}"])
def test_no_page_code_call_or_command_opens_it(home: Hedgerow, browser: httpx.Client, subject: str) -> None:
    sure = {"sure": "yes", "for": "good"}
    pages = {
        "/people/tom/switch": {"open": subject, **sure},
        "/grants/new": {"subject": subject, "person": "tom", **sure},
        "/openings/always": {"subject": subject, "person": "tom", **sure},
        "/people/tom/code": {"subject": subject, "sure": "yes", "how_long": "good"},
        "/people/tom/site": {"site": subject, "stance": "allow", "sure": "yes"},
    }
    for path, form in pages.items():
        answer = browser.post(path, data=form)
        assert answer.status_code < 500, (path, answer.text)
        assert is_blocked(home), (path, form)
    calls = {
        ("POST", "/api/v1/grants"): {"subject": subject, "person": "tom", "for": "hour"},
        ("POST", "/api/v1/codes"): {"subject": subject, "person": "tom", "how_long": "good"},
        ("PUT", "/api/v1/people/tom/rules"): {"subject": subject, "stance": "allow"},
    }
    for (method, path), body in calls.items():
        assert browser.request(method, path, json=body).status_code < 500, path
        assert is_blocked(home), path
    assert home.run("grant", subject, "--person", "tom").returncode != 0
    assert is_blocked(home)


def test_no_policy_opens_it(home: Hedgerow) -> None:
    before = home.policy_path.read_text()
    for rule in (
        "allow: [illegal]",
        f"allow: [{SITE}]",
        f"always: [{SITE}]",
        f'schedules: {{x: {{allow: {SITE}, when: "00:00-24:00"}}}}',
    ):
        home.edit_policy(before + rule + "\n")
        done = hedgerow_command("check", str(home.policy_path))
        if "illegal" in rule:
            assert done.returncode != 0
            assert "'illegal' cannot be allowed" in done.stdout + done.stderr
        else:
            explained = home.run("explain", "tom-laptop", SITE)
            wait_until(lambda rule=rule: rule in home.policy_path.read_text(), 5)  # type: ignore[misc]
            assert "illegal" in explained.stdout, explained.stdout
        assert is_blocked(home), rule
    home.edit_policy(before)
