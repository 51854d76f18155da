"""Explanations of decisions: the steps of `decide`, one by one, each with a sentence on its result.

Nothing is decided here: the verdicts come from `decide.STEPS`, and this module only puts them into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from urllib.parse import urlsplit

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.names import is_address, parse_host, parse_url
from hedgerow.blocklists.recognition.name_model import Recognition
from hedgerow.blocklists.recognition.recogniser import Recogniser
from hedgerow.blocklists.rule_locator import locate
from hedgerow.policies.decide import STEPS, apply_allowed, decide
from hedgerow.policies.growing import person_at
from hedgerow.policies.identity import as_claimed, networks_of
from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, SafeSearch, Verdict
from hedgerow.policies.remembered import is_by_page
from hedgerow.policies.request_context import AI_CHAT, RequestContext, build_context
from hedgerow.policies.rule_index import BYPASS, Rule
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.sites_seen import DAY_S, NEW_DOMAINS, registration_of
from hedgerow.policies.text.addresses import parse_mac
from hedgerow.policies.times.closing import bedtimes_of
from hedgerow.policies.times.schedule import state_at
from hedgerow.policies.unlisted import UNTRUSTED_CERTIFICATE, is_sure_enough


@dataclass(frozen=True, slots=True)
class StepExplanation:
    """The result of a step, and why it decided or did not. Steps after the deciding one are left out."""

    name: str
    decided: bool
    why: str


@dataclass(frozen=True, slots=True)
class PointExplanation:
    """The decision of one enforcement point."""

    request: Request
    decision: Decision
    steps: tuple[StepExplanation, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The outcome for a device that asks for a host or URL at the instant `at`.

    `points` are the enforcement points that it passes, in order, up to one that blocks. `decision` is the final one.
    All of this is so until the instant `until`. `upstream` names the resolvers that are asked, empty: the network's.
    `age` is the person's at that instant, None if the birth is not known.
    """

    device: DeviceId
    person: str | None
    profile: str
    at: float
    until: float | None
    points: tuple[PointExplanation, ...]
    decision: Decision
    upstream: tuple[str, ...] = ()
    age: int | None = None


def find_device(rulesets: Rulesets, name: str, neighbours: Mapping[str, str] = MappingProxyType({})) -> Device | None:
    """Return a device by its name in the policy, its IP address or its MAC address; None if the network has no such
    device.

    `neighbours` are MAC addresses by IP address, by which a device is recognised that the policy does not know by its
    IP address.
    """
    mac = parse_mac(name)
    if mac is not None:
        return rulesets.devices.find_mac(mac)
    named = rulesets.policy.devices.get(name)
    if named is not None and not (named.macs or networks_of(named) or named.client_id or named.proxy_users):
        return as_claimed(named, named.id)  # it can only be recognised by its host name
    return named or rulesets.devices.find(name, neighbours.get(name))


def explain(rulesets: Rulesets, catalogue: Catalogue, device: Device, target: str, at: float) -> Explanation:
    """Explain the decision on `target`, a host or a URL, at `at` (seconds since the epoch).

    Raises ValueError for any other text.

    A host is judged as DNS judges it. An https URL is judged by its path only if this device's HTTPS is inspected.
    """
    _refuse_non_hosts(target, ruleset := rulesets.ruleset(device, at))
    points = []
    for request in requests_for(device.id, target):
        points.append(_explain_point(rulesets, ruleset, catalogue, device, request, at))
        verdict = points[-1].decision.verdict
        if verdict is Verdict.BLOCK or (request.kind is RequestKind.TUNNEL and verdict is not Verdict.INSPECT):
            break
    return Explanation(
        device.id,
        device.person,
        ruleset.profile,
        at,
        ruleset.until,
        tuple(points),
        points[-1].decision,
        ruleset.upstream,
        _age_of(rulesets, device, at),
    )


def _age_of(rulesets: Rulesets, device: Device, at: float) -> int | None:
    person = rulesets.policy.people.get(device.person or "")
    return None if person is None or person.born is None else person_at(person, at, rulesets.zone_of(device)).age


