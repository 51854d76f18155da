"""Why is this allowed or blocked? The steps of `decide`, walked through one by one, each with a sentence on what it found.

No rule is decided here: the verdicts come from `decide.STEPS`; this module only puts into words what stands in the context before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.names import is_address, parse_host, parse_url
from hedgerow.blocklists.rule_locator import locate
from hedgerow.policies.decide import STEPS, apply_allowed, decide
from hedgerow.policies.identity import as_claimed
from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, SafeSearch, Verdict
from hedgerow.policies.request_context import RequestContext, build_context
from hedgerow.policies.rule_index import BYPASS, Rule, RuleScope
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.text.addresses import parse_mac
from hedgerow.policies.times.closing import bedtime_of
from hedgerow.policies.times.schedule import state_at


@dataclass(frozen=True, slots=True)
class StepExplanation:
    """One step: whether it decided, and why it did or did not. Steps after the one that decided are not looked at."""

    name: str
    decided: bool
    why: str


@dataclass(frozen=True, slots=True)
class PointExplanation:
    """What one enforcement point says."""

    request: Request
    decision: Decision
    steps: tuple[StepExplanation, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a host or URL for a device at a moment.

    `points` are the enforcement points it passes, in order, up to one that blocks; `decision` is what the device gets in the end.
    `until`: all of this holds until then.
    """

    device: DeviceId
    person: str | None
    profile: str
    at: float
    until: float | None
    points: tuple[PointExplanation, ...]
    decision: Decision


def find_device(rulesets: Rulesets, name: str) -> Device | None:
    """A device by its name in the policy, its address or its MAC; None if there is none such in the network."""
    mac = parse_mac(name)
    if mac is not None:
        return rulesets.devices.find_mac(mac)
    named = rulesets.policy.devices.get(name)
    if named is not None and not (named.macs or named.networks or named.client_id or named.proxy_users):
        return as_claimed(named, named.id)  # all that is ever known of it
    return named or rulesets.devices.find(name)


def explain(rulesets: Rulesets, catalogue: Catalogue, device: Device, target: str, at: float) -> Explanation:
    """`target` is a host or a URL, `at` in seconds since the epoch. Raises ValueError with a plain sentence for anything else.

    A host is judged as DNS judges it. Of an https URL no more is judged than the wire shows: its path only if this device's HTTPS is
    inspected.
    """
    _refuse_names_of_topics(target, ruleset := rulesets.ruleset(device, at))
    points = []
    for request in requests_for(device.id, target):
        points.append(_explain_point(rulesets, ruleset, catalogue, device, request, at))
        verdict = points[-1].decision.verdict
        if verdict is Verdict.BLOCK or (request.kind is RequestKind.TUNNEL and verdict is not Verdict.INSPECT):
            break
    return Explanation(device.id, device.person, ruleset.profile, at, ruleset.until, tuple(points), points[-1].decision)


def _refuse_names_of_topics(target: str, ruleset: Ruleset) -> None:
    """A service's or a topic's name would be taken for a host that nobody knows. Raises ValueError."""
    service = ruleset.host_facts.services.by_id.get(target.lower())
    if service is not None:
        names = (*service.domains, *service.urls)
        raise ValueError(f"'{target}' is a service: ask for one of its sites, such as {names[0]}")
    if target.lower() in {category.name for category in builtin_categories()}:
        raise ValueError(f"'{target}' is a topic: ask for a site")


