"""The taxonomy and the lists that come with Hedgerow."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import CategoryKind, builtin_categories, load_categories
from hedgerow.blocklists.compile import compile_generation
from hedgerow.blocklists.sources import starter_sources


def test_the_taxonomy_that_comes_with_hedgerow() -> None:
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
        ("- &a {name: a, title: A, kind: block, description: x}\n- *a\n", "twice"),
    ],
)
def test_a_broken_taxonomy_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "categories.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_categories(path)


def test_the_starter_lists_are_without_a_mistake(tmp_path: Path) -> None:
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
