"""The coverage of categories by lists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hedgerow.dashboards.coverage import (
    CategoryCoverage,
    CoverageState,
    FetchProgress,
    ListHealth,
    coverage_by_category,
    fetch_progress,
    oldest_age_hours,
)

NOW = 1_800_000_000.0
STARTER = ListHealth("starter/adult", "adult", 117, NOW - 9e6, starter=True)
PUBLIC = ListHealth("hagezi-nsfw", "adult", 111_000, NOW - 7200, is_remote=True)
OTHER = ListHealth("oisd-nsfw", "adult", 370_000, NOW - 600, is_remote=True)
WAITING = ListHealth("oisd-nsfw", "adult", 0, is_remote=True, waiting=True)
FAILED = ListHealth("oisd-nsfw", "adult", 0, problem="the server answered 404", failed=True, is_remote=True)


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([STARTER], CategoryCoverage("adult", CoverageState.STARTER, 117, 1)),
        ([STARTER, WAITING], CategoryCoverage("adult", CoverageState.FETCHING, 117, 1)),
        ([STARTER, FAILED], CategoryCoverage("adult", CoverageState.STARTER, 117, 1, missing=("oisd-nsfw",))),
        (
            [STARTER, replace(FAILED, dead=True)],
            CategoryCoverage("adult", CoverageState.STARTER, 117, 1, dead=("oisd-nsfw",)),
        ),
        ([STARTER, PUBLIC], CategoryCoverage("adult", CoverageState.FULL, 111_117, 2, NOW - 7200)),
        ([STARTER, PUBLIC, OTHER], CategoryCoverage("adult", CoverageState.FULL, 481_117, 3, NOW - 7200)),
        ([STARTER, PUBLIC, WAITING], CategoryCoverage("adult", CoverageState.FULL, 111_117, 2, NOW - 7200)),
        (
            [STARTER, PUBLIC, FAILED],
            CategoryCoverage("adult", CoverageState.MISSING, 111_117, 2, NOW - 7200, missing=("oisd-nsfw",)),
        ),
        (
            [STARTER, PUBLIC, replace(OTHER, dead=True)],
            CategoryCoverage("adult", CoverageState.DEAD, 481_117, 3, NOW - 7200, dead=("oisd-nsfw",)),
        ),
        ([ListHealth("mine", "adult", 5, NOW)], CategoryCoverage("adult", CoverageState.FULL, 5, 1, NOW)),
    ],
)
def test_state(lists: list[ListHealth], expected: CategoryCoverage) -> None:
    assert coverage_by_category(lists, {}, ()) == (expected,)
    (wanted,) = coverage_by_category(lists, {"adult": 200}, {"adult"})
    assert wanted == replace(expected, names=200, wanted=True), "names that several lists have count once"
    assert wanted.is_thin is (expected.state in (CoverageState.STARTER, CoverageState.FETCHING))
    assert not expected.is_thin


def test_each_category_has_its_own_state() -> None:
    found = coverage_by_category([replace(STARTER, category="games"), STARTER, PUBLIC], {}, {"adult", "gambling"})
    assert [(each.category, each.state, each.wanted) for each in found] == [
        ("adult", CoverageState.FULL, True),
        ("games", CoverageState.STARTER, False),
    ]


def test_progress_of_the_downloads() -> None:
    progress = fetch_progress([STARTER, PUBLIC, WAITING, FAILED, ListHealth("mine", "adult", 5)])
    assert (progress, progress.failed) == (FetchProgress(1, 3, 1), 1)


def test_the_age_of_lists_is_that_of_the_oldest_public_one_in_force() -> None:
    assert oldest_age_hours([STARTER, PUBLIC, OTHER, WAITING, FAILED], NOW) == 2
    assert oldest_age_hours([STARTER, WAITING], NOW) is None, "files that ship with Hedgerow are as old as the package"
