"""After a version is published, the office knows which sites have it, which refuse it and why, and which are silent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from journal_rows import NOW

from hedgerow.dashboards.control import Status
from hedgerow.features.organisation.answers import (
    NodeAnswer,
    SiteAnswer,
    answers_to,
    count_answers,
    describe_refusal,
    read_answers,
    unwell,
    wait_for_answers,
)
from hedgerow.features.organisation.follower import OrganisationFollower
from hedgerow.features.organisation.levels import ORGANISATION, UP_S, NodeRow, OrganisationStore, SiteState
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion
from hedgerow.journal.store import Store
from hedgerow.policies.reading.load import PolicyError, parse_policy

STATE = SiteState("0.2.0", "0123", {"organisation": 0}, 5, {}, 0, 0, ())
WHY = "line 2: network.upstream: … is locked by the organisation"
REFUSING, SILENT = (7, 40, 99), range(50, 55)


def published(store: Store, content: str, *sites: str) -> PolicyVersion:
    versions = OrganisationStore(store).of_level(ORGANISATION)
    newest = versions.newest()
    made = PolicyVersion(0, NOW, "ana", "", "office", newest.id if newest else 0, {MAIN_FILE: content}, sites)
    return versions.version(versions.add(made))


class Chain:
    """A hundred sites in one store, of which three can't use a version and five are silent."""

    def __init__(self, store: Store) -> None:
        self.store, self.organisation = store, OrganisationStore(store)
        for number in range(100):
            self.report(number, STATE, NOW - 600 if number in SILENT else NOW)

    def report(self, number: int, state: SiteState, at: float = NOW) -> None:
        OrganisationStore(replace(self.store, site=f"cafe-{number}")).report("node", at, state)

    def answer(self, version: PolicyVersion, numbers: Iterator[int] | range) -> None:
        """Have sites take a version over, or refuse it."""
        for number in numbers:
            if number in REFUSING:
                self.report(number, replace(STATE, refused={"organisation": version.id}, refusal=WHY))
            elif number not in SILENT:
                self.report(number, replace(STATE, versions={"organisation": version.id}))


@pytest.fixture
def chain(journal: Store) -> Chain:
    return Chain(journal)


def test_a_hundred_sites_of_which_three_refuse_and_five_are_silent(chain: Chain) -> None:
    version = published(chain.store, "block: [gambling]")
    looks: list[dict[SiteAnswer, int]] = []

    def read() -> tuple[NodeAnswer, ...]:
        found = read_answers(chain.organisation, ORGANISATION, version, NOW)
        looks.append(count_answers(found))
        return found

    # Fifty sites answer between two looks. The silent ones are not waited for.
    answers = wait_for_answers(
        read, 60, pause=lambda _s: chain.answer(version, range(50 * (len(looks) - 1), 50 * len(looks)))
    )
    assert looks == [
        {SiteAnswer.TAKEN: 0, SiteAnswer.REFUSED: 0, SiteAnswer.NONE_YET: 95, SiteAnswer.SILENT: 5},
        {SiteAnswer.TAKEN: 48, SiteAnswer.REFUSED: 2, SiteAnswer.NONE_YET: 45, SiteAnswer.SILENT: 5},
        {SiteAnswer.TAKEN: 92, SiteAnswer.REFUSED: 3, SiteAnswer.NONE_YET: 0, SiteAnswer.SILENT: 5},
    ]
    assert [(each.site, each.why) for each in answers if each.answer is SiteAnswer.REFUSED] == [
        (f"cafe-{number}", WHY) for number in sorted(REFUSING, key=str)
    ]
    assert {each.site for each in answers if each.answer is SiteAnswer.SILENT} == {f"cafe-{each}" for each in SILENT}


def test_the_wait_ends_at_its_limit(chain: Chain) -> None:
    version = published(chain.store, "block: [gambling]")
    answers = wait_for_answers(lambda: read_answers(chain.organisation, ORGANISATION, version, NOW), 0)
    assert count_answers(answers)[SiteAnswer.NONE_YET] == 95


def test_sites_that_try_a_version_first(chain: Chain) -> None:
    version = published(chain.store, "block: [gambling]", "cafe-1", "cafe-2", "cafe-new")
    before = chain.organisation.nodes()

    def found() -> tuple[NodeAnswer, ...]:
        return read_answers(chain.organisation, ORGANISATION, version, NOW)

    assert {each.site: each.answer for each in found()} == {
        "cafe-1": SiteAnswer.NONE_YET,
        "cafe-2": SiteAnswer.NONE_YET,
        "cafe-new": SiteAnswer.SILENT,
    }
    taken = replace(STATE, versions={"organisation": version.id})
    for number in (1, 2):
        chain.report(number, taken)
    assert [each.site for each in unwell(found(), before)] == ["cafe-new"]
    chain.report(2, replace(taken, problems=("some workers are not running",)))
    assert [each.site for each in unwell(found(), before)] == ["cafe-2", "cafe-new"]
    assert [each.site for each in unwell(found(), chain.organisation.nodes())] == ["cafe-new"], "it was so before"


