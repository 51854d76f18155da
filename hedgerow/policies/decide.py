"""The decision on a request: one pure function with one ordered list of steps.

The DNS resolver, the proxy's gate and the inspector all call `decide`; `explain` walks the same steps. Each step
declares which fields of the request it reads, so that caches can derive their keys (`fields_read`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from hedgerow.blocklists.address_ranges import is_public_address
from hedgerow.blocklists.catalogue import Catalogue, DnsRuleMatch
from hedgerow.blocklists.names import is_address, is_beneath, is_local_name
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.activity import matches_subject
from hedgerow.policies.content import blocked_search_term, search_words
from hedgerow.policies.host_facts import passing_while_closed
from hedgerow.policies.mirrored_sites import front_end_of, is_search_front_end
from hedgerow.policies.model import Decision, Reason, Request, RequestKind, SafeSearch, TargetKind, Verdict
from hedgerow.policies.request_context import (
    AI_CHAT,
    CONTEXT_READS,
    FIELDS_BY_KIND,
    RequestContext,
    build_context,
    closes_ai_answers,
)
from hedgerow.policies.rule_index import BYPASS, MIRRORS, UNSAFE_SEARCH, RuleScope
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.safe_search import SearchEngine
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.unlisted import blocked_as_new, blocked_by_name, blocked_by_pages, needs_consent, suspicion_of
from hedgerow.policies.youtube import YOUTUBE_CHOSEN, YouTubeAccess, access_to, is_youtube

IP_ADDRESS = "ip-address"
HIDDEN_HOST = "ech"
"""`what` of a BYPASS decision without a list: the host is a bare address, or the client hides it."""
WELCOME_REASONS = frozenset((Reason.NO_SESSION, Reason.CONDUCT))
"""Reasons why a café's seat is closed before a guest can begin."""
_NO_DNS_RULE = DnsRuleMatch(None, 0)
LIFTED_BY_ALWAYS = frozenset((Reason.BEDTIME, Reason.SCHEDULE, Reason.BUDGET))
"""Closures that leave open what the policy allows `always`. A pause does not: somebody has just ordered it."""


def _lifeline(context: RequestContext) -> Decision | None:
    return Decision(Verdict.ALLOW, Reason.LIFELINE, what=context.lifeline) if context.lifeline else None


def _illegal(context: RequestContext) -> Decision | None:
    """Block illegal material. No rule, grant or code opens it, only an exception in a list of that category."""
    illegal = context.ruleset.rules.illegal
    if not illegal:
        return None
    blocked = context.mask & illegal
    ruling = _dns_rule_match(context, illegal)
    if blocked:
        blocked &= ~(ruling.lifted | _lifted_by_url(context, blocked))
    if blocked:
        return Decision(Verdict.BLOCK, Reason.CATEGORY, ILLEGAL, _list_origin(context, ILLEGAL))
    return _by_list_rule(context, ruling, illegal)


def _closed(context: RequestContext) -> Decision | None:
    closed, request = context.ruleset.closed, context.request
    if closed is None or (closed.reason in LIFTED_BY_ALWAYS and context.is_always_open):
        return None
    # names only: the proxy can redirect or refuse
    passing = passing_while_closed(before_session=closed.reason in WELCOME_REASONS)
    passes = request.kind is RequestKind.DNS and is_beneath(request.host, passing)
    return Decision(
        Verdict.ALLOW if passes else Verdict.BLOCK,
        closed.reason,
        closed.what,
        closed.rule,
        closed.until,
        by_wrong_clock=closed.by_wrong_clock,
    )


def _budget(context: RequestContext) -> Decision | None:
    if context.ruleset.used_up and context.is_always_open:
        return None
    for used_up in context.ruleset.used_up:
        if matches_subject(used_up.subject, context.ruleset, context.catalogue, context.request.host, context.mask):
            return Decision(
                Verdict.BLOCK, Reason.BUDGET, used_up.subject.partition(":")[2], used_up.rule, used_up.until
            )
    return None


