"""Versions of rules and lists, and the decisions that name them."""

from __future__ import annotations

import pytest

from hedgerow.journal import rule_versions
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.rule_versions import ListVersion, RuleVersions
from hedgerow.journal.store import Store
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

NOW = 1_780_000_000.0
LISTS = (ListVersion("ut1/adult", "adult", NOW - 86400, 4_600_123),)


def test_a_version_is_added_when_policy_or_lists_change(journal: Store) -> None:
    versions = RuleVersions(journal)
    first = versions.record(NOW, "p1", "l1", {"/h.yaml": "people:\n  mia: {age: 9}\n"}, LISTS)
    assert versions.record(NOW + 5, "p1", "l1", {}, ()) == first
    second = versions.record(NOW + 9, "p1", "l2", {}, ())
    assert versions.record(NOW + 10, "p1", "l1", {}, ()) not in (first, second)
    kept = versions.version(first)
    assert kept is not None
    assert (kept.at, kept.policy, kept.source("ut1/adult"), kept.excerpt("/h.yaml:2")) == (
        NOW,
        "p1",
        LISTS[0],
        "mia: {age: 9}",
    )
    assert kept.source("other") is None
    assert [kept.excerpt(place) for place in ("/h.yaml:9", "/h.yaml:0", "/h.yaml", "/other.yaml:1", "")] == [""] * 5


def test_texts_that_become_known_later_are_added(journal: Store) -> None:
    versions = RuleVersions(journal)
    first = versions.record(NOW, "p1", "l1", {}, LISTS)
    assert versions.record(NOW + 5, "p1", "l1", {"/h.yaml": "a: 1"}, ()) == first
    kept = versions.version(first)
    assert kept is not None
    assert (dict(kept.files), kept.sources) == ({"/h.yaml": "a: 1"}, LISTS)


def test_the_texts_of_a_policy_stay_known_when_lists_change_after_a_restart(journal: Store) -> None:
    """The file has mistakes by then, so that it is not read again."""
    versions = RuleVersions(journal)
    versions.record(NOW, "p1", "l1", {"/h.yaml": "a: 1"}, LISTS)
    second = versions.version(versions.record(NOW + 5, "p1", "l2", {}, ()))
    other = versions.version(versions.record(NOW + 6, "p2", "l2", {}, ()))
    assert second is not None
    assert other is not None
    assert (dict(second.files), dict(other.files)) == ({"/h.yaml": "a: 1"}, {})


def test_versions_and_their_texts_are_bounded(journal: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_versions, "MAX_VERSIONS", 3)
    monkeypatch.setattr(rule_versions, "MAX_TEXT", 10)
    versions = RuleVersions(journal)
    ids = [versions.record(NOW + n, f"p{n}", "l", {"/h.yaml": "x" * 11}, ()) for n in range(6)]
    kept = [versions.version(each) for each in ids]
    assert [each.policy for each in kept if each is not None] == ["p3", "p4", "p5"]
    assert all(not each.files for each in kept if each is not None)


def test_a_decision_names_its_version(journal: Store) -> None:
    recorder = Recorder(journal)
    seen = (NOW, DeviceId("tab"), "mia", "child-8-12", RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult")
    recorder.add([Observation(*seen, "new.example", version=7), Observation(*seen, "old.example")])
    recorder.flush()
    assert {row.host: row.version for row in JournalReader(journal).decisions().rows} == {
        "new.example": 7,
        "old.example": None,
    }
