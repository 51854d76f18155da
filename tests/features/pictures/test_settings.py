"""The key of pictures, its switch on the settings page, and the doctor's finding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from web_server import Web, running_web

from hedgerow.app.doctor.findings import Health
from hedgerow.features.pictures import scanner
from hedgerow.features.pictures.checks import picture_findings
from hedgerow.features.pictures.scanner import KEY
from hedgerow.policies.content import ContentRules, ScoreRule, combine_scopes
from hedgerow.policies.effective_users import are_scored
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import load_policy, parse_policy


def rules_of(text: str) -> ContentRules:
    policy = parse_policy(text.encode(), None)
    person = policy.people["mia"]
    return combine_scopes(
        [person.rules.content, policy.household.content, policy.profiles[person.profile].rules.content]
    )


@pytest.mark.parametrize(
    ("text", "hides_above"),
    [
        ("people: {mia: {age: 9}}", None),
        ("people: {mia: {age: 9, picture_scan: on}}", 50),
        ("picture_scan: on\npeople: {mia: {age: 9}}", 50),
        ("picture_scan: {enabled: yes, limit: 0}\npeople: {mia: {age: 9}}", 0),
        ("picture_scan: on\npeople: {mia: {age: 9, picture_scan: {limit: 70}}}", 70),
        ("picture_scan: on\npeople: {mia: {age: 9, picture_scan: off}}", None),
        ("picture_scan: on\npeople: {mia: {age: 9, picture_scan: {limit: 100}}}", None),
        ("picture_scan: {limit: 70}\npeople: {mia: {age: 9}}", None),
        ("picture_scan: on\npeople: {mia: {profile: adult}}", None),
    ],
)
def test_pictures_have_one_switch_and_a_limit_by_age(text: str, hides_above: int | None) -> None:
    content = rules_of(text)
    assert (content.score_limits.get(KEY), content.opens_everything) == (
        hides_above,
        hides_above is not None or content.opens_pages,
    )


def test_pictures_that_cannot_be_judged_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    judging = parse_policy(b"people: {mia: {age: 9, picture_scan: on}}", None)
    for is_installed, health in ((True, Health.GOOD), (False, Health.BAD)):
        monkeypatch.setattr(scanner, "is_installed", lambda is_installed=is_installed: is_installed)
        (finding,) = picture_findings(judging)
        assert (finding.health, "make pictures" in finding.mend) == (health, not is_installed)
        assert not list(picture_findings(parse_policy(b"picture_scan: off", None)))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text("people: {mia: {age: 9}}\n")
    with running_web(tmp_path) as running:
        yield running


def policy_of(web: Web) -> Policy:
    return load_policy(web.policy_path)


def test_the_switch_in_the_settings_is_written_shown_and_undone(web: Web) -> None:
    before = web.policy_path.read_text()
    with httpx.Client(
        base_url=web.url, headers={"origin": web.url}, trust_env=False, timeout=60, verify=False
    ) as browser:
        for value, button in (("true", "Show all pictures"), ("false", "Hide explicit pictures")):
            saved = browser.post("/settings/pictures", data={"on": value}).headers["location"]
            assert are_scored(policy_of(web), KEY) is (value == "true")
            assert button in browser.get("/settings").text
        web.policy_path.write_text(before + "picture_scan: {limit: 30}\n")
        browser.post("/settings/pictures", data={"on": "true"})
        assert policy_of(web).household.content.scores == (ScoreRule(KEY, True, 30),)
        number = re.findall(r"saved=(\d+)", saved)[0]
        assert "<del>" in browser.get(f"/changes/{number}").text