def _grant(context: RequestContext) -> Decision | None:
    rule = context.rule
    if rule is None or rule.scope is not RuleScope.GRANT:
        return None
    ungranted = context.ruleset.ungranted
    if ungranted and (found := _by_list_rule(context, _dns_rule_match(context, ungranted), ungranted)) is not None:
        return found
    return Decision(Verdict.ALLOW, Reason.GRANT, rule.target.name, rule.target.origin, context.ruleset.until)


def _youtube(context: RequestContext) -> Decision | None:
    """Close what does not belong to the chosen channels and videos.

    Devices that are not inspected get nothing of YouTube.
    """
    chosen, request = context.ruleset.content.youtube_only, context.request
    if not chosen or not is_youtube(request.host):
        return None
    is_open = (
        context.is_surely_inspected
        if request.url is None
        else access_to(request.url, chosen) is not YouTubeAccess.CLOSED
    )
    return None if is_open else Decision(Verdict.BLOCK, Reason.RULE, YOUTUBE_CHOSEN)


def _exception(context: RequestContext) -> Decision | None:
    rule = context.rule
    if rule is None or not rule.allow or context.closing_mask:
        return None
    return Decision(Verdict.ALLOW, Reason.EXCEPTION, rule.target.name, rule.target.origin, context.ruleset.until)


def _explicit_block(context: RequestContext) -> Decision | None:
    rule = context.rule
    if rule is None or rule.allow or rule.target.kind is TargetKind.SERVICE:
        return None
    return Decision(Verdict.BLOCK, Reason.RULE, rule.target.name, rule.target.origin, rule.until, note=rule.target.note)


def _bypass(context: RequestContext) -> Decision | None:
    bypass = context.ruleset.rules.bypass
    if not bypass:
        return None
    if context.request.hides_host:
        return Decision(Verdict.BLOCK, Reason.BYPASS, HIDDEN_HOST)
    if _is_bare_address(context.request):
        return Decision(Verdict.BLOCK, Reason.BYPASS, IP_ADDRESS)
    if not context.closing_mask & bypass:
        return None
    return Decision(Verdict.BLOCK, Reason.BYPASS, BYPASS, _list_origin(context, BYPASS))


def _is_bare_address(request: Request) -> bool:
    """Return whether the host is a public address, which no list of names can judge.

    The proxy guards private ones itself.
    """
    return request.kind is not RequestKind.DNS and is_address(request.host) and is_public_address(request.host)


def _service(context: RequestContext) -> Decision | None:
    rule = context.rule
    if rule is None or rule.allow or rule.target.kind is not TargetKind.SERVICE:
        return None
    return Decision(
        Verdict.BLOCK, Reason.SERVICE, rule.target.name, rule.target.origin, rule.until, note=rule.target.note
    )


def _category(context: RequestContext) -> Decision | None:
    rules = context.ruleset.rules
    blocked = context.closing_mask & rules.blocked
    ruling = _dns_rule_match(context, rules.blocked | rules.bypass)
    if blocked:
        # A list may except some pages of a host that it blocks, or questions for some record types.
        blocked &= ~(ruling.lifted | _lifted_by_url(context, blocked))
    if blocked:
        name = context.catalogue.categories[(blocked & -blocked).bit_length() - 1]
        rule = rules.categories.get(name)
        until, note = (rule.until, rule.target.note) if rule else (None, "")
        return Decision(Verdict.BLOCK, Reason.CATEGORY, name, _list_origin(context, name), until, note=note)
    return _by_list_rule(context, ruling, rules.blocked | rules.bypass) or _ai_answer(context, Reason.CATEGORY)


def _ai_answer(context: RequestContext, reason: Reason) -> Decision | None:
    """Block a request for an AI answer of a search engine, if they are closed for `reason`."""
    url, rule = context.request.url, context.ruleset.rules.categories.get(AI_CHAT)
    if url is None or closes_ai_answers(context.ruleset) is not reason:
        return None
    if (ai := context.closed_ai) is None or not ai.matches(url):
        return None
    if rule is None:
        return Decision(Verdict.BLOCK, reason, AI_CHAT)
    return Decision(Verdict.BLOCK, reason, AI_CHAT, rule.target.origin, rule.until, note=rule.target.note)


