"""The taxonomy and the lists that come with Hedgerow."""

from __future__ import annotations

from pathlib import Path

import pytest

import hedgerow.policies
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import DATA, CategoryKind, builtin_categories, load_categories
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.formats import FORMATS
from hedgerow.blocklists.sources import (
    Source,
    correction_sources,
    load_public_sources,
    load_publishers,
    public_sources,
    starter_sources,
)


def test_builtin_taxonomy() -> None:
    categories = {category.name: category for category in builtin_categories()}
    assert {"adult", "gambling", "bypass", "malware", "social", "education"} <= set(categories)
    assert categories["adult"].kind == CategoryKind.BLOCK
    assert categories["education"].kind == CategoryKind.GOOD
    assert all(category.title and category.description for category in categories.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", "expected a list"),
        ("- {name: a, title: A, kind: block}\n", "has a name, title, kind"),
        ("- {name: a, title: A, kind: bad, description: x}\n", "bad"),
        ("- &a {name: a, title: A, kind: block, description: x}\n- *a\n", "the same name"),
    ],
)
def test_invalid_taxonomies_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "categories.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_categories(path)


def test_starter_lists_have_no_problems(tmp_path: Path) -> None:
    sources = starter_sources()
    known = {category.name for category in builtin_categories()}
    assert {source.category for source in sources} <= known
    report = compile_generation(sources, tmp_path / "generation")
    assert report.problems == ()
    assert all(source.names > 0 for source in report.sources)
    catalogue = Catalogue.open(tmp_path / "generation")
    for source in sources:
        assert source.path
        for number, line in enumerate(source.path.read_text().splitlines(), 1):
            domain = line.partition("#")[0].strip()
            if domain:
                assert catalogue.host_mask(domain) & catalogue.mask_of([source.category]), f"{source.path}:{number}"


def test_corrections_keep_health_and_sexual_education_open(tmp_path: Path) -> None:
    """A public list may take them for pornography or drugs; only a rule of the policy blocks them then."""
    good = {
        source.name: starter_names(source)
        for source in starter_sources()
        if source.category in {"health", "sexual-education"}
    }
    names = set().union(*good.values())
    (tmp_path / "list.txt").write_text("\n".join(names) + "\nadult.example\n")
    lists = [Source("list", category, tmp_path / "list.txt") for category in ("adult", "drugs", "gambling")]
    report = compile_generation([*starter_sources(), *correction_sources(), *lists], tmp_path / "generation")
    assert {problem.source.partition(" ")[0] for problem in report.problems} <= {"list"}
    names -= {problem.text for problem in report.problems}  # public suffixes such as nhs.uk, which no list can block
    catalogue = Catalogue.open(tmp_path / "generation")

    def categories_of(host: str) -> set[str]:
        return set(catalogue.names_of(catalogue.host_mask(host)))

    assert {name for name in names if "adult" in categories_of(f"www.{name}")} == set()
    assert {name for name in good["starter/health"] if "drugs" in categories_of(name)} == set()
    assert all("gambling" in categories_of(name) for name in names)
    assert {"adult", "drugs"} <= categories_of("adult.example")


def starter_names(source: Source) -> set[str]:
    assert source.path
    return {name for line in source.path.read_text().splitlines() if (name := line.partition("#")[0].strip())}


@pytest.mark.parametrize(
    "category",
    ["adult", "gambling", "drugs", "bypass", "malware", "phishing", "ads-trackers", "violence", "dating", "social"],
)
def test_each_category_that_matters_has_two_independent_public_lists(category: str) -> None:
    """Two homepages: the day on which one publisher gives up must not open the category."""
    recommended = [
        source
        for source in public_sources().values()
        if source.category == category and "child-8-12" in source.default_for
    ]
    assert len({source.homepage for source in recommended}) > 1


def test_public_lists() -> None:
    sources = public_sources()
    known = {category.name for category in builtin_categories()}
    profiles = {path.stem for path in (Path(hedgerow.policies.__file__).parent / "profiles").glob("*.yaml")}
    assert len(sources) >= 40
    assert len({source.url for source in sources.values()}) == len(sources)
    for source in sources.values():
        assert source.category in known, source.name
        assert set(source.default_for) <= profiles, source.name
        assert source.format in {"auto", *(one.name for one in FORMATS)}, source.name
        assert source.url.startswith("https://"), source.name
        assert source.homepage.startswith("https://"), source.name
        assert source.licence
        assert source.size > 0
    # Of these nobody publishes a list that could be named here; `illegal` is entrusted to operators, `never-inspect` is
    # for one's own.
    assert known - {source.category for source in sources.values()} == {
        "illegal",
        "health",
        "self-harm",
        "mirrors",
        "never-inspect",
    }


def test_publishers_categories_have_counterparts() -> None:
    known = {category.name for category in builtin_categories()}
    assert set(load_publishers(DATA / "publishers.yaml").values()) <= known | {None}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "{name: a, theirs: ut1/no-such, url: 'https://x/', format: auto, licence: x, homepage: x, size: 1}",
            "ut1/no-such",
        ),
        (
            "{name: a, theirs: ut1/bank, url: 'https://x/', format: auto, licence: x, homepage: x, size: 1}",
            "no counterpart",
        ),
        ("{name: a, category: adult}", "not a public source"),
        (
            "{name: a, category: adult, url: u, format: auto, licence: x, homepage: x, size: 1, refresh: often}",
            "'often' is not a span",
        ),
    ],
)
def test_invalid_public_sources_are_refused(tmp_path: Path, entry: str, message: str) -> None:
    (tmp_path / "sources.yaml").write_text(f"sources:\n  - {entry}\n")
    with pytest.raises(ValueError, match=message):
        load_public_sources(tmp_path / "sources.yaml", load_publishers(DATA / "publishers.yaml"))
