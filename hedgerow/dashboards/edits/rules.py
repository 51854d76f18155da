"""Edits of a person's own rules: what is allowed or blocked, until when, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.names import is_public_suffix
from hedgerow.blocklists.rules import Origin
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include, put, replace
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, language
from hedgerow.policies.access_subject import AccessSubject, service_or_address
from hedgerow.policies.content import BLOCKED_NAME_CONFIDENCE, ContentRules
from hedgerow.policies.host_facts import Services, parents_of
from hedgerow.policies.model import Person, Policy, Target
from hedgerow.policies.targets import ILLEGAL, parse_target
from hedgerow.policies.youtube import parse_youtube_item

NOTE_LENGTH = 120
RULE_KEYS = ("always", "allow", "block")
"""Keys of a person's own rules."""


def subject_titles(reader: Language) -> dict[str, str]:
    """Return the titles of all services and topics that a rule can name, in the order of their titles."""
    names = [*(category.name for category in builtin_categories() if category.name != ILLEGAL), *Services.load().by_id]
    return dict(sorted(((name, title_of(name, reader)) for name in names), key=lambda pair: pair[1].casefold()))


def parse_subject(policy: Policy, text: str, reader: Language | None = None) -> str:
    """Return an item of a rule: the id of a service or topic for its id or title, else a site as typed.

    Raises `InvalidInput`.
    """
    wanted = " ".join(text.split()).casefold()
    readers = (reader or language("en"), language("en"))
    for titles in map(subject_titles, readers):
        found = (
            wanted
            if wanted in titles
            else next((name for name, title in titles.items() if title.casefold() == wanted), None)
        )
        if found is not None:
            return found
    if not wanted:
        raise InvalidInput("Enter a site such as example.org, or choose a service or topic.")
    item = text.strip()
    try:
        parse_target(item, Services.load().by_id, policy.categories, Origin(""))
    except ValueError as error:
        hint = next((f"{title_of(name, readers[0])}?" for name in _suggested(str(error))), "")
        if hint:
            raise InvalidInput(
                "'%(item)s' is neither a site, a service nor a topic. Did you mean %(hint)s", item=item, hint=hint
            ) from None
        raise InvalidInput(
            "'%(item)s' is neither a site such as example.org, nor a service or topic.", item=item
        ) from None
    return item


def _suggested(problem: str) -> Iterable[str]:
    meant = problem.partition(" Did you mean ")[2].removesuffix("?")
    return (meant,) if meant and not meant.startswith(("{", "[")) else ()


def parse_until(text: str, now: float, zone: ZoneInfo) -> str:
    """Return the end of a rule as in the policy file: a date, or a date with a time; empty for no end.

    Raises `InvalidInput`.

    >>> parse_until("2026-12-24T18:00", 0.0, ZoneInfo("UTC")), parse_until("", 0.0, ZoneInfo("UTC"))
    ('2026-12-24 18:00', '')
    """
    text = text.strip().replace("T", " ")
    if not text:
        return ""
    try:
        is_over = (
            date.fromisoformat(text) < datetime.fromtimestamp(now, zone).date()
            if len(text) == len("2026-12-01")
            else None
        )
        if is_over is None:
            is_over = datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() <= now
    except (ValueError, OverflowError):
        raise InvalidInput("Enter a date such as 2026-12-24.") from None
    if is_over:
        raise InvalidInput("This date is over. Enter one that is still to come, or leave it empty.")
    return text


def parse_note(text: str) -> str:
    """Return a note as one line. Raises `InvalidInput` for one that is too long."""
    note = " ".join(text.split())
    if len(note) > NOTE_LENGTH:
        raise InvalidInput("A note has at most %(count)s characters.", count=NOTE_LENGTH)
    return note


def rule_edits(
    policy: Policy, person: str, item: str, *, allows: bool, until: str = "", note: str = "", address: str = ""
) -> list[Edit]:
    """Allow or block an item for a person. An older rule about it is replaced, in its place if it is of the same kind.

    Arguments:
        item: the result of `parse_subject`.
        address: the site from which the item follows. The opposite of a rule about it goes.
        until: the end, as `parse_until` returns it.
    """
    subject = _EntryAbout(policy, _target_name(policy, item))
    if allows and subject.name == ILLEGAL:
        raise InvalidInput("Illegal material cannot be allowed.")
    key, path = ("allow" if allows else "block"), ("people", person)
    value = {"what": item, "until": until, "note": note}
    named = {name: text for name, text in value.items() if text}
    # What is always allowed stays so: it is open at bedtime, too.
    others = [other for other in RULE_KEYS if other != key and not (allows and other == "always")]
    opposite = _EntryAbout(policy, subject.name, address)
    edits = [exclude((*path, other), opposite) for other in others]
    return [*edits, replace((*path, key), subject, named if len(named) > 1 else item)]


def allow_edits(policy: Policy, opening: AccessSubject) -> list[Edit]:
    """Allow something for a person for good. What blocked it or its address goes."""
    assert opening.person is not None
    if is_public_suffix(opening.what) and "." in opening.what:
        raise InvalidInput("Anybody can have a site beneath %(host)s. Name the site itself.", host=opening.what)
    path = ("people", opening.person)
    blocks = [exclude((*path, "block"), _EntryAbout(policy, opening.what, opening.address))]
    return [*blocks, include((*path, "allow"), opening.what)]


def remove_rule_edits(policy: Policy, person: str, name: str) -> list[Edit]:
    """Remove a person's own rules about a target by its name, whatever the spelling in the file."""
    return [exclude(("people", person, key), _EntryAbout(policy, name)) for key in RULE_KEYS]