def _refuse_non_hosts(target: str, ruleset: Ruleset) -> None:
    """Raise ValueError for the name of a service or category, which would pass for an unknown host."""
    service = ruleset.host_facts.services.by_id.get(target.lower())
    if service is not None:
        names = (*service.domains, *service.urls)
        raise ValueError(f"'{target}' is a service: ask about one of its sites, such as {names[0]}")
    if target.lower() in {category.name for category in builtin_categories()}:
        raise ValueError(f"'{target}' is a category: ask about a site")


def requests_for(device: DeviceId, target: str) -> tuple[Request, ...]:
    """Return the requests by which a device reaches a host or a URL, in order.

    Raises ValueError if `target` is neither.

    >>> [str(request.kind) for request in requests_for(DeviceId("tv"), "https://example.org/a")]
    ['dns', 'tunnel', 'http']
    """
    if "/" not in target:
        host = parse_host(target)
        if host is None:
            raise ValueError(f"'{target}' is neither a host nor a URL")
        return (
            (
                Request(device, RequestKind.TUNNEL, host)
                if is_address(host)
                else Request(device, RequestKind.DNS, host, dns_type="A")
            ),
        )
    url = parse_url(target if "://" in target else f"https://{target}")
    if url is None:
        raise ValueError(f"'{target}' is not a URL")
    parts = urlsplit(url)
    host = parse_host(parts.hostname or "")
    if host is None or parts.scheme not in {"http", "https"}:
        raise ValueError(f"'{target}' is not an http or https URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    seen = [] if is_address(host) else [Request(device, RequestKind.DNS, host, dns_type="A")]
    if parts.scheme == "https":
        seen.append(Request(device, RequestKind.TUNNEL, host, port))
    return (*seen, Request(device, RequestKind.HTTP, host, port, url))


def _explain_point(
    rulesets: Rulesets, ruleset: Ruleset, catalogue: Catalogue, device: Device, request: Request, at: float
) -> PointExplanation:
    context = build_context(ruleset, catalogue, request)
    sentences = _StepSentences(context, rulesets, device, at)
    steps = []
    for step in STEPS:
        decision = step.judge(context)
        steps.append(StepExplanation(step.name, decision is not None, _sentence(sentences, step.name, decision)))
        if decision is not None:
            final = decide(ruleset, catalogue, request)
            carried = decision if decision.verdict is Verdict.BLOCK else apply_allowed(context, decision)
            assert carried == final, "explain and decide walk through the same steps"
            return PointExplanation(request, _with_line(catalogue, request, final), tuple(steps))
    raise AssertionError("the last step always decides")


def _with_line(catalogue: Catalogue, request: Request, decision: Decision) -> Decision:
    """Return the decision with the line of its list, which `decide` does not look up."""
    if (
        decision.reason not in {Reason.CATEGORY, Reason.BYPASS, Reason.SAFE_SEARCH}
        or decision.rule is None
        or decision.rule.line
    ):
        return decision
    return replace(decision, rule=locate(catalogue, request.host, decision.what) or decision.rule)


@dataclass(frozen=True, slots=True)
class _StepSentences:
    """One sentence for each step: the method with the step's name (`_` for `-`) gets its decision, or None if it has no
    verdict.
    """

    context: RequestContext
    rulesets: Rulesets
    device: Device
    at: float

    def time(self, preposition: str, instant: float | None, otherwise: str = "") -> str:
        if instant is None:
            return otherwise
        return f" {preposition} {datetime.fromtimestamp(instant, self.rulesets.zone_of(self.device)):%a %d %b %H:%M}"

    def lifeline(self, decision: Decision | None) -> str:
        return f"{decision.what} is a helpline: always open, never logged" if decision else "not the host of a helpline"

    def illegal(self, decision: Decision | None) -> str:
        return f"{decision.what}, which no rule or grant opens" if decision else "not in a list of illegal material"

    def closed(self, decision: Decision | None) -> str:
        if decision is not None:
            no_end = " until somebody resumes it" if decision.reason is Reason.PAUSE else ""
            end = self.time("until", decision.until, " until the clock is right" if decision.by_wrong_clock else no_end)
            if decision.reason is Reason.UNNAMED:
                return f"nobody has named this device, and the internet is closed for a child{end}"
            cause = f"the schedule {decision.what}" if decision.reason is Reason.SCHEDULE else decision.reason.value
            return f"the internet is closed by {cause}{end}"
        if (closed := self.context.ruleset.closed) is not None:
            return f"the internet is closed by {closed.what or closed.reason.value}, but this is always open"
        users = self.rulesets.effective_users_of(self.device, self.at)
        bedtimes = [(user, bedtime) for user in users for _, bedtime in bedtimes_of(user)]
        if not bedtimes:
            return "no pause is in force, and there is no bedtime"
        states = [state_at(bedtime, user.zone, self.at, user.free) for user, bedtime in bedtimes]
        if any(state.active for state in states):
            return "no pause is in force, and a schedule lifts the bedtime"
        begins = min((state.until for state in states if state.until is not None), default=None)
        return f"no pause is in force, and no bedtime{self.time('before', begins, ' at any time')}"

    def budget(self, decision: Decision | None) -> str:
        if decision is not None:
            return f"the minutes of {decision.what} are used up{self.time('until', decision.until)}"
        if self.context.ruleset.used_up and self.context.is_always_open:
            return "always open, even when minutes are used up"
        return "no budget that applies is used up" if self.context.ruleset.meters else "there is no budget"

    def grant(self, decision: Decision | None) -> str:
        return f"{decision.what} was granted" if decision else "no grant names it"

    def youtube(self, decision: Decision | None) -> str:
        if not self.context.ruleset.content.youtube_only:
            return "no restriction to chosen channels of YouTube"
        if decision is None:
            return "not part of YouTube, or a page that the inspector compares with the chosen channels and videos"
        if self.context.request.url is None:
            return (
                "only chosen channels of YouTube are open, which needs the certificate on this device: all of YouTube"
                " is closed here"
            )
        return "only chosen channels and videos of YouTube are open, and this page is not theirs"

    def exception(self, decision: Decision | None) -> str:
        rule = self.context.rule
        if decision is not None:
            return f"{_scope(rule)} allows {decision.what}"
        if rule is not None:
            return f"the strongest rule that names it blocks {rule.target.name}"
        return "no rule allows this host, URL or service"

    def rule(self, decision: Decision | None) -> str:
        return f"{_scope(self.context.rule)} blocks {decision.what}" if decision else "no rule blocks this host or URL"

    def bypass(self, decision: Decision | None) -> str:
        if decision is not None:
            return "a way around the filter"
        known = self.context.mask & self.context.catalogue.mask_of([BYPASS])
        return (
            "a way around the filter, which is not blocked for this device"
            if known
            else "not known as a way around the filter"
        )

    def service(self, decision: Decision | None) -> str:
        if decision is not None:
            return f"{_scope(self.context.rule)} blocks the service {decision.what}"
        owners = self.context.ruleset.host_facts.services_of(self.context.request.host)
        return (
            f"part of {', '.join(owners)}, which is not blocked for this device" if owners else "not part of a service"
        )

    def category(self, decision: Decision | None) -> str:
        if decision is not None and decision.verdict is Verdict.REWRITE:
            return f"a rule of {decision.what} answers with {decision.target}"
        if decision is not None:
            shown = f", and this name shows {self.context.mirrored}" if self.context.mirrored else ""
            return f"{decision.what} is blocked{shown}"
        catalogue = self.context.catalogue
        names = catalogue.names_of(self.context.mask)
        if self.context.mirrored:
            return f"shows {self.context.mirrored}, which is not blocked for this device"
        if corrected := catalogue.names_of(catalogue.hosts.corrected(self.context.request.host)):
            return f"a correction says that it is not {', '.join(corrected)}"
        return f"in {', '.join(names)}, not blocked for this device" if names else "in no list"

    def search(self, decision: Decision | None) -> str:
        if decision is not None:
            return f"searches for '{decision.what}' are blocked"
        if not self.context.ruleset.content.searches:
            return "no search terms are blocked"
        return (
            "not a search for blocked terms" if self.context.request.url else "search terms are visible in a URL only"
        )

    def recognised(self, decision: Decision | None) -> str:
        if decision is not None:
            if decision.what == UNTRUSTED_CERTIFICATE:
                return "in no list, and its certificate does not prove who it is"
            if is_by_page(decision) and decision.rule is not None and decision.rule.text:
                return f"in no list, but a page of this site looked like {decision.what} on {decision.rule.text}"
            if registration_of(str(decision.rule)) is not None:
                return "nobody lists it or knows it well, it is new here, and its registration is too recent"
            if decision.what == NEW_DOMAINS and self.context.ruleset.sites is not None:
                return (
                    "nobody lists it or knows it well, and this network has not known it for"
                    f" {self.context.ruleset.sites.days} days yet"
                )
            return f"in no list, but it looks like a site of {decision.what}"
        sites, new = self.context.ruleset.sites, self.context.ruleset.rules.categories.get(NEW_DOMAINS)
        if sites is None or new is None or new.allow:
            return "not recognised as something that is blocked"
        if sites.is_learning:
            return (
                "not recognised as something that is blocked; no site counts as"
                f" new{self.time('before', sites.begins * DAY_S)}"
            )
        if (registered := sites.registered_on(self.context.request.host)) is not None:
            return f"not recognised as something that is blocked; it is new here, but was registered on {registered}"
        return "not recognised as something that is blocked"

    def name(self, decision: Decision | None) -> str:
        content, recogniser = self.context.ruleset.content, Recogniser.load()
        if not content.judges_names:
            return "names are not judged for this device"
        host = self.context.request.host
        all_found = recogniser.recognitions(host)
        decided = [each for each in all_found if decision is not None and each.category == decision.what]
        found = next(iter(decided or all_found), None)
        if found is None:
            is_known = host in recogniser.well_known
            return (
                "well known, so its name is not judged" if is_known else "its name looks like nothing that is blocked"
            )
        parts = ", ".join(recogniser.strongest_parts(host, found))
        looks = (
            f"its name imitates {parts}"
            if found.imitated
            else f"its name looks like those of {_SITES.get(found.category, f'{found.category} sites')}: {parts}"
        )
        sure = f"{looks} (confidence {found.confidence} %; nobody has checked it)"
        if decision is None:
            return f"{sure}, {_why_not(self.context, found)}"
        return sure if decision.verdict is Verdict.BLOCK else f"{sure}, which is only marked in the log"

    def safe_search(self, decision: Decision | None) -> str:
        context = self.context
        if decision is not None and decision.what == AI_CHAT:
            return (
                f"an AI answer: closed because safe search is {context.ruleset.safe_search.value} and nothing allows"
                f" {AI_CHAT}"
            )
        if decision is not None:
            return f"safe search is {context.ruleset.safe_search.value}, and cannot be enforced on {decision.what} here"
        if context.engine is None:
            return "not a search engine without safe search"
        if context.level is SafeSearch.OFF and context.closed_ai is not None:
            return f"{context.engine.title}: safe search is off, but its AI answers are closed"
        if context.level is SafeSearch.OFF:
            return f"{context.engine.title}: safe search is off"
        return f"safe search is enforced on {context.engine.title} ({context.level.value})"

    def default(self, decision: Decision | None) -> str:
        if decision is None or decision.reason is Reason.DEFAULT:
            return "nothing blocks it"
        return f"open only because {decision.what} was allowed"


_SITES = {
    "dating": "sites for meeting partners",
    "drugs": "sites that sell or promote drugs",
    "alcohol-tobacco": "shops for alcohol, tobacco or vapes",
    "weapons": "shops for weapons",
    "hate": "sites of hateful or extremist groups",
    "violence": "sites that show violence for its own sake",
    "self-harm": "sites that encourage self-harm",
    "ai-chat": "artificial companions",
}
"""Sites of a topic, for which its title alone would say too little."""


def _why_not(context: RequestContext, found: Recognition) -> str:
    """Return why a host is open although its name looks like something."""
    content, rule = context.ruleset.content, context.ruleset.rules.categories.get(found.category)
    if not is_sure_enough(content, found):
        return "which is too little for this device"
    if rule is None or rule.allow:
        return f"but {found.category} is not blocked for this device"
    if context.catalogue.hosts.lifted(context.request.host) & context.catalogue.mask_of([found.category]):
        return f"but a list of corrections says that it is not {found.category}"
    return "but the site is known"


def _sentence(sentences: _StepSentences, step: str, decision: Decision | None) -> str:
    sentence: str = getattr(sentences, step.replace("-", "_"))(decision)
    return sentence + ("" if decision is None or decision.rule is None else f" ({decision.rule})")


def _scope(rule: Rule | None) -> str:
    return f"the {rule.scope.name.lower()}" if rule is not None else "the profile"
