"""Rules about content: scopes, blocked searches and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.policies.content import (
    ContentRules,
    blocked_search_term,
    combine_scopes,
    is_about_self_harm,
    plain_words,
    search_words,
)
from hedgerow.policies.reading.load import PolicyError, load_policy


def loaded(tmp_path: Path, text: str) -> ContentRules:
    (tmp_path / "hedgerow.yaml").write_text(text)
    policy = load_policy(tmp_path / "hedgerow.yaml")
    person = policy.people["mia"]
    return combine_scopes(
        [person.rules.content, policy.household.content, policy.profiles[person.profile].rules.content]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("people: {mia: {age: 9}}", (100, ("executables", "torrents"), ())),
        ("people: {mia: {age: 9, page_scan: off}}", (0, ("executables", "torrents"), ())),
        ("page_scan: {limit: 70}\npeople: {mia: {age: 9, block_files: []}}", (70, (), ())),
        ("block_searches: [vape]\npeople: {mia: {age: 30, block_searches: poker}}", (None, None, ("poker", "vape"))),
    ],
)
def test_the_nearest_scope_wins(tmp_path: Path, text: str, expected: tuple[object, ...]) -> None:
    rules = loaded(tmp_path, text)
    assert (rules.page_limit, rules.files, rules.searches) == expected


def test_pass_through_is_on_by_default(tmp_path: Path) -> None:
    assert loaded(tmp_path, "people: {mia: {age: 9}}").passes_through
    assert not loaded(tmp_path, "pass_through: false\npeople: {mia: {age: 9}}").passes_through
    assert loaded(tmp_path, "people: {mia: {age: 9, page_scan: {everywhere: true}}}").opens_pages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("block_files: [executable]", "unknown kind of file 'executable'"),
        ("block_searches: ['!!!']", "'!!!' contains no word"),
        ("phrase_lists: [nowhere.txt]", "does not exist"),
        ("page_scan: {limits: 5}", "limits"),
        ("page_scan: {limit: -1}", "limit"),
    ],
)
def test_mistakes_are_reported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "hedgerow.yaml").write_text(text)
    with pytest.raises(PolicyError) as error:
        load_policy(tmp_path / "hedgerow.yaml")
    assert message in str(error.value.problems[0])


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("https://www.google.com/search?q=buy+a+vape+pen", True),
        ("https://www.google.com/search?q=VAPE-PEN&hl=en", True),
        ("https://www.google.com/search?q=v%C3%A1pe%20pen", True),
        ("https://www.google.com/search?q=cats&q=vape+pen", True),
        ("https://www.google.com/search?q=vape+pen" + "&x=1" * 200, True),
        (f"https://www.google.com/search?q={'a+' * 2000}&q=vape+pen", True),
        ("https://www.google.com/search?+q+=vape+pen", True),
        ("https://www.google.com/search?q=v%E1pe+pen", True),
        ("https://www.google.com/search?q=v%C3%A1pe+pen+%FF", True),
        ("https://www.google.com/search?q=v\udce1pe+pen", True),
        ("https://www.google.com/search?q=vaper+pens", False),
        ("https://www.google.com/search?q=pen+vape", False),
        ("https://www.google.com/search?query=vape+pen", False),
        ("https://www.google.com/search", False),
    ],
)
def test_searches(url: str, blocked: bool) -> None:
    assert bool(blocked_search_term(search_words(url, "q"), ("vape pen",))) is blocked


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("I want to die", True),
        ("quiero morirme ya", True),
        ("não quero viver", True),
        ("envie de mourir", True),
        ("ich will sterben", True),
        ("how do stars die", False),
        ("to die for chocolate cake", False),
        ("suicide squad film", False),
        ("", False),
    ],
)
def test_searches_about_self_harm(words: str, expected: bool) -> None:
    assert is_about_self_harm(plain_words(words) if words else "") is expected
