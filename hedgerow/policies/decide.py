"""May this request pass? One pure function, whose steps stand in one list.

`decide` is asked by the DNS resolver, the proxy's gate and the inspector alike, and `explain` walks through the same steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from hedgerow.blocklists.catalogue import Catalogue, DnsRuleMatch
from hedgerow.blocklists.names import is_address
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.activity import connectivity_checks, is_beneath, matches_subject
from hedgerow.policies.content import blocked_search_term, search_words
from hedgerow.policies.host_facts import HostFacts
from hedgerow.policies.model import Decision, Reason, Request, RequestKind, SafeSearch, TargetKind, Verdict
from hedgerow.policies.rule_index import BYPASS, UNSAFE_SEARCH, PathRule, Rule, RuleScope
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.safe_search import SearchEngine
from hedgerow.policies.targets import ILLEGAL, comparable_path

IP_ADDRESS = "ip-address"
HIDDEN_HOST = "ech"
"""What a BYPASS decision names when no list does: a bare address as host; a host that the client hides."""
WELCOME_REASONS = frozenset((Reason.NO_SESSION, Reason.CONDUCT))
"""Why a café's seat is closed before its guest can begin."""
LIFTED_BY_ALWAYS = frozenset((Reason.BEDTIME, Reason.SCHEDULE, Reason.BUDGET))
"""What closes all of the internet but for what is always open. A pause is somebody's word of this very moment."""


@dataclass(slots=True)
class RequestContext:
    """A request with all that was found about its host: what the steps look at.

    `lifeline` and `unsafe_engine` are the domain by which the host is one. `rule` is the strongest allow or block that names the
    host, its URL or its service; `urls` are all rules about URLs of the host. `mask` holds the host's categories. `level` is the
    engine's, OFF without one. `inspectable`: this device's HTTPS to this host can be looked into.
    `names_tenants`: the policy says whose accounts may be used there. `always`: an allow that names the host holds at bedtimes too.
    """

    ruleset: Ruleset
    catalogue: Catalogue
    request: Request
    lifeline: str = ""
    unsafe_engine: str = ""
    rule: Rule | None = None
    urls: tuple[PathRule, ...] = ()
    mask: int = 0
    engine: SearchEngine | None = None
    level: SafeSearch = SafeSearch.OFF
    inspectable: bool = False
    names_tenants: bool = False
    always: bool = False

    def keep_strongest(self, rule: Rule) -> None:
        """The strongest rule counts."""
        if rule.target.always:
            self.always = True
        if self.rule is None or rule.rank < self.rule.rank:
            self.rule = rule


def build_context(ruleset: Ruleset, catalogue: Catalogue, request: Request) -> RequestContext:
    """Looks up the request's host and each of its parents, once for all steps."""
    case = RequestContext(ruleset, catalogue, request)
    rules, host_facts = ruleset.rules, ruleset.host_facts
    hosts, urls, services, facts_by_host = rules.hosts, rules.urls, rules.services, host_facts.by_host
    never_inspect = False
    domain = request.host
    while domain:
        if (rule := hosts.get(domain)) is not None:
            case.keep_strongest(rule)
        if urls and (found := urls.get(domain)) is not None:
            case.urls += found
        if (facts := facts_by_host.get(domain)) is not None:
            never_inspect = never_inspect or facts.never_inspect
            if facts.lifeline:
                case.lifeline = domain
            if facts.unsafe_search:
                case.unsafe_engine = domain
            if services:
                _match_services(case, facts)
        domain = domain.partition(".")[2]
    case.mask = catalogue.host_mask(request.host)
    never_inspect = never_inspect or bool(case.mask & rules.never_inspect)
    # Whoever says whose accounts may be used means the very pages where people sign in, which are left alone otherwise.
    case.names_tenants = ruleset.content.tenants is not None and bool(ruleset.content.tenants.fields_for(request.host))
    case.inspectable = ruleset.trusts_ca and not ruleset.never_inspect and (case.names_tenants or not never_inspect)
    if case.urls:
        _match_urls(case)
    case.engine = host_facts.engines.engine_of(request.host)
    if case.engine is not None:
        case.level = ruleset.youtube if case.engine.youtube else ruleset.safe_search
    return case


def _match_services(case: RequestContext, facts: HostFacts) -> None:
    services = case.ruleset.rules.services
    for id in facts.services:
        if (rule := services.get(id)) is not None:
            case.keep_strongest(rule)
    if facts.services and not facts.yields:
        return  # allowing Messenger, which needs facebook.com, does not allow Facebook
    for id in facts.shared:
        rule = services.get(id)
        if rule is None or not rule.allow:
            continue
        if case.rule is not None and _is_yielded(case.rule, rule, facts):
            case.rule = None
        case.keep_strongest(rule)


