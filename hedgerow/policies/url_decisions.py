"""Decisions on requests for URLs, with what follows from the host alone kept: a page sends many requests to few hosts."""

from __future__ import annotations

from typing import NamedTuple

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.decide import decide_in
from hedgerow.policies.model import Decision, Request, Verdict
from hedgerow.policies.request_context import RequestContext, build_context
from hedgerow.policies.rule_index import PathRule
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.targets import comparable_path
from hedgerow.policies.youtube import is_youtube


class _OpenHost(NamedTuple):
    """The decision that allows all URLs of a host, except those that one of `urls` or a list's rule of the categories in `mask` names."""

    decision: Decision
    urls: tuple[PathRule, ...]
    mask: int


class UrlDecisions:
    """Decisions with one catalogue: the same as those of `decide`. Not thread-safe."""

    def __init__(self, catalogue: Catalogue, limit: int = 4096) -> None:
        self._catalogue = catalogue
        self._limit = limit
        self._open: dict[tuple[Ruleset, str], _OpenHost] = {}

    def decide(self, ruleset: Ruleset, request: Request) -> Decision:
        """Return the decision on a request of any kind."""
        known = self._open.get((ruleset, request.host)) if request.url is not None else None
        if known is not None and not self._is_named(known.urls, known.mask, request):
            return known.decision
        context = build_context(ruleset, self._catalogue, request)
        decision = decide_in(context)
        if request.url is not None and decision.verdict is Verdict.ALLOW and known is None:
            self._keep(context, decision)
        return decision

    def _is_named(self, urls: tuple[PathRule, ...], mask: int, request: Request) -> bool:
        """Return whether a rule or a list's rule is about the URL of this request."""
        assert request.url is not None
        if urls:
            path = comparable_path(request.url)
            for rule in urls:
                if rule.path.match(path) is not None:
                    return True
        return bool(self._catalogue.match_urls(request.url, request.resource, request.initiator, mask, request.method))

    def _keep(self, context: RequestContext, decision: Decision) -> None:
        """Keep a decision if nothing but rules about URLs could make another one of another URL of the host."""
        ruleset, request = context.ruleset, context.request
        rules, host = ruleset.rules, request.host
        mask = rules.illegal | rules.blocked | rules.bypass
        is_search = context.engine is not None or context.pictures is not None or context.closed_ai is not None
        if is_search or context.mask & mask or (ruleset.content.youtube_only and is_youtube(host)):
            return
        if not self._is_named(context.urls, mask, request):
            if len(self._open) >= self._limit:
                self._open.clear()
            self._open[ruleset, host] = _OpenHost(decision, context.urls, mask)
