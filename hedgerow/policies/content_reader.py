"""Reads what a scope says about content."""

from __future__ import annotations

from hedgerow.policies import yaml_tree
from hedgerow.policies.content import FILE_KINDS, ContentRules, plain_words
from hedgerow.policies.schema import RawRules
from hedgerow.policies.targets import suggest
from hedgerow.policies.yaml_tree import Tree


def read_content(tree: Tree, raw: RawRules, path: yaml_tree.Path) -> ContentRules:
    """The rules at `path`; mistakes are added to the tree's problems."""
    for index, term in enumerate(raw.block_searches):
        if not plain_words(term).strip():
            tree.add_problem((*path, "block_searches", index), f"'{term}' holds no word to look for")
    for index, kind in enumerate(raw.block_files or ()):
        if kind not in FILE_KINDS:
            message = f"unknown kind of file '{kind}'.{suggest(kind, FILE_KINDS)} There are {', '.join(FILE_KINDS)}."
            tree.add_problem((*path, "block_files", index), message)
    scan = raw.page_scan
    limit = None if scan is None else 0 if scan.limit is None and scan.everywhere is None else scan.limit
    everywhere = None if scan is None else scan.everywhere
    files = None if raw.block_files is None else tuple(raw.block_files)
    return ContentRules(raw.pass_through, limit, everywhere, tuple(raw.block_searches), files)