def _is_yielded(owners: Rule, other: Rule, facts: HostFacts) -> bool:
    """YouTube Kids, allowed beside a blocked YouTube, has the names that it can't do without."""
    is_block_of_owner = not owners.allow and owners.target.kind is TargetKind.SERVICE and owners.target.name in facts.services
    return is_block_of_owner and other.rank == owners.rank


def _match_urls(case: RequestContext) -> None:
    """With a URL at hand, those rules count that match it. Without, an allowed page opens its host if the pages can be told apart later."""
    path = None if case.request.url is None else comparable_path(case.request.url)
    for candidate in case.urls:
        counts = candidate.path.match(path) is not None if path is not None else candidate.rule.allow and _is_surely_inspected(case)
        if counts:
            case.keep_strongest(candidate.rule)


def _is_surely_inspected(case: RequestContext) -> bool:
    """Enough to open a host for that reason. A device that only claims to be inspected may go round it."""
    return case.inspectable and not case.ruleset.is_claimed


def _lifeline(case: RequestContext) -> Decision | None:
    return Decision(Verdict.ALLOW, Reason.LIFELINE, what=case.lifeline) if case.lifeline else None


def _illegal(case: RequestContext) -> Decision | None:
    """Whatever the profile says: no rule, grant or code opens it, only an exception in a list of that category."""
    illegal = case.ruleset.rules.illegal
    if not illegal:
        return None
    blocked = case.mask & illegal
    ruling = _dns_rule_match(case, illegal)
    if blocked:
        blocked &= ~(ruling.lifted | _lifted_by_url(case, blocked))
    if blocked:
        return Decision(Verdict.BLOCK, Reason.CATEGORY, ILLEGAL, _list_origin(case, ILLEGAL))
    return _by_list_rule(case, ruling, illegal)


def _closed(case: RequestContext) -> Decision | None:
    closed, request = case.ruleset.closed, case.request
    if closed is None or (closed.reason in LIFTED_BY_ALWAYS and is_always_open(case)):
        return None
    # A guest's device finds the welcome page by asking for such a page (RFC 8952): its name leads on, to the proxy, which sends it there.
    asks_the_way = request.kind is RequestKind.DNS and closed.reason in WELCOME_REASONS and is_beneath(request.host, connectivity_checks())
    return Decision(Verdict.ALLOW if asks_the_way else Verdict.BLOCK, closed.reason, closed.what, closed.rule, closed.until)


def is_always_open(case: RequestContext) -> bool:
    """Whether the policy allows it at all hours, and nothing nearer blocks it."""
    if case.rule is not None and not case.rule.allow:
        return False
    return case.always or bool(case.mask & case.ruleset.rules.always)


def _budget(case: RequestContext) -> Decision | None:
    if case.ruleset.used_up and is_always_open(case):
        return None
    for used_up in case.ruleset.used_up:
        if matches_subject(used_up.subject, case.ruleset, case.catalogue, case.request.host, case.mask):
            return Decision(Verdict.BLOCK, Reason.BUDGET, used_up.subject.partition(":")[2], used_up.rule, used_up.until)
    return None


def _grant(case: RequestContext) -> Decision | None:
    rule = case.rule
    if rule is None or rule.scope is not RuleScope.GRANT:
        return None
    return Decision(Verdict.ALLOW, Reason.GRANT, rule.target.name, rule.target.origin, case.ruleset.until)


def _exception(case: RequestContext) -> Decision | None:
    rule = case.rule
    if rule is None or not rule.allow:
        return None
    return Decision(Verdict.ALLOW, Reason.EXCEPTION, rule.target.name, rule.target.origin, case.ruleset.until)


def _explicit_block(case: RequestContext) -> Decision | None:
    rule = case.rule
    if rule is None or rule.allow or rule.target.kind is TargetKind.SERVICE:
        return None
    return Decision(Verdict.BLOCK, Reason.RULE, rule.target.name, rule.target.origin, rule.until, note=rule.target.note)


def _bypass(case: RequestContext) -> Decision | None:
    bypass = case.ruleset.rules.bypass
    if not bypass:
        return None
    if case.request.hides_host:
        return Decision(Verdict.BLOCK, Reason.BYPASS, HIDDEN_HOST)
    if _is_bare_address(case.request):
        return Decision(Verdict.BLOCK, Reason.BYPASS, IP_ADDRESS)
    if not case.mask & bypass:
        return None
    return Decision(Verdict.BLOCK, Reason.BYPASS, BYPASS, _list_origin(case, BYPASS))


