"""Whether a rule would match nearly everything: neither a slip nor malice in a list may close the internet.

A rule is held against texts that have little in common but what all hosts, or all URLs of a kind, have.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import assert_never

from hedgerow.blocklists.patterns import compile_rule, fragments
from hedgerow.blocklists.rules import Kind, UrlRule

_HOSTS = (
    "a.test", "www.garden.example.com", "123.invalid", "xn--bcher-kva.test",
    "mail-2.x7q.invalid", "b4.invalid", "news.town.test", "cdn.img7.example.net",
)  # fmt: skip
_PATHS = (
    "index.html?q=1", "img/logo_2.png", "app/main.js", "de/news/2024-05-01",
    "watch?v=q-7x&t=3", "a/b/c/", "~mia/", "search?query=birds+of+lisbon",
)  # fmt: skip
_FRONT_PAGES = tuple(f"{host}/" for host in _HOSTS)
_DEEPER_PAGES = tuple(f"{host}/{path}" for host, path in zip(_HOSTS, _PATHS, strict=True))
_PAGES = (_FRONT_PAGES, _DEEPER_PAGES)
_URLS = tuple(tuple(scheme + page for page in pages) for scheme, pages in itertools.product(("http://", "https://"), _PAGES))


def is_too_wide(rule: UrlRule) -> bool:
    """Whether a rule matches most hosts, or most URLs of a scheme and a kind of page, whatever the case of its letters. A rule that can
    only match some, by its host or by the sites for which it holds, need not be asked about."""
    groups = _texts_for(rule.kind)
    if rule.kind is Kind.PATTERN:
        # Cheaper than the expression, and enough for nearly every pattern.
        wanted = fragments(rule)
        groups = tuple(texts for texts in groups if _are_most(all(part in text for part in wanted) for text in texts))
    if not groups:
        return False
    search = compile_rule(rule)
    return any(_are_most(search(text) for text in texts) for texts in groups)


def _are_most(matches: Iterable[object]) -> bool:
    return sum(map(bool, matches)) > len(_HOSTS) / 2


def _texts_for(kind: Kind) -> Sequence[Sequence[str]]:
    match kind:
        case Kind.PATTERN | Kind.REGEX:
            return _URLS
        case Kind.EXPRESSION:
            return _PAGES
        case Kind.HOST_REGEX:
            return (_HOSTS,)
        case _:
            assert_never(kind)