@pytest.mark.parametrize(
    ("state", "age", "answer"),
    [
        (replace(STATE, versions={"group": 9}), 0, SiteAnswer.TAKEN),
        (replace(STATE, versions={"group": 10}), 0, SiteAnswer.TAKEN),
        (replace(STATE, versions={"organisation": 9}), 0, SiteAnswer.NONE_YET),
        # the version of the group that the site was in before is newer
        (replace(STATE, versions={"group": 11}, refused={"group": 9}), 0, SiteAnswer.REFUSED),
        (replace(STATE, versions={"group": 3}, refused={"group": 9}), UP_S + 1, SiteAnswer.REFUSED),
        (replace(STATE, versions={"group": 3}), UP_S + 1, SiteAnswer.SILENT),
        (None, 0, SiteAnswer.NONE_YET),
    ],
)
def test_what_an_answer_is(state: SiteState | None, age: float, answer: SiteAnswer) -> None:
    rows = [NodeRow("cafe-1", "north", "a", NOW - age, state), NodeRow("cafe-2", "south", "b", NOW, STATE)]
    version = PolicyVersion(9, NOW, "ana", "", "office", 0, {}, ())
    assert [(each.site, each.answer) for each in answers_to("@north", version, rows, NOW)] == [("cafe-1", answer)]


def test_a_site_reports_what_it_refuses_without_names(sqlite_journal: Store, tmp_path: Path) -> None:
    policy = tmp_path / "etc" / "hedgerow.yaml"
    policy.parent.mkdir()
    policy.write_text("people:\n  Mia Muster: {age: 9, block: [roblox]}\n")
    follower = OrganisationFollower(
        tmp_path,
        sqlite_journal,
        lambda: policy,
        lambda: Status("0", NOW, "UTC"),
        lambda: parse_policy(policy.read_bytes(), policy),
        lambda: 0,
        lambda: None,
    )
    good = published(sqlite_journal, "block: [gambling]")
    follower.take_over()
    assert (follower.state().versions, follower.state().refused) == ({"organisation": good.id}, {})
    bad = published(sqlite_journal, "locked: [people.*.block]\n")
    follower.take_over()
    state = follower.state()
    assert (state.versions, state.refused) == ({"organisation": good.id}, {"organisation": bad.id})
    assert "Mia Muster" in follower.problem, "the site itself is told all"
    assert state.refusal.startswith("line 2: people.….block: … is locked by the organisation (")
    assert "Mia" not in json.dumps(state.refusal)
    better = published(sqlite_journal, "block: [dating]")
    follower.take_over()
    assert (follower.state().versions, follower.state().refused) == ({"organisation": better.id}, {})
    assert follower.state().refusal == ""


def test_a_site_answers_to_a_version_of_its_own_policy(chain: Chain) -> None:
    """As all sites do for one of the organisation: the office waits for each of its machines."""
    version = replace(published(chain.store, "block: [gambling]"), id=30)
    site = OrganisationStore(replace(chain.store, site="cafe-1"))
    site.report("second", NOW, replace(STATE, own=29))

    def look(_seconds: float) -> None:
        chain.report(1, replace(STATE, own_refused=30, own_refusal=WHY))
        site.report("second", NOW, replace(STATE, own=30))

    assert [each.answer for each in read_answers(chain.organisation, "cafe-1", version, NOW)] == ["none-yet"] * 2
    found = wait_for_answers(lambda: read_answers(chain.organisation, "cafe-1", version, NOW), 60, pause=look)
    assert [(each.node, each.answer, each.why) for each in found] == [("node", "refused", WHY), ("second", "taken", "")]
    (never,) = read_answers(chain.organisation, "cafe-new", version, NOW)
    assert (never.site, never.node, never.answer) == ("cafe-new", "", "silent")


def test_no_reason_names_anything_of_the_site() -> None:
    text = (
        "people:\n  mia: {age: 9, profile: teen-13-15}\n  tom: {block: [faceboook]}\n"
        "devices:\n  mia-phone: {ip: 10.0.0}\nnotices:\n  Ana: {about: [x]}\nschedules:\n  homework: [mia, 25:00]\n"
    )
    with pytest.raises(PolicyError) as refused:
        parse_policy(text.encode(), None)
    told = describe_refusal(refused.value.problems, {"mia", "tom"})
    assert "people.….block" in told
    for name in ("mia", "tom", "faceboook", "mia-phone", "10.0.0", "Ana", "homework"):
        assert name not in told, told


def test_a_value_with_an_apostrophe_is_not_told() -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(b'people: {mia: {age: 9, block: ["mother\'s illness"]}}', None)
    told = describe_refusal(refused.value.problems, {"mia"})
    assert "…" in told
    assert not {"mother", "illness"} & set(re.findall(r"\w+", told)), told
