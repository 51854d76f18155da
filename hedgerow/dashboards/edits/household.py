"""Edits of the policy file for the forms and the API: people, devices, seats, lists, budgets and notice recipients.

Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from ruamel.yaml.comments import CommentedMap

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include, mapping_at, put, put_times, remove
from hedgerow.dashboards.words.rules import night_times
from hedgerow.policies.growing import parse_born
from hedgerow.policies.model import Device, Person, Policy
from hedgerow.policies.notices import RECEIVER_NAME, Receiver
from hedgerow.policies.text.addresses import parse_mac, parse_network
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.policies.time_model import Allowance
from hedgerow.policies.times.budget import parse_minutes as duration_minutes
from hedgerow.policies.times.schedule import DAY_GROUPS, parse_clock, parse_days

_DAY_MINUTES, _FEWEST_MINUTES = 24 * 60, 10
_DIGITS_OF_MONTH = 6
_KEYS_NOT_IN_FORM = frozenset({"week", "holidays"})


def parse_name(text: str, taken: Collection[str] = ()) -> str:
    """Return a name of a person, device or schedule, with single spaces.

    Raises `InvalidInput`, also if it is in `taken`.
    """
    name = " ".join(text.split())
    if not re.fullmatch(r"[^\W_][\w .'’-]{0,39}", name):
        raise InvalidInput(
            "A name has at most 40 letters, digits, spaces, dots and dashes, and begins with a letter or digit."
        )
    if name in taken:
        raise InvalidInput("'%(name)s' is already taken.", name=name)
    return name


def parse_age(text: str) -> int | None:
    """Return an age in years, or None for an empty text. Raises `InvalidInput`."""
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) > 130:
        raise InvalidInput("Enter the age in years.")
    return int(text)


def parse_age_or_birth(text: str, policy: Policy, now: float) -> dict[str, int | str]:
    """Return the key of a person for an age in years or a month of birth, none for an empty text.

    Raises `InvalidInput`.
    """
    if text.strip().isdecimal() and len(text.strip()) < _DIGITS_OF_MONTH:
        return {"age": parse_age(text) or 0}
    return {"born": parse_birth(text, policy, now)} if text.strip() else {}


def _with_year_first(text: str) -> str:
    """Return a month as the policy file has it, from the ways to write it on a phone's keys for digits.

    >>> [_with_year_first(text) for text in ("201605", "5/2016", "05.2016", "2016-05-23")]
    ['2016-05', '2016-5', '2016-05', '2016-05-23']
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{6}", text):
        return f"{text[:4]}-{text[4:]}"
    found = re.fullmatch(r"([0-9]{1,2})\s?[-./]\s?([0-9]{4})", text)
    return f"{found[2]}-{found[1]}" if found is not None else text.replace("/", "-").replace(".", "-")


def parse_birth(text: str, policy: Policy, now: float) -> str:
    """Return a month or day of birth as the policy file has it. Raises `InvalidInput`."""
    text = _with_year_first(text)
    if re.fullmatch(r"\s*\d{4}-\d{1,2}(-\d{1,2})?\s*", text) is None:
        raise InvalidInput("Enter the year and the month of birth, such as 2016-05.")
    try:
        return str(parse_born(text, datetime.fromtimestamp(now, ZoneInfo(policy.network.timezone)).date()))
    except ValueError:
        raise InvalidInput("Enter a month of birth that is in the calendar, and within the last 120 years.") from None


def find_person(policy: Policy, name: str) -> Person:
    """Return a person of the policy. Raises `InvalidInput`."""
    if name not in policy.people:
        raise InvalidInput("The policy has no person called '%(name)s'.", name=name)
    return policy.people[name]


def find_device(policy: Policy, name: str) -> Device:
    """Return a device of the policy. Raises `InvalidInput`."""
    if name not in policy.devices:
        raise InvalidInput("There is no device '%(device)s' in the policy.", device=name)
    return policy.devices[name]


def name_device_edits(policy: Policy, seen_as: str, name: str, person: str) -> list[Edit]:
    """Name a device that is known by its MAC or IP address, and assign it to `person` unless empty.

    Raises `InvalidInput`.
    """
    name, (key, address) = parse_name(name, policy.devices), parse_address(seen_as)
    edits = [put(("devices", name), {"ip" if key == "cidr" else key: address})]
    edits += [exclude(("people", other, "devices"), seen_as) for other in policy.people]
    return edits + (assign_device_edits(policy, name, person) if person else [])