def requests_for(device: DeviceId, target: str) -> tuple[Request, ...]:
    """What a device asks for to reach a host or a URL, in the order in which the enforcement points see it. Raises ValueError.

    >>> [str(request.kind) for request in requests_for(DeviceId("tv"), "https://example.org/a")]
    ['dns', 'tunnel', 'http']
    """
    if "/" not in target:
        host = parse_host(target)
        if host is None:
            raise ValueError(f"'{target}' is neither a host nor a URL")
        return (Request(device, RequestKind.TUNNEL, host) if is_address(host) else Request(device, RequestKind.DNS, host, dns_type="A"),)
    url = parse_url(target if "://" in target else f"https://{target}")
    if url is None:
        raise ValueError(f"'{target}' is not a URL")
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    name, _, port_text = authority.rpartition(":") if not authority.endswith("]") and ":" in authority else (authority, "", "")
    host = parse_host(name)
    if host is None or scheme not in {"http", "https"}:
        raise ValueError(f"'{target}' is not an http or https URL")
    port = int(port_text) if port_text else (443 if scheme == "https" else 80)
    seen = [] if is_address(host) else [Request(device, RequestKind.DNS, host, dns_type="A")]
    if scheme == "https":
        seen.append(Request(device, RequestKind.TUNNEL, host, port))
    return (*seen, Request(device, RequestKind.HTTP, host, port, url))


def _explain_point(
    rulesets: Rulesets, ruleset: Ruleset, catalogue: Catalogue, device: Device, request: Request, at: float
) -> PointExplanation:  # fmt: skip
    context = build_context(ruleset, catalogue, request)
    words = _StepSentences(context, rulesets, device, at)
    steps = []
    for step in STEPS:
        decision = step.judge(context)
        steps.append(StepExplanation(step.name, decision is not None, _WHY[step.name](words, decision)))
        if decision is not None:
            final = decide(ruleset, catalogue, request)
            carried = decision if decision.verdict is Verdict.BLOCK else apply_allowed(context, decision)
            assert carried == final, "explain and decide walk through the same steps"
            return PointExplanation(request, _with_line(catalogue, request, final), tuple(steps))
    raise AssertionError("the last step always decides")


def _with_line(catalogue: Catalogue, request: Request, decision: Decision) -> Decision:
    """With the line of the list, which `decide` does not look for."""
    if decision.reason not in {Reason.CATEGORY, Reason.BYPASS, Reason.SAFE_SEARCH} or decision.rule is None or decision.rule.line:
        return decision
    return replace(decision, rule=locate(catalogue, request.host, decision.what) or decision.rule)