def _is_bare_address(request: Request) -> bool:
    """A number in place of a name, which no list can judge. Those of the house are the proxy's to guard, by `network.reachable`."""
    return request.kind is not RequestKind.DNS and is_address(request.host) and _is_of_the_internet(request.host)


@lru_cache(4096)
def _is_of_the_internet(address: str) -> bool:
    return ip_address(address).is_global


def _service(case: RequestContext) -> Decision | None:
    rule = case.rule
    if rule is None or rule.allow or rule.target.kind is not TargetKind.SERVICE:
        return None
    return Decision(Verdict.BLOCK, Reason.SERVICE, rule.target.name, rule.target.origin, rule.until, note=rule.target.note)


def _category(case: RequestContext) -> Decision | None:
    rules = case.ruleset.rules
    blocked = case.mask & rules.blocked
    ruling = _dns_rule_match(case, rules.blocked | rules.bypass)
    if blocked:
        # A list may except some pages of a host that it blocks, or questions for some record types.
        blocked &= ~(ruling.lifted | _lifted_by_url(case, blocked))
    if blocked:
        name = case.catalogue.categories[(blocked & -blocked).bit_length() - 1]
        rule = rules.categories.get(name)
        until, note = (rule.until, rule.target.note) if rule else (None, "")
        return Decision(Verdict.BLOCK, Reason.CATEGORY, name, _list_origin(case, name), until, note=note)
    return _by_list_rule(case, ruling, rules.blocked | rules.bypass)


def _by_list_rule(case: RequestContext, ruling: DnsRuleMatch, mask: int) -> Decision | None:
    """Decide by a list's rule about the URL or about DNS questions; the latter may also answer with another address."""
    request, match = case.request, None
    if mask and request.url is not None:
        match = case.catalogue.match_url(request.url, request.resource, request.initiator, mask, request.method)
    target = "" if match else ruling.target
    match = match or ruling.match
    if match is None:
        return None
    reason = Reason.BYPASS if match.category == BYPASS else Reason.CATEGORY
    return Decision(Verdict.REWRITE if target else Verdict.BLOCK, reason, match.category, match.origin, target=target)


def _dns_rule_match(case: RequestContext, mask: int) -> DnsRuleMatch:
    request, catalogue = case.request, case.catalogue
    if not mask or not request.dns_type or not catalogue.has_dns_rules:
        return DnsRuleMatch(None, 0)
    return catalogue.match_dns_rule(request.host, request.dns_type, mask)


def _lifted_by_url(case: RequestContext, blocked: int) -> int:
    request = case.request
    if request.url is None:
        return 0
    return case.catalogue.lifted_by_url(request.url, request.resource, request.initiator, blocked, request.method)


def _search(case: RequestContext) -> Decision | None:
    """Words of a search that are blocked, where the search can be read."""
    terms, url = case.ruleset.content.searches, case.request.url
    if not terms or url is None or case.engine is None or not case.engine.words:
        return None
    term = blocked_search_term(search_words(url, case.engine.words), terms)
    return None if term is None else Decision(Verdict.BLOCK, Reason.SEARCH, term)


def _safe_search(case: RequestContext) -> Decision | None:
    """Blocks what safe search cannot be had from; where it can, `_carry_out` sees to it."""
    ruleset = case.ruleset
    engine = case.engine
    if engine is not None:
        if case.level is SafeSearch.OFF or _is_surely_inspected(case) or engine.dns_target(case.level):
            return None
        return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, engine.id)
    if ruleset.safe_search is SafeSearch.OFF or ruleset.rules.unsafe_lifted:
        return None
    if case.unsafe_engine:
        return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, case.unsafe_engine)
    if case.mask & ruleset.rules.unsafe:
        return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, UNSAFE_SEARCH, _list_origin(case, UNSAFE_SEARCH))
    return None


def _default(case: RequestContext) -> Decision | None:
    """Allowed; and if only because somebody allowed a category that the profile blocks, that is the reason."""
    rules = case.ruleset.rules
    lifted = case.mask & rules.lifted
    if lifted:
        rule = rules.category_rules[(lifted & -lifted).bit_length() - 1]
        assert rule is not None
        reason = Reason.GRANT if rule.scope is RuleScope.GRANT else Reason.EXCEPTION
        return Decision(Verdict.ALLOW, reason, rule.target.name, rule.target.origin, case.ruleset.until)
    return case.ruleset.default