def _recognised(context: RequestContext) -> Decision | None:
    """Block what no list has: servers by their certificates, front ends by their names, sites by their pages or as new
    here.
    """
    ruleset, host = context.ruleset, context.request.host
    if (
        context.request.flaw
        and ruleset.rules.bypass
        and (what := suspicion_of(ruleset, context.catalogue, host, context.request.flaw, context.mask))
    ):
        return Decision(Verdict.BLOCK, Reason.RECOGNISED, what)
    if (service := front_end_of(host)) is not None:
        topic, own = ruleset.rules.categories.get(MIRRORS), ruleset.rules.services.get(service)
        rule = own if own is not None and (topic is None or own.rank <= topic.rank) else topic
        if rule is not None and not rule.allow:
            return Decision(
                Verdict.BLOCK,
                Reason.RECOGNISED,
                rule.target.name,
                rule.target.origin,
                rule.until,
                note=rule.target.note,
            )
    if ruleset.safe_search is not SafeSearch.OFF and not ruleset.rules.unsafe_lifted and is_search_front_end(host):
        return Decision(Verdict.BLOCK, Reason.RECOGNISED, UNSAFE_SEARCH)
    if ruleset.remembered and (found := blocked_by_pages(ruleset, context.catalogue, host, context.mask)) is not None:
        return found
    return blocked_as_new(ruleset, context.catalogue, host) if ruleset.sites is not None else None


def _name(context: RequestContext) -> Decision | None:
    """Block or mark a host that no list has, if its name alone looks like those of a category that is blocked here."""
    return blocked_by_name(context.ruleset, context.catalogue, context.request.host)


def _by_list_rule(context: RequestContext, ruling: DnsRuleMatch, mask: int) -> Decision | None:
    """Decide by a list's rule about the URL or about DNS questions; the latter may also answer with another address."""
    request, match = context.request, None
    if mask and request.url is not None:
        match = context.catalogue.match_url(request.url, request.resource, request.initiator, mask, request.method)
    target = "" if match else ruling.target
    match = match or ruling.match
    if match is None:
        return None
    reason = Reason.BYPASS if match.category == BYPASS else Reason.CATEGORY
    return Decision(Verdict.REWRITE if target else Verdict.BLOCK, reason, match.category, match.origin, target=target)


def _dns_rule_match(context: RequestContext, mask: int) -> DnsRuleMatch:
    request, catalogue = context.request, context.catalogue
    if not mask or not request.dns_type or not catalogue.has_dns_rules:
        return _NO_DNS_RULE
    return catalogue.match_dns_rule(request.host, request.dns_type, mask)


def _lifted_by_url(context: RequestContext, blocked: int) -> int:
    request = context.request
    if request.url is None:
        return 0
    return context.catalogue.lifted_by_url(request.url, request.resource, request.initiator, blocked, request.method)


def _search(context: RequestContext) -> Decision | None:
    """Block a search for forbidden words, where the URL is known."""
    terms, url = context.ruleset.content.searches, context.request.url
    if not terms or url is None or context.engine is None or not context.engine.words:
        return None
    term = blocked_search_term(search_words(url, context.engine.words), terms)
    return None if term is None else Decision(Verdict.BLOCK, Reason.SEARCH, term)


def _safe_search(context: RequestContext) -> Decision | None:
    """Block engines that cannot be held to safe search. `apply_allowed` enforces it on the others."""
    ruleset = context.ruleset
    engine = context.engine
    if (answer := _ai_answer(context, Reason.SAFE_SEARCH)) is not None:
        return answer
    url = context.request.url
    if url is not None and (pictures := context.pictures) is not None and pictures.matches(url):
        return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, pictures.engine)
    if engine is not None:
        if context.level is SafeSearch.OFF or context.is_surely_inspected or engine.dns_target(context.level):
            return None
        return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, engine.id)
    if ruleset.safe_search is SafeSearch.OFF or ruleset.rules.unsafe_lifted:
        return None
    if context.unsafe_engine:
        return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, context.unsafe_engine)
    if context.mask & ruleset.rules.unsafe:
        return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, UNSAFE_SEARCH, _list_origin(context, UNSAFE_SEARCH))
    return None


