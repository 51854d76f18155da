"""What holds for somebody, in plain words: for the child's own page, and for the parent's page of that child. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.dashboards.pages.week import DAY_TITLES, night_times
from hedgerow.policies.model import Policy, Privacy, Rules, SafeSearch, Target, TargetKind
from hedgerow.policies.services import Services

_PRIVACY = {
    Privacy.FULL: "The sites and pages that are asked for, and what was decided.",
    Privacy.DOMAIN: "The names of sites that are asked for, not the pages, and what was decided.",
    Privacy.CATEGORY: "Only the topic or service that something was blocked for. No names of sites, no pages.",
    Privacy.NONE: "Nothing.",
}
_SAFE_SEARCH = {
    SafeSearch.STRICT: "Search engines leave out everything that is not for children.",
    SafeSearch.MODERATE: "Search engines leave out what is most explicit.",
    SafeSearch.OFF: "Search engines show everything.",
}
_YOUTUBE = {
    SafeSearch.STRICT: "YouTube shows only what its strict mode lets through, and no comments.",
    SafeSearch.MODERATE: "YouTube leaves out what its moderate mode takes for mature.",
    SafeSearch.OFF: "YouTube shows everything.",
}


@dataclass(frozen=True, slots=True)
class RulesInWords:
    """Titles and sentences, ready to be shown. `nights` pairs days with times."""

    title: str
    topics: tuple[str, ...]
    services: tuple[str, ...]
    sites: tuple[str, ...]
    allowed: tuple[str, ...]
    nights: tuple[tuple[str, str], ...]
    searches: str
    youtube: str
    kept: str


def rules_in_words(policy: Policy, profile: str, person: str | None, device: str | None) -> RulesInWords:
    """What holds for a device, for a person (device None), or for a device of nobody (person None)."""
    layers = _layers(policy, profile, person, device)
    allowed = {target.name: target for rules in layers for target in rules.allow}
    blocked = {target.name: target for rules in layers for target in rules.block if target.name not in allowed}
    safe = next((rules.safe_search for rules in layers if rules.safe_search is not None), SafeSearch.OFF)
    bedtime = next((rules.bedtime for rules in layers if rules.bedtime is not None), None)
    return RulesInWords(
        title=policy.profiles[profile].title,
        topics=_titles(blocked, TargetKind.CATEGORY),
        services=_titles(blocked, TargetKind.SERVICE),
        sites=_titles(blocked, TargetKind.HOST, TargetKind.URL),
        allowed=_titles(allowed, *TargetKind),
        nights=_nights(night_times(bedtime)),
        searches=_SAFE_SEARCH[safe],
        youtube=_YOUTUBE[next((rules.youtube for rules in layers if rules.youtube is not None), safe)],
        kept=_PRIVACY[next((rules.privacy for rules in layers if rules.privacy is not None), Privacy.CATEGORY)],
    )


def _layers(policy: Policy, profile: str, person: str | None, device: str | None) -> list[Rules]:
    """The nearest scope first, as `policies.ruleset` has it."""
    known = policy.devices.get(device) if device else None
    owner = policy.people.get(person) if person else None
    own = [known.rules] if known else []
    return [*own, *([owner.rules] if owner else []), policy.household, policy.profiles[profile].rules]


def _titles(targets: dict[str, Target], *kinds: TargetKind) -> tuple[str, ...]:
    categories = {category.name: category.title for category in builtin_categories()}
    services = Services.load().by_id
    found = []
    for target in targets.values():
        if target.kind not in kinds:
            continue
        if target.kind is TargetKind.SERVICE:
            found.append(services[target.name].title)
        else:
            found.append(categories.get(target.name, target.name) if target.kind is TargetKind.CATEGORY else target.name)
    return tuple(sorted(found, key=str.lower))


def _nights(times: dict[str, tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Evenings with the same times together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for day, both in times.items():
        if both[0]:
            groups.setdefault(both, []).append(DAY_TITLES[day])
    if len(groups) == 1 and len(next(iter(groups.values()))) == 7:
        (start, end), _ = next(iter(groups.items()))
        return (("Every night", f"{start} to {end}"),)
    return tuple((", ".join(days), f"{start} to {end}") for (start, end), days in groups.items())