def switch_edits(policy: Policy, person: str, item: str, *, allows: bool, by_default: bool) -> list[Edit]:
    """Open or close a service or topic for a person.

    `by_default` tells whether it is open without the person's own rules.
    """
    subject, path = _EntryAbout(policy, item), ("people", person)
    # What is always allowed stays so: it is open at bedtime, too.
    edits = [exclude((*path, key), subject) for key in RULE_KEYS if not (allows and key == "always")]
    return edits if by_default is allows else [*edits, include((*path, "allow" if allows else "block"), item)]


def close_until_edits(policy: Policy, person: str, item: str, until: str) -> list[Edit]:
    """Close a service or topic for a person until an end. What opens it otherwise stays, and opens it again then."""
    return [replace(("people", person, "block"), _EntryAbout(policy, item), {"what": item, "until": until})]


def rule_end(ends: float, zone: ZoneInfo) -> str:
    """Return the end of a rule as in the policy file, which has no seconds: the next minute.

    >>> rule_end(61.0, ZoneInfo("UTC"))
    '1970-01-01 00:02'
    """
    return f"{datetime.fromtimestamp(ends + 59, zone):%Y-%m-%d %H:%M}"


def own_targets(person: Person) -> list[tuple[bool, Target]]:
    """Return all targets of a person's own rules with True for those that are allowed, the ones that end first."""
    both = [(True, target) for target in person.rules.allow] + [(False, target) for target in person.rules.block]
    return sorted(both, key=lambda pair: (pair[1].until is None, pair[1].until or 0.0))


def is_inspected(policy: Policy, person: str) -> bool:
    """Return whether pages are inspected on a device of a person, as chosen channels of YouTube need it."""
    devices = [each for each in policy.devices.values() if person == each.person or person in each.sharers]
    return any(device.trusts_ca and not device.never_inspect for device in devices)


def choose_youtube_edits(policy: Policy, person: str, text: str) -> list[Edit]:
    """Open a channel or a video of YouTube for a person, and close all others. Raises `InvalidInput`."""
    try:
        item = parse_youtube_item(text)
    except ValueError:
        raise InvalidInput("Enter a channel such as @name, or the address of a channel or video of YouTube.") from None
    if not is_inspected(policy, person):
        raise InvalidInput(
            "This needs a device whose pages are inspected: install the certificate, then switch it on at Devices."
        )
    video = item.removeprefix("video:")
    written = item if video == item else f"https://www.youtube.com/watch?v={video}"
    return [replace(("people", person, "youtube_only"), _YouTubeEntry(item), written)]


def drop_youtube_edits(person: str, item: str) -> list[Edit]:
    """Remove a channel or video by its name in the policy. Without any, all of YouTube is open again."""
    return [exclude(("people", person, "youtube_only"), _YouTubeEntry(item))]


class NameLevel(StrEnum):
    """The consequence of a name that looks like those of a blocked category."""

    BLOCK = "block"
    MARK = "mark"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class NameLevels:
    """A person's own level, None without one, and the level of the wider scopes."""

    own: NameLevel | None
    inherited: NameLevel


def name_levels(policy: Policy, person: Person) -> NameLevels:
    """Return the levels at which the names of unlisted sites are judged for a person."""
    own = person.rules.content
    wider = policy.household.content.over(policy.profiles[person.profile].rules.content)
    has_own = own.name_block is not None or own.name_mark is not None
    return NameLevels(_name_level(own.over(wider)) if has_own else None, _name_level(wider))


def _name_level(content: ContentRules) -> NameLevel:
    return NameLevel.BLOCK if content.name_block else NameLevel.MARK if content.name_mark else NameLevel.OFF


def name_level_edit(policy: Policy, person: Person, text: str) -> Edit | None:
    """Set a person's own level, or remove it for an empty text; None if it is in force already.

    Raises `InvalidInput`.
    """
    if text not in {"", *NameLevel}:
        raise InvalidInput("Choose what happens to sites that no list has.").at("level")
    if text == (name_levels(policy, person).own or ""):
        return None
    path = ("people", person.name, "recognise_names")
    match NameLevel(text) if text else None:
        case None:
            return put(path, None)
        case NameLevel.BLOCK:
            return put(path, {"block": BLOCKED_NAME_CONFIDENCE})
        case NameLevel.MARK:
            return put(path, {"block": 0, "mark": BLOCKED_NAME_CONFIDENCE})
        case NameLevel.OFF:
            return put(path, "off")


class _YouTubeEntry:
    """Equal to any entry that means this channel or video."""

    def __init__(self, item: str) -> None:
        self._item = item

    def __eq__(self, other: object) -> bool:
        try:
            return parse_youtube_item(str(other)) == self._item
        except ValueError:
            return False

    __hash__ = None  # type: ignore[assignment]


class _EntryAbout:
    """Equal to any entry of a list of rules about the target with this name, however it is spelt.

    With an address, an entry about that host or a domain above it is equal too, as far as it belongs to the target.
    """

    def __init__(self, policy: Policy, name: str, address: str = "") -> None:
        self._policy, self.name = policy, name
        self._hosts = frozenset(
            host for host in parents_of(_target_name(policy, address)) if service_or_address(host) == name
        )

    def __eq__(self, other: object) -> bool:
        name = _target_name(self._policy, str(other.get("what") if isinstance(other, dict) else other))
        return name == self.name or name in self._hosts

    __hash__ = None  # type: ignore[assignment]


def _target_name(policy: Policy, item: str) -> str:
    try:
        return parse_target(item, Services.load().by_id, policy.categories, Origin("")).name
    except ValueError:
        return item