def _default(context: RequestContext) -> Decision | None:
    """Allow. If somebody allowed a category that the profile blocks, that is the reason."""
    rules = context.ruleset.rules
    lifted = context.mask & rules.lifted
    if lifted:
        rule = rules.category_rules[(lifted & -lifted).bit_length() - 1]
        assert rule is not None
        reason = Reason.GRANT if rule.scope is RuleScope.GRANT else Reason.EXCEPTION
        return Decision(Verdict.ALLOW, reason, rule.target.name, rule.target.origin, context.ruleset.until)
    return context.ruleset.default


def _list_origin(context: RequestContext, category: str) -> Origin | None:
    """Return the list that puts the host into a category. Only `explain` looks up the line."""
    origin = context.catalogue.hosts.origin(context.request.host, category)
    return context.catalogue.hosts.origin(context.mirrored, category) if origin is None and context.mirrored else origin


class Step(NamedTuple):
    """A step of `decide`.

    `judge` returns None if it has no verdict. `reads` names the fields of the request that it reads itself.
    """

    name: str
    judge: Callable[[RequestContext], Decision | None]
    reads: frozenset[str] = frozenset()


_LIST_READS = frozenset({"host", "url", "method", "resource", "initiator", "dns_type"})
SERVING_READS = frozenset({"kind", "host"})
"""Fields of the request that `apply_allowed` reads."""

STEPS: tuple[Step, ...] = (
    Step("lifeline", _lifeline),  # first, so that nothing blocks help
    Step("illegal", _illegal, _LIST_READS),  # before all that opens: nobody in the house can lift it
    # pause, bedtime: before grants, or "ten more minutes" would undo the night
    Step("closed", _closed, frozenset({"kind", "host"})),
    # of a category or a service; before grants too: extra time is given as a bonus
    Step("budget", _budget, frozenset({"host"})),
    Step("grant", _grant, _LIST_READS),
    # before exceptions: they open the site, not every film on it
    Step("youtube", _youtube, frozenset({"host", "url"})),
    # before the blocks, so that one site of a blocked service or category can be allowed
    Step("exception", _exception),
    Step("rule", _explicit_block),
    # before services: a VPN service is reported as a bypass
    Step("bypass", _bypass, frozenset({"kind", "host", "hides_host"})),
    Step("service", _service),
    Step("category", _category, _LIST_READS),
    Step("search", _search, frozenset({"url"})),
    Step("recognised", _recognised, frozenset({"host", "flaw"})),  # after the lists, which know more
    # last of the blocks: a blocked engine needs no safe mode
    Step("safe-search", _safe_search, frozenset({"host", "url"})),
    # a guess, so after all that is known; what it only marks has passed the others
    Step("name", _name, frozenset({"host"})),
    Step("default", _default),
)
_JUDGES = tuple(step.judge for step in STEPS)

FIELDS_READ = CONTEXT_READS.union(SERVING_READS, *(step.reads for step in STEPS))
"""Fields of a request on which a decision can depend, besides its ruleset."""


def fields_read(kind: RequestKind) -> tuple[str, ...]:
    """Return the fields by which two requests of one kind and one ruleset can get different decisions, in alphabetical
    order.

    A cache of decisions needs these and `ruleset.id` in its key, and nothing else. Entries end at `ruleset.until`.

    >>> fields_read(RequestKind.DNS)
    ('dns_type', 'host')
    """
    return tuple(sorted(FIELDS_READ & FIELDS_BY_KIND[kind]))


def decide(ruleset: Ruleset, catalogue: Catalogue, request: Request) -> Decision:
    """Return the verdict on a request, with its reason and the rule behind it. Pure.

    The first step with a verdict decides. What it allows is then served as safe search and inspection demand: an
    exception lifts a block, but does not switch off safe search. A decision's `until` is the instant (seconds since the
    epoch) at which a schedule may change it. Keep answers no longer than `ruleset.until` in any case.
    """
    return decide_in(build_context(ruleset, catalogue, request))


