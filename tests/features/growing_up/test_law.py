"""Minimum ages by law: each with a source that was read within twelve months, and advice where a topic is open."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from features.growing_up import minimum_ages as table

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.features.growing_up.law import MinimumAge, ages_that_concern, minimum_ages
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.text.locales import COUNTRIES

TODAY = date(2026, 12, 3)


@pytest.mark.parametrize("entry", minimum_ages(), ids=lambda entry: f"{entry.country}-{entry.kind}")
def test_an_entry_has_a_source_that_was_read_within_twelve_months(entry: MinimumAge) -> None:
    today = datetime.now(UTC).date()
    assert today - timedelta(days=366) <= entry.checked <= today + timedelta(days=1), "read its source again"
    assert entry.source.startswith(("https://", "http://"))
    assert entry.law
    assert entry.country in COUNTRIES
    assert entry.kind in {category.name for category in builtin_categories()}
    assert 13 <= entry.age <= 21
    assert entry.since is None or entry.since.year > 1900


PRIMARY = {
    *("peo.gov.au", "droit-bilingue.ch", "www.buzer.de", "skat.dk", "intermin.fi", "anj.fr", "www.legislation.gov.uk"),
    *("sabor.hr", "www.oireachtas.ie", "zoek.officielebekendmakingen.nl", "regjeringen.no", "www.legislation.govt.nz"),
    *("dlajurysty.pl", "www.pgdlisboa.pt"),
}
"""Hosts with the text of a law, and those of parliaments, governments and their regulators."""


def test_a_source_of_anybody_else_is_marked() -> None:
    marked = {urlsplit(entry.source).hostname: entry.is_secondary for entry in minimum_ages()}
    assert {host for host, is_secondary in marked.items() if not is_secondary} == PRIMARY
    assert all(entry.is_secondary is (urlsplit(entry.source).hostname not in PRIMARY) for entry in minimum_ages())


def test_thirty_countries_have_one_age_for_a_kind() -> None:
    keys = [(entry.country, entry.kind) for entry in minimum_ages()]
    assert len(keys) == len(set(keys))
    assert len({entry.country for entry in minimum_ages()}) >= 30


def test_the_table_of_the_documentation_is_up_to_date() -> None:
    """To update: `python tools/features/growing_up/minimum_ages.py`."""
    assert table.PAGE.read_text(encoding="utf-8") == table.page()


def _advice(country: str, mia: str, today: date = TODAY) -> list[tuple[str, int]]:
    policy = parse_policy(f"network: {{country: {country}}}\npeople: {{mia: {{{mia}}}}}".encode(), None)
    return [(each.kind, each.age) for each in ages_that_concern(policy, policy.people["mia"], today)]


def test_a_parent_is_told_where_rules_are_laxer_than_the_law() -> None:
    assert _advice("AU", "age: 15, allow: [social]") == [("social", 16)]
    assert _advice("AU", "age: 15, allow: [social]", date(2025, 12, 9)) == [], "not in force yet"
    assert _advice("AU", "age: 15, block: [social]") == []
    assert _advice("AU", "age: 16, allow: [social]") == []
    assert _advice("BE", "age: 19") == [("gambling", 21)]
    assert _advice("DE", "age: 15") == [], "the profile closes it"
    assert _advice("AQ", "age: 15, allow: [social]") == [], "no entry"
