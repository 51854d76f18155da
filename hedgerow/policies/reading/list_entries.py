"""Reads the `lists` of a policy file: public lists by name, and lists of one's own by path or URL."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from hedgerow.blocklists.formats import FORMATS
from hedgerow.blocklists.names import parse_url
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.sources import parse_span, public_sources
from hedgerow.policies.model import ListSource
from hedgerow.policies.reading import yaml_tree
from hedgerow.policies.reading.schema import RawList
from hedgerow.policies.reading.suggestions import suggest
from hedgerow.policies.reading.yaml_tree import Tree


def list_source(tree: Tree, index: int, raw: RawList, policy_path: Path | None) -> ListSource | None:
    """The list of the entry `index`; None, with a problem, if it says too little. Relative paths lie beside the policy file."""
    refresh = _refresh(tree, ("lists", index, "refresh"), raw.refresh)
    if raw.source is not None:
        return _public(tree, index, raw, raw.source, refresh)
    path: yaml_tree.Path = ("lists", index)
    line, _ = tree.place_of(path)
    if raw.category is None:
        # A category that could not be read was left out, and its mistake is told already.
        if not any(problem.line == line for problem in tree.problems):
            tree.add_problem(path, "'category' is missing: what is the list about? Or name a public list: {source: NAME}")
        return None
    if (raw.url is None) == (raw.path is None):
        tree.add_problem(path, "a list has either a url or a path")
    if raw.url is not None and (not raw.url.startswith(("http://", "https://")) or parse_url(raw.url) is None):
        tree.add_problem((*path, "url"), f"'{raw.url}' is not an http or https URL")
    formats = ["auto", *(known.name for known in FORMATS)]
    if raw.format is not None and raw.format not in formats:
        tree.add_problem((*path, "format"), f"unknown format '{raw.format}'.{suggest(raw.format, formats)} Formats: {', '.join(formats)}.")
    if not raw.category.replace("-", "").replace("_", "").isalnum() or raw.category != raw.category.lower():
        tree.add_problem((*path, "category"), f"'{raw.category}' cannot be a category: small letters, digits and hyphens")
    base = policy_path.parent if policy_path is not None else Path()
    file = str((base / raw.path).absolute()) if raw.path is not None else None
    name = raw.name or raw.url or raw.path or raw.category
    return ListSource(name, raw.category, file, raw.url, raw.format or "auto", Origin(tree.source, line), refresh)


def _public(tree: Tree, index: int, raw: RawList, name: str, refresh: float | None) -> ListSource | None:
    path: yaml_tree.Path = ("lists", index)
    for key in ("url", "path", "format", "name", "category"):
        if getattr(raw, key) is not None:
            tree.add_problem((*path, key), f"a public list has its own {key}: leave it out", key=True)
    known = public_sources().get(name)
    if known is None:
        hint = suggest(name, public_sources())
        tree.add_problem((*path, "source"), f"unknown public list '{name}'.{hint} `hedgerow lists public` shows them all.")
        return None
    line, _ = tree.place_of(path)
    return ListSource(name, known.category, None, known.url, known.format, Origin(tree.source, line), refresh or known.refresh)


def _refresh(tree: Tree, path: yaml_tree.Path, text: str | None) -> float | None:
    try:
        return None if text is None else parse_span(text)
    except ValueError as error:
        tree.add_problem(path, str(error))
        return None


def check_categories_used(tree: Tree, lists: Sequence[ListSource | None], builtin: Sequence[str], used: Container[str]) -> None:
    """Adds a problem for a category of one's own that nothing speaks of, and for two lists of one name."""
    names: set[str] = set()
    for index, source in enumerate(lists):
        if source is None:
            continue
        if source.category not in builtin and source.category not in used:
            hint = suggest(source.category, builtin)
            message = f"the category '{source.category}' is not built in, and nothing blocks or allows it.{hint}"
            tree.add_problem(("lists", index, "category"), message)
        if source.name in names:
            tree.add_problem(("lists", index), f"two lists are called '{source.name}': give one of them another name")
        names.add(source.name)
