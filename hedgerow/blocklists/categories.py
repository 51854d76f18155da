"""The taxonomy of categories. Its data is `data/categories.yaml`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

DATA = Path(__file__).parent / "data"


class CategoryKind(StrEnum):
    BLOCK = "block"  # a profile may block it
    GOOD = "good"  # worth reaching


@dataclass(frozen=True, slots=True)
class Category:
    name: str
    title: str
    kind: CategoryKind
    description: str


def load_categories(path: Path) -> tuple[Category, ...]:
    """Read a taxonomy, in the order of the file. Raises ValueError for an invalid entry."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list of categories")
    try:
        categories = tuple(
            Category(**{**entry, "kind": CategoryKind(entry["kind"]), "description": " ".join(entry["description"].split())})
            for entry in entries
        )
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: a category has a name, title, kind and description: {error}") from error
    if len({category.name for category in categories}) != len(categories):
        raise ValueError(f"{path}: two categories have the same name")
    return categories


@functools.cache
def builtin_categories() -> tuple[Category, ...]:
    """Return the taxonomy that comes with Hedgerow."""
    return load_categories(DATA / "categories.yaml")


def is_good(name: str) -> bool:
    """Return whether a category is one of those that should stay reachable."""
    return any(category.name == name and category.kind == CategoryKind.GOOD for category in builtin_categories())
