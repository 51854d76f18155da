"""What of a decision may be remembered: the person's privacy is applied here, before anything leaves the worker."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from hedgerow.policies.content import is_about_self_harm, search_words
from hedgerow.policies.model import Decision, Observation, Privacy, Reason, Request
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.safe_search import SearchEngines
from hedgerow.policies.targets import ILLEGAL

_SITE_REASONS = frozenset({Reason.GRANT, Reason.EXCEPTION, Reason.RULE, Reason.LIFELINE})


def observe(ruleset: Ruleset, request: Request, decision: Decision, when: float, count: int = 1) -> Observation | None:
    """The decision as it may be remembered; None if nothing of it may.

    A lifeline is never remembered, whatever the privacy, and neither is a search for ways to hurt oneself.
    `when` is in seconds since the epoch, `count` how often the decision fell.
    """
    privacy = ruleset.privacy
    if decision.reason is Reason.LIFELINE or privacy is Privacy.NONE or is_private_search(request):
        return None
    # Of illegal material nothing is written that could lead anybody to it.
    topics_only = privacy is Privacy.CATEGORY or decision.what == ILLEGAL
    return Observation(
        when=when,
        device=request.device,
        person=ruleset.person,
        profile=ruleset.profile,
        kind=request.kind,
        verdict=decision.verdict,
        reason=decision.reason,
        what="" if topics_only and _names_a_site(decision) else decision.what,
        host="" if topics_only else request.host,
        url=_without_credentials(request.url) if privacy is Privacy.FULL and request.url and not topics_only else "",
        rule="" if topics_only or decision.rule is None else str(decision.rule),
        count=count,
    )


def is_private_search(request: Request) -> bool:
    """Whether somebody searches for ways to hurt themselves: they are told who listens, and it is never remembered."""
    if request.url is None:
        return False
    engine = SearchEngines.load().engine_of(request.host)
    return engine is not None and bool(engine.words) and is_about_self_harm(search_words(request.url, engine.words))


def _names_a_site(decision: Decision) -> bool:
    """Whether `what` is a host or a URL, not a topic."""
    return "." in decision.what and decision.reason in _SITE_REASONS | {Reason.SAFE_SEARCH}


def _without_credentials(url: str) -> str:
    """Without user, password and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
