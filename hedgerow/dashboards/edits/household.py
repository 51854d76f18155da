"""Minutes a day: from what the policy says of a person to what a form shows, and back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ruamel.yaml.comments import CommentedMap

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, mapping_at, put
from hedgerow.policies.time_model import Allowance
from hedgerow.policies.times.schedule import DAY_GROUPS, parse_days

_DAY_MINUTES = 24 * 60
_KEYS_NOT_IN_FORM = frozenset({"week", "holidays"})
"""What a form does not show: the minutes of a week, and those of holidays."""


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """Minutes of a school day and of a day of the weekend, None for no limit; `what` is empty for all use.

    `differs`: the days are not the same in the file, and it says more than a form shows.
    """

    what: str
    school: int | None
    weekend: int | None
    differs: bool = False


def budget_limits(budget: Iterable[Allowance] | None) -> tuple[BudgetLimit, ...]:
    """What a person's own budget says, all use first, which is there in any case."""
    found = [_limit(allowance) for allowance in budget or ()]
    if not any(limit.what == "" for limit in found):
        found.append(BudgetLimit("", None, None))
    return tuple(sorted(found, key=lambda limit: limit.what))


def _limit(allowance: Allowance) -> BudgetLimit:
    school, weekend = set(allowance.daily[:5]), set(allowance.daily[5:])
    what = allowance.subject.partition(":")[2]
    if len(school) > 1 or len(weekend) > 1:
        return BudgetLimit(what, None, None, differs=True)
    return BudgetLimit(what, school.pop(), weekend.pop(), differs=allowance.weekly is not None)


def parse_minutes(text: str) -> int | None:
    """Minutes of a day, None for an empty text. Raises `InvalidInput`."""
    text = text.strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) > _DAY_MINUTES:
        raise InvalidInput("Enter a number of minutes; a day has 1440.")
    return int(text)


def budget_edit(person: str, limit: BudgetLimit) -> Edit:
    """Writes a limit. What the file says of a week, of holidays and of other things stays."""
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
    kept = _preserved_keys(now) if isinstance(now, CommentedMap) else ()
    if is_nested and not kept:
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


def _preserved_keys(mapping: Collection[object]) -> tuple[object, ...]:
    return tuple(key for key in mapping if not _is_day(key))


def _is_day(key: object) -> bool:
    """Whether a key of a budget names days that a form shows."""
    try:
        return str(key) not in _KEYS_NOT_IN_FORM and bool(parse_days(str(key), DAY_GROUPS).ordinary)
    except ValueError:
        return False


def format_policy_minutes(minutes: int) -> str:
    """An amount of time as people write it into the file.

    >>> format_policy_minutes(90), format_policy_minutes(120), format_policy_minutes(45), format_policy_minutes(0)
    ('1h30m', '2h', '45m', '0m')
    """
    hours, rest = divmod(minutes, 60)
    return f"{f'{hours}h' if hours else ''}{f'{rest}m' if rest or not hours else ''}"
