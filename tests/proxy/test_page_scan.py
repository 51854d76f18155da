"""Weighing pages: whom the starter lists keep from what, other people's lists, and that a page weighs the same however it comes."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.policies.profiles import builtin_profiles
from hedgerow.proxy.page_scan import STARTER, PageScan, Phrase, PhraseBook, parse_phrases, score_of

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "content" / "pages.yaml").read_text(encoding="utf-8"))
YOUNGEST_FIRST = ["child-under-8", "child-8-12", "teen-13-15", "teen-16-17"]
E2GUARDIAN = Path("/etc/e2guardian/lists/phraselists")


def limit_of(profile: str) -> int:
    limit = builtin_profiles()[profile].rules.content.page_limit
    assert limit
    return limit


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_who_may_read_it(case: dict[str, Any]) -> None:
    score = score_of(PhraseBook.load()[0], f"<html><body><p>{case['text']}</p></body></html>")
    print(f"{case['name']}: {score}")
    if "open_for" in case:
        assert score <= limit_of(case["open_for"])
    else:
        assert score > limit_of(case["blocked_for"])


def test_limits_rise_with_age() -> None:
    limits = [limit_of(profile) for profile in YOUNGEST_FIRST]
    assert limits == sorted(set(limits))
    assert not builtin_profiles()["adult"].rules.content.page_limit


@pytest.mark.parametrize("path", sorted(STARTER.glob("*.txt")), ids=lambda path: path.stem)
def test_every_line_of_the_starter_lists_is_read(path: Path) -> None:
    phrases, problems = parse_phrases(path.read_text(encoding="utf-8"), path.name)
    assert problems == ()
    assert len(phrases) > 40
    assert len(set(phrases)) == len(phrases)
    assert all(part.startswith(" ") and part.endswith(" ") for phrase in phrases for part in phrase.parts), "no Scunthorpe"


def test_each_phrase_counts_once_and_those_of_a_line_together() -> None:
    book = PhraseBook(parse_phrases("< red ><10>\n< blue >,< sky ><7>\ngreen\n<gre><3>\n< red ><10>", "x")[0])
    assert score_of(book, "red red, RED") == 10
    assert score_of(book, "blue") == 0
    assert score_of(book, "the sky is blue, and Great Greenland too") == 10
    assert score_of(book, "redder") == 0


def test_what_cannot_be_read_is_named_with_its_line() -> None:
    phrases, problems = parse_phrases("# a comment\n< good ><5>\n<no weight>\n<!><5>\n.Include</somewhere>\n", "theirs")
    assert phrases == (Phrase((" good ",), 5),)
    assert [(problem.source, problem.line) for problem in problems] == [("theirs", 3), ("theirs", 4)]


@pytest.mark.skipif(not E2GUARDIAN.is_dir(), reason="e2guardian's lists are not installed")
def test_e2guardians_own_lists_load() -> None:
    paths = [str(path) for path in sorted(E2GUARDIAN.glob("*/*/weighted*"))]
    book, problems = PhraseBook.load(paths)
    assert len(problems) < 100
    text = (Path(__file__).parents[1] / "cases" / "content" / "pages.yaml").read_text(encoding="utf-8")
    assert score_of(book, text) != score_of(PhraseBook.load()[0], text)


def test_a_list_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("< hedgehog ><30>\n")
    assert score_of(PhraseBook.load([str(path)])[0], "a hedgehog") == 30
    path.write_bytes("< igel ><20>\n< fuchsbau ><5>\n".encode("cp1252"))
    os.utime(path, ns=(1, 1))
    assert score_of(PhraseBook.load([str(path)])[0], "Igel und Hedgehog") == 20


@given(st.lists(st.integers(1, 400), max_size=30), st.randoms(use_true_random=False))
def test_pieces_do_not_matter(sizes: list[int], chance: random.Random) -> None:
    book = PhraseBook.load()[0]
    case = chance.choice(CASES)
    page = f"<style>p {{}}</style><p>{case['text'].replace('. ', '.</p><script>let a = 1 < 2</script><p>&nbsp;')}</p>"
    scan, position = PageScan(book), 0
    for size in sizes:
        scan.feed(page[position : position + size])
        position += size
    scan.feed(page[position:], last=True)
    assert scan.score == score_of(book, page)


def test_other_pages_at_the_same_time_change_nothing() -> None:
    book = PhraseBook.load()[0]
    expected = [score_of(book, case["text"]) for case in CASES]
    scans = [PageScan(book) for _ in CASES]
    for position in range(0, 2000, 50):
        for scan, case in zip(scans, CASES, strict=True):
            scan.feed(case["text"][position : position + 50])
    for scan in scans:
        scan.feed("", last=True)
    assert [scan.score for scan in scans] == expected


@pytest.mark.parametrize("hostile", ["<", "<script>", "<!--", "&", "<b ", "<!-- -", "&#", "</", " x", "<p", "porn "])
def test_no_page_takes_long(hostile: str) -> None:
    scan, book = PageScan(PhraseBook.load()[0]), hostile * (600_000 // len(hostile))
    start = time.process_time()
    for position in range(0, len(book), 16_384):
        scan.feed(book[position : position + 16_384])
    scan.feed("", last=True)
    assert time.process_time() - start < 3