def parse_address(text: str) -> tuple[str, str]:
    """Return the policy key (mac, ip or cidr) and value of an address."""
    if (mac := parse_mac(text)) is not None:
        return "mac", mac
    if parse_network(text) is None:
        raise InvalidInput("'%(seen_as)s' is neither a MAC address nor an IP address.", seen_as=text)
    return ("cidr" if "/" in text else "ip"), text


def trust_ca_edit(policy: Policy, device: str, on: bool) -> Edit:
    """Record that a named device trusts the CA certificate, or not. Raises `InvalidInput`."""
    if not can_be_inspected(find_device(policy, device)):
        raise InvalidInput("Give the device a name first.")
    return put(("devices", device, "trusts_ca"), True if on else None)


def can_be_inspected(device: Device) -> bool:
    """Return whether a device has an entry in the policy file that can hold `trusts_ca`.

    Seats and bare addresses do not.
    """
    return not device.is_seat and parse_mac(device.id) is None and parse_network(device.id) is None


def assign_device_edits(policy: Policy, device: str, person: str) -> list[Edit]:
    """Take a device from its owner and assign it to `person` unless empty. Raises `InvalidInput`."""
    if person and person not in policy.people:
        raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
    edits = [exclude(("people", other, "devices"), device) for other in policy.people if other != person]
    return [*edits, include(("people", person, "devices"), device)] if person else edits


def remove_device_edits(policy: Policy, device: str) -> list[Edit]:
    """Take a device from its owner and out of the policy. Raises `InvalidInput`."""
    find_device(policy, device)
    return [*assign_device_edits(policy, device, ""), remove(("devices", device))]


def add_list_edit(source: str, url: str, category: str) -> Edit:
    """Add a public list by its name, or any list by its URL and category."""
    return include(("lists",), {"source": source} if source else {"category": category, "url": url})


def remove_list_edit(policy: Policy, name: str) -> Edit:
    """Remove a list of the policy file, whichever key it is named by. Raises `InvalidInput`."""
    if all(source.name != name for source in policy.lists):
        raise InvalidInput("The policy file does not contain a list '%(name)s'.", name=name)
    return exclude(("lists",), _ListEntry(name))


class _ListEntry:
    """Equal to any entry of `lists` with this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict):
            return False
        # The same order of keys as in `policies.reading`, which names the lists.
        name = (
            other.get("name") or other.get("source") or other.get("url") or other.get("path") or other.get("category")
        )
        return str(name) == self._name

    __hash__ = None  # type: ignore[assignment]


def parse_receiver_name(text: str) -> str:
    """Return a notice recipient's name for the policy file. Raises `InvalidInput`.

    >>> parse_receiver_name("Großmutter José")
    'grossmutter-jose'
    """
    plain = unicodedata.normalize("NFKD", text.strip().casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if RECEIVER_NAME.fullmatch(name) is None:
        raise InvalidInput("Enter a name made of letters, such as mother.")
    return name


def parse_language(text: str) -> str:
    """Return the code of a supported language. Raises `InvalidInput`."""
    if text not in LANGUAGES:
        raise InvalidInput("That language is not available.")
    return text


def parse_time_of_day(text: str) -> str:
    """Return `HH:MM`, or an empty text unchanged. Raises `InvalidInput`."""
    text = text.strip()
    try:
        if text:
            parse_clock(text)
    except ValueError:
        raise InvalidInput("Enter a time of day such as 18:00.") from None
    return text


def quiet_edits(receiver: Receiver, start: str, end: str) -> list[Edit]:
    """Set a recipient's quiet hours.

    No edit if the form shows what is in force: the file may say more than it. Raises `InvalidInput`.
    """
    if bool(start) != bool(end):
        missing = "quiet_to" if start else "quiet_from"
        raise InvalidInput("Enter a beginning and an end for the night, such as 20:30 and 07:00.").at(missing)
    if (start, end) == quiet_hours(receiver)[0]:
        return []
    return [put_times(("notices", receiver.name, "quiet"), f"{start}-{end}" if start else None)]


def quiet_hours(receiver: Receiver) -> tuple[tuple[str, str], bool]:
    """Return start and end of the quiet hours, empty if none or if they differ between days, and whether
    they differ.
    """
    times = set(night_times(receiver.quiet).values())
    return (times.pop(), False) if len(times) == 1 else (("", ""), True)


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """Minutes per school day and per day of the weekend, None for no limit. `what` is empty for all use.

    `differs`: the file distinguishes more days than the form shows.
    """

    what: str
    school: int | None
    weekend: int | None
    differs: bool = False


def budget_limits(budget: Iterable[Allowance] | None) -> tuple[BudgetLimit, ...]:
    """Return the limits of a person's own budget. The limit of all use comes first and is always there."""
    limits = [_limit(allowance) for allowance in budget or ()]
    if not any(limit.what == "" for limit in limits):
        limits.append(BudgetLimit("", None, None))
    return tuple(sorted(limits, key=lambda limit: limit.what))