@dataclass(frozen=True, slots=True)
class _StepSentences:
    """One sentence for each step, from what stands in the context."""

    context: RequestContext
    rulesets: Rulesets
    device: Device
    at: float

    def clock(self, instant: float) -> str:
        return f"{datetime.fromtimestamp(instant, self.rulesets.zone_of(self.device)):%a %d %b %H:%M}"

    def categories(self, mask: int) -> str:
        return ", ".join(self.context.catalogue.names_of(mask))

    def lifeline(self, decision: Decision | None) -> str:
        return f"{decision.what} is a helpline: always open, never remembered" if decision else "not the host of a helpline"

    def illegal(self, decision: Decision | None) -> str:
        return f"{decision.what}, which no rule or grant opens{_where(decision)}" if decision else "not in a list of illegal material"

    def closed(self, decision: Decision | None) -> str:
        if decision is not None:
            end = "until somebody resumes" if decision.until is None else f"until {self.clock(decision.until)}"
            by = f"the schedule {decision.what}" if decision.reason is Reason.SCHEDULE else decision.reason.value
            return f"all is closed by {by} {end}{_where(decision)}"
        if (closed := self.context.ruleset.closed) is not None:
            return f"all is closed by {closed.what or closed.reason.value} but for what is always open, as this is"
        users = self.rulesets.effective_users_of(self.device, self.at)
        bedtimes = [(user, bedtime) for user in users if (bedtime := bedtime_of(user.layers)[1]) is not None]
        if not bedtimes:
            return "no pause holds, and there is no bedtime"
        states = [state_at(bedtime, user.zone, self.at, user.free) for user, bedtime in bedtimes]
        if any(state.active for state in states):
            return "no pause holds, and a schedule lifts the bedtime"
        begins = min((state.until for state in states if state.until is not None), default=None)
        return "no pause holds, and no bedtime" + (f" before {self.clock(begins)}" if begins is not None else " at any time")

    def budget(self, decision: Decision | None) -> str:
        if decision is not None:
            end = f" until {self.clock(decision.until)}" if decision.until is not None else ""
            return f"the minutes of {decision.what} are used up{end}{_where(decision)}"
        if self.context.ruleset.used_up and self.context.is_always_open:
            return "always open, also when minutes are used up"
        return "no budget that it counts for is used up" if self.context.ruleset.meters else "there is no budget"

    def grant(self, decision: Decision | None) -> str:
        return f"{decision.what} was granted{_where(decision)}" if decision else "no grant names it"

    def exception(self, decision: Decision | None) -> str:
        if decision is not None:
            return f"{_scope(self.context.rule)} allows {decision.what}{_where(decision)}"
        rule = self.context.rule
        if rule is not None:
            return f"the strongest rule that names it is a block, of {rule.target.name}"
        return "no allow of a host, URL or service names it"

    def rule(self, decision: Decision | None) -> str:
        return f"{_scope(self.context.rule)} blocks {decision.what}{_where(decision)}" if decision else "no block of a host or URL names it"

    def bypass(self, decision: Decision | None) -> str:
        if decision is not None:
            return f"a way round the filter{_where(decision)}"
        known = self.context.mask & self.context.catalogue.mask_of([BYPASS])
        return "a way round the filter, but nobody blocks those for this device" if known else "not known as a way round the filter"

    def service(self, decision: Decision | None) -> str:
        if decision is not None:
            return f"{_scope(self.context.rule)} blocks the service {decision.what}{_where(decision)}"
        owners = self.context.ruleset.host_facts.services_of(self.context.request.host)
        return f"a part of {', '.join(owners)}, which nobody blocks for this device" if owners else "no part of a service"

    def category(self, decision: Decision | None) -> str:
        if decision is not None and decision.verdict is Verdict.REWRITE:
            return f"a rule about {decision.what} answers with {decision.target}{_where(decision)}"
        if decision is not None:
            return f"{decision.what} is blocked{_where(decision)}"
        if self.context.mask == 0:
            return "in no list"
        return f"in {self.categories(self.context.mask)}, which nobody blocks for this device"

    def search(self, decision: Decision | None) -> str:
        if decision is not None:
            return f"the words '{decision.what}' of a search are blocked"
        if not self.context.ruleset.content.searches:
            return "no words of searches are blocked"
        return "no search that holds blocked words" if self.context.request.url else "a search engine's words show in a URL only"

    def safe_search(self, decision: Decision | None) -> str:
        context = self.context
        if decision is not None:
            return f"safe search is {context.ruleset.safe_search.value}, and {decision.what} cannot be held to it here"
        if context.engine is None:
            return "no search engine that safe search could not be had from"
        if context.level is SafeSearch.OFF:
            return f"{context.engine.title}: safe search is off"
        return f"{context.engine.title} is held to its safe mode ({context.level.value})"

    def default(self, decision: Decision | None) -> str:
        if decision is not None and decision.reason is not Reason.DEFAULT:
            return f"only open because {decision.what} was allowed{_where(decision)}"
        return "nothing speaks against it"


def _where(decision: Decision) -> str:
    return "" if decision.rule is None else f" ({decision.rule})"


def _scope(rule: Rule | None) -> str:
    names = {
        RuleScope.GRANT: "a grant",
        RuleScope.DEVICE: "the device",
        RuleScope.PERSON: "the person",
        RuleScope.HOUSEHOLD: "the household",
    }
    return names.get(rule.scope, "the profile") if rule is not None else "the profile"


_WHY: dict[str, Callable[[_StepSentences, Decision | None], str]] = {
    "lifeline": _StepSentences.lifeline,
    "illegal": _StepSentences.illegal,
    "closed": _StepSentences.closed,
    "budget": _StepSentences.budget,
    "grant": _StepSentences.grant,
    "exception": _StepSentences.exception,
    "rule": _StepSentences.rule,
    "bypass": _StepSentences.bypass,
    "service": _StepSentences.service,
    "category": _StepSentences.category,
    "search": _StepSentences.search,
    "safe-search": _StepSentences.safe_search,
    "default": _StepSentences.default,
}
