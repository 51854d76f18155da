"""Reads what a scope says about content."""

from __future__ import annotations

import re

from hedgerow.blocklists.names import parse_host
from hedgerow.policies.content import FILE_KINDS, ContentRules, plain_words
from hedgerow.policies.reading import yaml_tree
from hedgerow.policies.reading.schema import RawRules, RawTenants
from hedgerow.policies.reading.suggestions import suggest
from hedgerow.policies.reading.yaml_tree import Tree
from hedgerow.policies.tenants import Tenants

_DIRECTORY = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


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
    return ContentRules(raw.pass_through, limit, everywhere, tuple(raw.block_searches), files, _tenants(tree, raw.tenants, path))


def _tenants(tree: Tree, raw: RawTenants | None, path: yaml_tree.Path) -> Tenants | None:
    """They stand in fields of requests, so nothing but names and ids may."""
    if raw is None:
        return None
    for key, texts in (("google", raw.google), ("microsoft", raw.microsoft)):
        for index, text in enumerate(texts):
            if parse_host(text) is None:
                tree.add_problem((*path, "tenants", key, index), f"'{text}' is not the domain of an organisation, such as school.example")
    if raw.microsoft and (raw.directory is None or _DIRECTORY.fullmatch(raw.directory) is None):
        say = "Microsoft asks for the id of your own directory, such as `directory: 00000000-1111-2222-3333-444444444444`"
        tree.add_problem((*path, "tenants"), say, key=True)
    return Tenants(tuple(raw.google), tuple(raw.microsoft), raw.directory or "")
