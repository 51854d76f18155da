"""Decisions on requests for URLs, with what follows from the host alone kept: a page sends many requests to
few hosts.
"""

from __future__ import annotations

from typing import NamedTuple

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide_in
from hedgerow.policies.model import Decision, Request
from hedgerow.policies.request_context import RequestContext, build_context
from hedgerow.policies.rule_index import PathRule
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.targets import comparable_path
from hedgerow.policies.youtube import is_youtube


class _KnownHost(NamedTuple):
    """The decision on all URLs of a host, but for those that something is about:

    `urls`, or rules in lists of the categories in `mask`.

    `blocked` are the host's categories that exceptions in lists may lift from a URL.
    """

    decision: Decision
    urls: tuple[PathRule, ...]
    mask: int
    blocked: int


_MAX_NAMED = 256
_MAX_NAMED_LENGTH = 2048
"""Decisions on single URLs that are kept, and the characters of such a URL.

A page may ask for a blocked one again and again.
"""


class UrlDecisions:
    """Decisions with one catalogue: the same as those of `decide`. Not thread-safe."""

    def __init__(self, catalogue: Catalogue, limit: int = 4096) -> None:
        self._catalogue = catalogue
        self._limit = limit
        self._known: dict[tuple[Ruleset, str], _KnownHost] = {}
        self._named: dict[tuple[Ruleset, Request], Decision] = {}

    def decide(self, ruleset: Ruleset, request: Request) -> Decision:
        """Return the decision on a request of any kind."""
        if request.url is None:
            return decide_in(build_context(ruleset, self._catalogue, request))
        known = self._known.get((ruleset, request.host))
        if known is not None and not self._is_named(known, request):
            return known.decision
        if (decision := self._named.get((ruleset, request))) is not None:
            return decision
        context = build_context(ruleset, self._catalogue, request)
        decision = decide_in(context)
        self._keep(context, decision, known)
        return decision

    def _is_named(self, known: _KnownHost, request: Request) -> bool:
        """Return whether a rule is about the URL of this request, or an exception in a list that matters for it."""
        url, resource, initiator, method = request.url, request.resource, request.initiator, request.method
        assert url is not None
        if known.urls:
            path = comparable_path(url)
            for rule in known.urls:
                if rule.matches(path):
                    return True
        if known.blocked and self._catalogue.lifted_by_url(url, resource, initiator, known.blocked, method):
            return True
        return bool(self._catalogue.match_urls(url, resource, initiator, known.mask, method))

    def _keep(self, context: RequestContext, decision: Decision, known: _KnownHost | None) -> None:
        """Keep a decision for its URL if a rule is about that, else for the host.

        Nothing is kept where other URLs of the host differ by more than such rules: those of search engines and YouTube
        do.
        """
        ruleset, request = context.ruleset, context.request
        rules, host = ruleset.rules, request.host
        is_search = context.engine is not None or context.pictures is not None or context.closed_ai is not None
        if is_search or (ruleset.content.youtube_only and is_youtube(host)):
            return
        mask = rules.illegal | rules.blocked | rules.bypass
        found = known or _KnownHost(decision, context.urls, mask, context.mask & mask)
        if known is None and not self._is_named(found, request):
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[ruleset, host] = found
        elif len(request.url or "") <= _MAX_NAMED_LENGTH:
            if len(self._named) >= _MAX_NAMED:
                self._named.clear()
            self._named[ruleset, request] = decision
