"""The taxonomy of categories. Its data is `data/categories.yaml`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hedgerow.blocklists.yaml_files import read_yaml

DATA = Path(__file__).parent / "data"


class CategoryKind(StrEnum):
    BLOCK = "block"  # a profile may block it
    GOOD = "good"  # worth reaching


class Danger(StrEnum):
    """The people for whom a category is dangerous."""

    NOBODY = "nobody"
    CHILDREN = "children"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Category:
    name: str
    title: str
    kind: CategoryKind
    description: str
    danger: Danger = Danger.NOBODY

    def is_dangerous(self, *, for_child: bool) -> bool:
        """Return whether somebody should be asked before they open it for a child, or for an adult."""
        return self.danger is Danger.EVERYONE or (for_child and self.danger is Danger.CHILDREN)


def load_categories(path: Path) -> tuple[Category, ...]:
    """Read a taxonomy, in the order of the file. Raises ValueError for an invalid entry."""
    entries = read_yaml(path) or []
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list of categories")
    try:
        categories = tuple(
            Category(
                str(entry["name"]),
                str(entry["title"]),
                CategoryKind(entry["kind"]),
                " ".join(entry["description"].split()),
                Danger(entry.get("danger", Danger.NOBODY)),
            )
            for entry in map(_checked, entries)
        )
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: a category has a name, title, kind and description: {error}") from error
    if len({category.name for category in categories}) != len(categories):
        raise ValueError(f"{path}: two categories have the same name")
    return categories


def _checked(entry: dict[str, str]) -> dict[str, str]:
    if unknown := entry.keys() - {"name", "title", "kind", "danger", "description"}:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
    return entry


@functools.cache
def builtin_categories() -> tuple[Category, ...]:
    """Return the taxonomy that comes with Hedgerow."""
    return load_categories(DATA / "categories.yaml")


@functools.cache
def kept_from_children() -> frozenset[str]:
    """Return the names of the categories that are dangerous for children."""
    return frozenset(category.name for category in builtin_categories() if category.is_dangerous(for_child=True))


def is_good(name: str) -> bool:
    """Return whether a category is one of those that should stay reachable."""
    return any(category.name == name and category.kind == CategoryKind.GOOD for category in builtin_categories())
