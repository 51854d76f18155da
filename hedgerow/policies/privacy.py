"""The person's privacy setting, applied to each decision before it leaves the worker."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from hedgerow.policies.content import is_about_self_harm, search_words
from hedgerow.policies.model import Decision, Observation, Privacy, Reason, Request
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.safe_search import SearchEngines
from hedgerow.policies.targets import HELP_FIRST, ILLEGAL

_SITE_REASONS = frozenset({Reason.GRANT, Reason.EXCEPTION, Reason.RULE, Reason.LIFELINE})


def observe(ruleset: Ruleset, request: Request, decision: Decision, when: float, count: int = 1) -> Observation | None:
    """Return the decision as it may be stored; None if it may not.

    Lifelines and searches about self-harm are never stored. `when` is in seconds since the epoch, `count` the number of
    equal decisions.
    """
    privacy = ruleset.privacy
    if decision.reason is Reason.LIFELINE or privacy is Privacy.NONE or is_private_search(request):
        return None
    # Nothing is stored that could lead to illegal material, or that tells what somebody in need has looked for.
    topics_only = privacy is Privacy.CATEGORY or decision.what in HELP_FIRST | {ILLEGAL}
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
        version=ruleset.version,
    )


def counted_reason(reason: Reason) -> str:
    """Return the reason under which metrics count a decision with this reason: visits to lifelines count as ordinary
    ones.

    A counter of their own would tell whoever reads the metrics when somebody at home looked for help, for as long as
    metrics are kept.
    """
    return Reason.DEFAULT.value if reason is Reason.LIFELINE else reason.value


def is_private_search(request: Request) -> bool:
    """Return whether a request is a search about self-harm: it is answered with helplines and never stored."""
    if request.url is None:
        return False
    engine = SearchEngines.load().engine_of(request.host)
    return engine is not None and bool(engine.words) and is_about_self_harm(search_words(request.url, engine.words))


def _names_a_site(decision: Decision) -> bool:
    """Return whether `what` is a host or a URL, not a topic."""
    return "." in decision.what and decision.reason in _SITE_REASONS | {Reason.SAFE_SEARCH}


def _without_credentials(url: str) -> str:
    """Return a URL without user, password and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
