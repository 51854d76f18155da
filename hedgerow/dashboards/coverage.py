"""Coverage: how many names the lists in force have for each category, how old they are, and what is missing. Pure.

The pages, `hedgerow doctor`, `hedgerow lists status`, the API, the metrics and the notices all show what is computed
here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from hedgerow.blocklists.categories import builtin_categories


@dataclass(frozen=True, slots=True)
class ListHealth:
    """A list. `fetched` is the last successful download, or the time stamp of a file.

    `unique` counts domains that are in no other list, `problems` and `ignored` count lines by kind. `held`: a newer
    copy awaits approval. `failed`: the server sends nothing, or the copy is too old. `is_remote`: it is fetched from a
    server. `starter`: it comes with Hedgerow. `waiting`: it is not in force yet, and nothing has gone wrong so far.
    `dead`: its server has not sent it for a week. `publisher` is the homepage of a downloaded list. `corrections` are
    the sites that it names by mistake and that were left out of it, each with what it is about.
    """

    source: str
    category: str
    domains: int
    fetched: float | None = None
    problem: str = ""
    unique: int = 0
    url_rules: int = 0
    format: str = ""
    problems: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    held: bool = False
    failed: bool = False
    starter: bool = False
    is_remote: bool = False
    waiting: bool = False
    dead: bool = False
    publisher: str = ""
    corrections: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_in_force(self) -> bool:
        return bool(self.domains or self.url_rules)

    @property
    def is_missing(self) -> bool:
        """True unless the list is in force, or empty as its publisher wants it."""
        return not self.is_in_force and (self.waiting or bool(self.problem))


class CoverageState(StrEnum):
    """State of a category. The starter lists alone leave most sites of a category open."""

    FULL = "full"  # all lists of the category are in force
    FETCHING = "fetching"  # only the starter list so far; others are being fetched
    STARTER = "starter"  # only the starter list
    MISSING = "missing"  # a list is not in force, but another one is
    DEAD = "dead"  # a list has not been sent for a week; at least one is in force


@dataclass(frozen=True, slots=True)
class CategoryCoverage:
    """Coverage of one category by `names` distinct names of `lists` lists in force, the starter list included.

    `updated` is when the list that was fetched longest ago was fetched; None with the starter list alone. `wanted`:
    lists of this category are recommended for somebody here. `missing` and `dead` are names of lists.
    """

    category: str
    state: CoverageState
    names: int
    lists: int
    updated: float | None = None
    wanted: bool = False
    missing: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()

    @property
    def is_thin(self) -> bool:
        """Return whether only the starter list counts, though more lists are recommended for somebody here."""
        return self.wanted and self.state in (CoverageState.STARTER, CoverageState.FETCHING)


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """Downloaded lists: `done` of `total` are in force, `waiting` have not been tried yet, the others have failed."""

    done: int
    total: int
    waiting: int

    @property
    def failed(self) -> int:
        return self.total - self.done - self.waiting


def coverage_by_category(
    lists: Sequence[ListHealth], names: Mapping[str, int], wanted: Collection[str]
) -> tuple[CategoryCoverage, ...]:
    """Return the coverage of each category that has a list, in the taxonomy's order.

    `names` are the distinct names per category; a category that is not in it gets the sum over its lists.
    """
    known = [category.name for category in builtin_categories()]
    used = dict.fromkeys(item.category for item in lists)
    categories = [*(each for each in known if each in used), *(each for each in used if each not in known)]
    return tuple(
        _coverage(each, [item for item in lists if item.category == each], names, each in wanted) for each in categories
    )


def _coverage(category: str, lists: Sequence[ListHealth], names: Mapping[str, int], wanted: bool) -> CategoryCoverage:
    in_force = [item for item in lists if item.is_in_force]
    others = [item for item in in_force if not item.starter]
    missing = tuple(
        item.source for item in lists if not item.is_in_force and not (item.starter or item.waiting or item.dead)
    )
    dead = tuple(item.source for item in lists if item.dead)
    if not others:
        state = CoverageState.FETCHING if any(item.waiting for item in lists) else CoverageState.STARTER
    else:
        state = CoverageState.DEAD if dead else CoverageState.MISSING if missing else CoverageState.FULL
    return CategoryCoverage(
        category=category,
        state=state,
        names=names.get(category, sum(item.domains for item in in_force)),
        lists=len(in_force),
        updated=min((item.fetched for item in others if item.fetched is not None), default=None),
        wanted=wanted,
        missing=missing,
        dead=dead,
    )


def fetch_progress(lists: Iterable[ListHealth]) -> FetchProgress:
    """Return how many of the lists that are downloaded are in force, and how many have not been tried yet."""
    public = [item for item in lists if item.is_remote]
    return FetchProgress(sum(item.is_in_force for item in public), len(public), sum(item.waiting for item in public))


def coverage_text(coverage: CategoryCoverage, now: float) -> str:
    """Return the coverage of a category in English, for the command line.

    >>> coverage_text(CategoryCoverage("adult", CoverageState.FULL, 214_000, 4, 0.0), 10_800.0)
    '214,000 names from 4 lists, updated 3 hours ago'
    >>> coverage_text(CategoryCoverage("adult", CoverageState.STARTER, 117, 1, missing=("oisd-nsfw",)), 0.0)
    'only the starter list (117 names); missing: oisd-nsfw'
    """
    match coverage.state:
        case CoverageState.STARTER:
            text = f"only the starter list ({coverage.names:,} names)" if coverage.lists else "no list in force"
        case CoverageState.FETCHING:
            first = f"only the starter list so far ({coverage.names:,} names)" if coverage.lists else "no list so far"
            text = f"{first}, the others are being fetched"
        case CoverageState.FULL | CoverageState.MISSING | CoverageState.DEAD:
            text = f"{coverage.names:,} names from {coverage.lists} list{'s' if coverage.lists != 1 else ''}"
            if coverage.updated is not None:
                text += f", updated {_ago(now - coverage.updated)}"
    if coverage.missing:
        text += f"; missing: {', '.join(coverage.missing)}"
    return f"{text}; not sent for a week: {', '.join(coverage.dead)}" if coverage.dead else text


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size or (size == 60 and seconds >= 60):
            count = round(seconds / size)
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return "just now"


def oldest_age_hours(lists: Iterable[ListHealth], now: float) -> int | None:
    """Return the age of the oldest public list in force, in whole hours; None if none was fetched."""
    ages = [now - each.fetched for each in lists if each.is_remote and each.is_in_force and each.fetched is not None]
    return int(max(ages) // 3600) if ages else None


def wanted_states(coverage: Iterable[CategoryCoverage]) -> dict[str, str]:
    """Return the state of each category that the profiles in use block, by its name."""
    return {each.category: each.state.value for each in coverage if each.wanted}
