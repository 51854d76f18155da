"""A request together with what is known of its host: the input of the steps of `decide`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.policies.host_facts import HostFacts, parents_of
from hedgerow.policies.mirrored_sites import mirrored_host
from hedgerow.policies.model import Reason, Request, RequestKind, SafeSearch, TargetKind
from hedgerow.policies.remembered import remembered_as
from hedgerow.policies.rule_index import PathRule, Rule, RuleScope
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.safe_search import AiAnswers, PictureSearch, SearchEngine
from hedgerow.policies.targets import comparable_path

AI_CHAT = "ai-chat"

CONTEXT_READS = frozenset({"host", "url"})
"""Fields of the request that `build_context` reads."""


FIELDS_BY_KIND: Mapping[RequestKind, frozenset[str]] = {
    RequestKind.DNS: frozenset({"device", "host", "dns_type"}),
    RequestKind.TUNNEL: frozenset({"device", "host", "port", "hides_host", "flaw"}),
    RequestKind.HTTP: frozenset({"device", "host", "port", "url", "method", "resource", "initiator"}),
}
"""Fields that an enforcement point fills in, by kind of request. The others keep their default."""


@dataclass(slots=True)
class RequestContext:
    """A request and the facts about its host.

    `lifeline` and `unsafe_engine` hold the domain that makes the host one. `rule` is the strongest allow or block that
    names the host, its URL or its service; `urls` are all rules about URLs of the host. `mask` holds the host's
    categories. `level` is the level of safe search for `engine`, OFF without one. `inspectable`: this device's HTTPS to
    this host can be decrypted. `names_tenants`: the policy restricts the accounts that can sign in there. `always`: an
    allow that names the host also applies at bedtime. `mirrored` is the site that the host's name says it shows.
    `is_owned`: the host is a service's own.
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
    mirrored: str = ""
    is_owned: bool = False

    def keep_strongest(self, rule: Rule) -> None:
        """Keep `rule` if it outranks the one found so far."""
        if rule.target.always:
            self.always = True
        if self.rule is None or rule.rank < self.rule.rank:
            self.rule = rule

    @property
    def is_surely_inspected(self) -> bool:
        """True if the host can be opened because its pages are inspected.

        A device known by its host name only may evade that.
        """
        return self.inspectable and not self.ruleset.is_claimed

    @property
    def is_excepted(self) -> bool:
        return self.rule is not None and self.rule.allow

    @property
    def closed_ai(self) -> AiAnswers | None:
        """The AI answers of a search engine that the host may serve and the rules close, or None."""
        if closes_ai_answers(self.ruleset) is None:
            return None
        return (
            self.engine.ai
            if self.engine is not None
            else self.ruleset.host_facts.engines.ai_hosts.get(self.request.host)
        )

    @property
    def pictures(self) -> PictureSearch | None:
        """The search for pictures that the engine's safe mode does not reach, where searches must be safe, or None."""
        ruleset = self.ruleset
        return (
            None if ruleset.safe_search is SafeSearch.OFF else ruleset.host_facts.engines.pictures_of(self.request.host)
        )

    @property
    def is_always_open(self) -> bool:
        """True if the policy allows the host at all hours and nothing nearer blocks it."""
        if self.rule is not None and not self.rule.allow:
            return False
        return self.always or bool(self.mask & self.ruleset.rules.always)

    @property
    def closing_mask(self) -> int:
        """The categories that close the host: all that are blocked, or if a rule allows the host, those that a schedule
        closes and that outrank that rule.
        """
        rules, allowed = self.ruleset.rules, self.rule
        closing = self.mask & (rules.blocked | rules.bypass)
        if not closing or allowed is None or not allowed.allow:
            return closing
        if self.is_always_open:
            return 0
        closed = map(rules.categories.get, self.catalogue.names_of(closing))
        return self.catalogue.mask_of(
            each.target.name for each in closed if each and each.is_timed and each.rank < allowed.rank
        )


def closes_ai_answers(ruleset: Ruleset) -> Reason | None:
    """Return why AI answers of search engines are closed: the category, or strict safe search if nobody allows the
    category.
    """
    rule = ruleset.rules.categories.get(AI_CHAT)
    if rule is not None:
        return None if rule.allow else Reason.CATEGORY
    return Reason.SAFE_SEARCH if ruleset.safe_search is SafeSearch.STRICT else None