def _list_origin(case: RequestContext, category: str) -> Origin | None:
    """The list that puts the host into a category. Its line is looked for only when somebody asks (`explain`)."""
    for match in case.catalogue.host_sources(case.request.host):
        if match.category == category:
            return Origin(match.source, text=match.domain)
    return case.catalogue.address_origin(case.request.host, category) if is_address(case.request.host) else None


class Step(NamedTuple):
    """A step of `decide`: None means that it has no answer."""

    name: str
    judge: Callable[[RequestContext], Decision | None]


STEPS: tuple[Step, ...] = (
    Step("lifeline", _lifeline),  # nothing may stand before help
    Step("illegal", _illegal),  # before all that opens: nobody in the house can lift it
    Step("closed", _closed),  # a pause, a bedtime: also over grants, or "ten more minutes" of a game would undo the night
    Step("budget", _budget),  # of a category or a service; over grants too: more time is given as time
    Step("grant", _grant),
    Step("exception", _exception),  # before the blocks, so that one site can be had out of a blocked service or category
    Step("rule", _explicit_block),
    Step("bypass", _bypass),  # before services: a VPN that is also a service is shown as what it is here
    Step("service", _service),
    Step("category", _category),
    Step("search", _search),
    Step("safe-search", _safe_search),  # last of the blocks: an engine that is blocked anyway needs no safe mode
    Step("default", _default),
)


def decide(ruleset: Ruleset, catalogue: Catalogue, request: Request) -> Decision:
    """The verdict on a request, with its reason and the rule behind it. Pure.

    The first step that has an answer decides. What is allowed is then carried out as safe search and inspection demand: an exception
    lifts a block, it does not switch off safe search. `until` of a decision is the instant after which its verdict may be another, as
    far as that is scheduled; answers must be kept no longer than `ruleset.until` in any case.
    """
    case = build_context(ruleset, catalogue, request)
    for _, judge in STEPS:
        decision = judge(case)
        if decision is not None:
            return decision if decision.verdict is Verdict.BLOCK else apply_allowed(case, decision)
    raise AssertionError("the last step always decides")


def apply_allowed(case: RequestContext, allowed: Decision) -> Decision:
    """How an allowed request is served: as it is, rewritten for safe search, or as a tunnel that must be looked into."""
    kind = case.request.kind
    if allowed.reason is Reason.LIFELINE:
        return allowed
    if case.engine is not None and case.level is not SafeSearch.OFF:
        return _enforce_safe_search(case, case.engine, allowed)
    if kind is RequestKind.TUNNEL and case.inspectable:
        has_rules = _has_url_rules(case)
        if has_rules or _is_scanned(case):
            return Decision(Verdict.INSPECT, allowed.reason, allowed.what, allowed.rule, allowed.until, may_pass_unread=not has_rules)
    return allowed


def _enforce_safe_search(case: RequestContext, engine: SearchEngine, allowed: Decision) -> Decision:
    until = case.ruleset.until
    target = engine.dns_target(case.level)
    match case.request.kind:
        case RequestKind.HTTP:
            return Decision(Verdict.REWRITE, Reason.SAFE_SEARCH, engine.id, until=until)
        case RequestKind.DNS:
            return Decision(Verdict.REWRITE, Reason.SAFE_SEARCH, engine.id, until=until, target=target) if target else allowed
        case RequestKind.TUNNEL if case.inspectable:
            may_pass = bool(target) and not _has_url_rules(case)  # the restricted address keeps the search safe then
            return Decision(Verdict.INSPECT, Reason.SAFE_SEARCH, engine.id, until=until, target=target, may_pass_unread=may_pass)
        case RequestKind.TUNNEL:
            return Decision(Verdict.ALLOW, Reason.SAFE_SEARCH, engine.id, until=until, target=target) if target else allowed


def _has_url_rules(case: RequestContext) -> bool:
    """Return whether the verdict depends on more than the host's name: on URLs, on the words of a search, on who signs in."""
    if case.urls or case.names_tenants or (case.ruleset.content.searches and case.engine is not None):
        return True
    rules = case.ruleset.rules
    if rules.illegal and case.catalogue.has_url_rules(case.request.host, rules.illegal):
        return True
    return not _is_excepted(case) and case.catalogue.has_url_rules(case.request.host, rules.blocked | rules.bypass)


def _is_scanned(case: RequestContext) -> bool:
    """Return whether the policy has the pages of every host scanned, and this host is no exception."""
    return case.ruleset.content.opens_pages and not _is_excepted(case)


def _is_excepted(case: RequestContext) -> bool:
    return case.rule is not None and case.rule.allow