def decide_in(context: RequestContext) -> Decision:
    """Return the verdict on a request of which all facts are looked up."""
    for judge in _JUDGES:
        decision = judge(context)
        if decision is not None:
            return decision if decision.verdict is Verdict.BLOCK else apply_allowed(context, decision)
    raise AssertionError("the last step always decides")


def apply_allowed(context: RequestContext, allowed: Decision) -> Decision:
    """Return how an allowed request is served: as it is, rewritten for safe search, or as a tunnel to inspect."""
    kind = context.request.kind
    if allowed.reason is Reason.LIFELINE:
        return allowed
    if context.engine is not None and context.level is not SafeSearch.OFF:
        return _enforce_safe_search(context, context.engine, allowed)
    if kind is RequestKind.HTTP and context.engine is not None and context.closed_ai is not None:
        return Decision(Verdict.REWRITE, Reason.SAFE_SEARCH, context.engine.id, until=context.ruleset.until)
    if kind is RequestKind.TUNNEL and context.inspectable:
        has_rules = _has_url_rules(context)
        if has_rules or _is_scanned(context) or context.closed_ai is not None:
            asks = not has_rules and needs_consent(context.ruleset, context.catalogue, context.request.host)
            return replace(
                allowed,
                verdict=Verdict.INSPECT,
                note="",
                may_pass_unread=not (has_rules or asks),
                needs_consent=asks,
            )
    return allowed


def _enforce_safe_search(context: RequestContext, engine: SearchEngine, allowed: Decision) -> Decision:
    until = context.ruleset.until
    target = engine.dns_target(context.level)
    match context.request.kind:
        case RequestKind.HTTP:
            return Decision(Verdict.REWRITE, Reason.SAFE_SEARCH, engine.id, until=until)
        case RequestKind.DNS:
            return (
                Decision(Verdict.REWRITE, Reason.SAFE_SEARCH, engine.id, until=until, target=target)
                if target
                else allowed
            )
        case RequestKind.TUNNEL if context.inspectable:
            may_pass = bool(target) and not _has_url_rules(context)  # at the restricted address, searches stay safe
            return Decision(
                Verdict.INSPECT, Reason.SAFE_SEARCH, engine.id, until=until, target=target, may_pass_unread=may_pass
            )
        case RequestKind.TUNNEL:
            return (
                Decision(Verdict.ALLOW, Reason.SAFE_SEARCH, engine.id, until=until, target=target)
                if target
                else allowed
            )


def is_granted(ruleset: Ruleset, host: str) -> bool:
    """Return whether a grant names a host, a domain above it or its service.

    The decision then may be one about safe search.
    """
    services = ruleset.host_facts.services_of(host)
    rules = [ruleset.rules.services.get(service) for service in services]
    while host:
        rules.append(ruleset.rules.hosts.get(host))
        host = host.partition(".")[2]
    return any(rule is not None and rule.scope is RuleScope.GRANT for rule in rules)


def _has_url_rules(context: RequestContext) -> bool:
    """Return whether the verdict depends on more than the host's name: on URLs, search terms or sign-ins."""
    if context.ruleset.content.youtube_only and is_youtube(context.request.host):
        return True
    if context.urls or context.names_tenants or (context.pictures is not None and context.engine is None):
        return True
    if context.ruleset.content.searches and context.engine is not None:
        return True
    if context.ruleset.ungranted and context.catalogue.has_url_rules(context.request.host, context.ruleset.ungranted):
        return True
    rules = context.ruleset.rules
    if rules.illegal and context.catalogue.has_url_rules(context.request.host, rules.illegal):
        return True
    return not context.is_excepted and context.catalogue.has_url_rules(
        context.request.host, rules.blocked | rules.bypass
    )


def _is_scanned(context: RequestContext) -> bool:
    """Return whether the policy scans the bodies of every host and makes no exception for this one.

    Machines of the local network are excluded: their certificates are self-signed, and the policy alone opens their
    addresses.
    """
    host = context.request.host
    if not context.ruleset.content.opens_everything or context.is_excepted or is_address(host):
        return False
    return not is_local_name(host)
