"""The taxonomy: which categories there are, and what each stands for. The data is `data/categories.yaml`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

DATA = Path(__file__).parent / "data"


class CategoryKind(StrEnum):
    BLOCK = "block"  # something that a profile may want to keep away
    GOOD = "good"  # something that is worth reaching


@dataclass(frozen=True, slots=True)
class Category:
    name: str
    title: str
    kind: CategoryKind
    description: str


def load_categories(path: Path) -> tuple[Category, ...]:
    """Reads a taxonomy, in the order of the file. Raises ValueError for an entry that is not as it must be."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list of categories")
    categories = tuple(_parse_category(path, entry) for entry in entries)
    names = [category.name for category in categories]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: a category stands there twice")
    return categories


def _parse_category(path: Path, entry: object) -> Category:
    if not isinstance(entry, dict) or set(entry) != {"name", "title", "kind", "description"}:
        raise ValueError(f"{path}: a category has a name, title, kind and description, not {entry!r}")
    return Category(
        name=str(entry["name"]),
        title=str(entry["title"]),
        kind=CategoryKind(entry["kind"]),
        description=" ".join(str(entry["description"]).split()),
    )


@functools.cache
def builtin_categories() -> tuple[Category, ...]:
    """The taxonomy that comes with Hedgerow."""
    return load_categories(DATA / "categories.yaml")


def is_good(name: str) -> bool:
    """Whether a category is one of those that should stay reachable."""
    return any(category.name == name and category.kind == CategoryKind.GOOD for category in builtin_categories())