def _limit(allowance: Allowance) -> BudgetLimit:
    school, weekend = set(allowance.daily[:5]), set(allowance.daily[5:])
    what = allowance.subject.partition(":")[2]
    if len(school) > 1 or len(weekend) > 1:
        return BudgetLimit(what, None, None, differs=True)
    return BudgetLimit(what, school.pop(), weekend.pop(), differs=allowance.weekly is not None)


def parse_minutes(text: str) -> int | None:
    """Return minutes of a day, such as `90` or `1h30m`, or None for an empty text. Raises `InvalidInput`."""
    try:
        minutes = duration_minutes(text.strip().replace(",", ".")) if text.strip() else None
    except ValueError:
        minutes = _DAY_MINUTES + 1
    if minutes is not None and minutes > _DAY_MINUTES:
        raise InvalidInput("Enter a number of minutes; a day has 1440.")
    return minutes


def may_mean_hours(text: str) -> bool:
    """Return whether people may mean hours by a number of minutes that they typed.

    >>> [may_mean_hours(text) for text in ("1", " 2 ", "0", "45", "1h", "")]
    [True, True, False, False, False, False]
    """
    return text.strip().isdecimal() and 0 < int(text) < _FEWEST_MINUTES


def budget_edit(person: str, limit: BudgetLimit) -> Edit:
    """Write a limit. Limits per week, on holidays and of other subjects stay."""
    path = ("people", person, "budget")

    def edit(document: CommentedMap) -> None:
        budget = mapping_at(document, path[:-1]).get(path[-1])
        if not isinstance(budget, CommentedMap):
            put(path, {} if budget in (None, "none") else {"every-day": budget}).make(document)
        _write_limit(document, (*path, limit.what) if limit.what else path, limit, is_nested=bool(limit.what))
        if not mapping_at(document, path):
            put(path, None).make(document)

    return Edit(path, edit)


def _write_limit(document: CommentedMap, path: tuple[str, ...], limit: BudgetLimit, *, is_nested: bool) -> None:
    days = _days(limit)
    now = mapping_at(document, path[:-1]).get(path[-1])
    if is_nested and not (isinstance(now, CommentedMap) and any(not _is_day(key) for key in now)):
        put(path, days if len(days) > 1 else days.get("every-day", days) or None).make(document)
        return
    for key in [key for key in now or () if _is_day(key) and key not in days]:
        put((*path, key), None).make(document)
    for key, text in days.items():
        put((*path, key), text).make(document)


def _days(limit: BudgetLimit) -> dict[str, str]:
    if limit.school == limit.weekend:
        return {} if limit.school is None else {"every-day": format_policy_minutes(limit.school)}
    named = {"school-days": limit.school, "weekend": limit.weekend}
    return {key: format_policy_minutes(minutes) for key, minutes in named.items() if minutes is not None}


def _is_day(key: object) -> bool:
    """Return whether a key of a budget names days that the form shows."""
    try:
        return str(key) not in _KEYS_NOT_IN_FORM and bool(parse_days(str(key), DAY_GROUPS).ordinary)
    except ValueError:
        return False


def format_policy_minutes(minutes: int) -> str:
    """Return a duration as people write it in the policy file.

    >>> format_policy_minutes(90), format_policy_minutes(120), format_policy_minutes(45), format_policy_minutes(0)
    ('1h30m', '2h', '45m', '0m')
    """
    hours, rest = divmod(minutes, 60)
    return f"{f'{hours}h' if hours else ''}{f'{rest}m' if rest or not hours else ''}"