def build_context(ruleset: Ruleset, catalogue: Catalogue, request: Request) -> RequestContext:
    """Look up the request's host and each of its parents, once for all steps."""
    context = RequestContext(ruleset, catalogue, request)
    rules, host_facts, host = ruleset.rules, ruleset.host_facts, request.host
    hosts, urls, services, facts_by_host = rules.hosts, rules.urls, rules.services, host_facts.by_host
    never_inspect = False
    domain = host
    while domain:
        if (rule := hosts.get(domain)) is not None:
            context.keep_strongest(rule)
        if urls and (found := urls.get(domain)) is not None:
            context.urls += found
        if (facts := facts_by_host.get(domain)) is not None:
            never_inspect = never_inspect or facts.never_inspect
            if facts.lifeline:
                context.lifeline = domain
            if facts.unsafe_search:
                context.unsafe_engine = domain
            if services:
                _match_services(context, facts)
        domain = domain.partition(".")[2]
    context.mask = catalogue.host_mask(host)
    if (mirrored := mirrored_host(host)) is not None:
        _match_mirrored(context, mirrored)
    never_inspect = never_inspect or bool(context.mask & rules.never_inspect)
    # Restricting accounts means changing the sign-in pages, which are otherwise never inspected.
    context.names_tenants = ruleset.content.tenants is not None and bool(ruleset.content.tenants.fields_for(host))
    context.inspectable = (
        ruleset.trusts_ca and not ruleset.never_inspect and (context.names_tenants or not never_inspect)
    )
    if context.urls:
        _match_urls(context)
    if (
        ruleset.ungranted
        and context.rule is not None
        and context.rule.scope is RuleScope.GRANT
        and _is_ungranted(context)
    ):
        context.rule = None
    context.engine = host_facts.engines.engine_of(host)
    if context.engine is not None:
        context.level = ruleset.youtube if context.engine.youtube else ruleset.safe_search
    return context


def _is_ungranted(context: RequestContext) -> bool:
    """Return whether the host is of a category that no grant opens, by a list or by its pages."""
    ruleset, catalogue, host = context.ruleset, context.catalogue, context.request.host
    if context.mask & ruleset.ungranted:
        return True
    remembered = remembered_as(ruleset.remembered, host)
    return bool(remembered) and bool(catalogue.mask_of(site.topic for site in remembered) & ruleset.ungranted)


def _match_mirrored(context: RequestContext, mirrored: str) -> None:
    """Apply what blocks the site that a cache or a translator shows. What allows it does not open the cache."""
    rules, facts_by_host = context.ruleset.rules, context.ruleset.host_facts.by_host
    context.mirrored = mirrored
    context.mask |= context.catalogue.host_mask(mirrored) & (rules.illegal | rules.blocked | rules.bypass)
    for domain in parents_of(mirrored):
        facts = facts_by_host.get(domain)
        found = [rules.hosts.get(domain), *(rules.services.get(id) for id in (facts.services if facts else ()))]
        for rule in found:
            if rule is not None and not rule.allow:
                context.keep_strongest(rule)


def _match_services(context: RequestContext, facts: HostFacts) -> None:
    services = context.ruleset.rules.services
    for id in facts.services:
        if (rule := services.get(id)) is not None:
            context.keep_strongest(rule)
    context.is_owned = context.is_owned or bool(facts.services)
    if context.is_owned and not facts.yields:
        # Messenger, which needs facebook.com, does not open Facebook, nor does Snapchat, which needs googleapis.com,
        # open YouTube's names beneath that.
        return
    for id in facts.shared:
        rule = services.get(id)
        if rule is None or not rule.allow:
            continue
        if context.rule is not None and _is_yielded(context.rule, rule, facts):
            context.rule = None
        context.keep_strongest(rule)


def _is_yielded(owner: Rule, other: Rule, facts: HostFacts) -> bool:
    """Return whether a blocked service yields the host:

    YouTube Kids, allowed, needs some names of a blocked YouTube.
    """
    is_block_of_owner = (
        not owner.allow and owner.target.kind is TargetKind.SERVICE and owner.target.name in facts.services
    )
    return is_block_of_owner and other.rank == owner.rank


def _match_urls(context: RequestContext) -> None:
    """Keep the rules that match the URL.

    Without a URL, an allowed page opens its host if pages can be told apart later.
    """
    path = None if context.request.url is None else comparable_path(context.request.url)
    for candidate in context.urls:
        matches = candidate.matches(path) if path is not None else candidate.rule.allow and context.is_surely_inspected
        if matches:
            context.keep_strongest(candidate.rule)
