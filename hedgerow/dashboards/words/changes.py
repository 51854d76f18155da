"""Changes of the policy file as sentences: who allowed what for whom, until when, and whether it is in force. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from hedgerow.dashboards.control import Enforcement
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, language, message
from hedgerow.policies.reading.profiles import builtin_profiles
from hedgerow.policies.times.schedule import DAY_NAMES

MAX_SENTENCES = 40
_MAX_VALUE = 160
_LISTS = ("always", "allow", "block")
_TIME_SPAN = re.compile(r"(\d{1,2}:\d{2})-(\d{1,2}:\d{2})")

_RULES = {
    "always": (
        message("%(who)s allowed %(what)s for %(name)s at any time."),
        message("%(who)s allowed %(what)s for %(name)s at any time until %(until)s."),
    ),
    "allow": (
        message("%(who)s allowed %(what)s for %(name)s."),
        message("%(who)s allowed %(what)s for %(name)s until %(until)s."),
    ),
    "block": (
        message("%(who)s blocked %(what)s for %(name)s."),
        message("%(who)s blocked %(what)s for %(name)s until %(until)s."),
    ),
}
_KEYS = {
    "age": message("age"),
    "born": message("month of birth"),
    "profile": message("profile"),
    "bedtime": message("bedtime"),
    "budget": message("time limit"),
    "country": message("country"),
    "timezone": message("time zone"),
    "unknown_devices": message("unknown devices"),
    "lists": message("lists"),
    "blocked_answer": message("answer for blocked sites"),
    "holidays": message("holidays"),
    "safe_search": message("safe search"),
    "privacy": message("privacy"),
}
_TIMES = {
    "school-nights": message("school nights"),
    "school-days": message("school days"),
    "weekend": message("weekend"),
    "every-day": message("every day"),
    "holidays": message("holidays"),
}
_THIS_MACHINE = message("Somebody at this machine")
_SET = message("%(who)s set %(key)s of %(name)s to %(now)s.")
_SET_AGAIN = message("%(who)s changed %(key)s of %(name)s from %(before)s to %(now)s.")
_RULE_REMOVED = message("%(who)s removed the rule for %(what)s of %(name)s.")
_UNSET = message("%(who)s removed %(key)s of %(name)s (it was %(before)s).")
_ADDED = {
    "people": message("%(who)s added %(name)s."),
    "devices": message("%(who)s added the device %(name)s."),
    "seats": message("%(who)s added the seat %(name)s."),
    "profiles": message("%(who)s added the profile %(name)s."),
    "notices": message("%(who)s added notices to %(name)s."),
}
_REMOVED = {
    "people": message("%(who)s removed %(name)s."),
    "devices": message("%(who)s removed the device %(name)s."),
    "seats": message("%(who)s removed the seat %(name)s."),
    "profiles": message("%(who)s removed the profile %(name)s."),
    "notices": message("%(who)s ended the notices to %(name)s."),
}
_SCHEDULE = message("%(who)s set %(key)s for %(name)s: %(now)s.")
_SCHEDULE_REMOVED = message("%(who)s removed %(key)s of %(name)s.")
_SCHEDULE_RULES = {
    "block": message("closes %(what)s"),
    "allow": message("opens %(what)s"),
    "only": message("opens %(what)s only then"),
}
_RENAMED = message("%(who)s renamed %(name)s to %(now)s.")


def change_sentences(
    who: str, before: Mapping[str, str], after: Mapping[str, str], reader: Language
) -> tuple[str, ...]:
    """Return a sentence for each difference between policy files; none if only comments differ or a file is not YAML.

    >>> change_sentences("Ana", {"h": "people: {mia: {age: 9}}"}, {"h": "people: {mia: {age: 9, allow: [tiktok]}}"},
    ...  language("en"))
    ('Ana allowed TikTok for mia.',)
    """
    return _sentences(who, tuple(before.items()), tuple(after.items()), reader.code)


@functools.lru_cache(maxsize=256)
def _sentences(
    who: str, before: tuple[tuple[str, str], ...], after: tuple[tuple[str, str], ...], code: str
) -> tuple[str, ...]:
    olds, news = dict(before), dict(after)
    writer = _ChangeWriter(language(code).gettext(_THIS_MACHINE) if who == "this machine" else who, language(code))
    found: dict[str, None] = {}
    for name in dict.fromkeys((*olds, *news)):
        found |= dict.fromkeys(writer.document(_read(olds.get(name, "")), _read(news.get(name, ""))))
    return tuple(found)[:MAX_SENTENCES]


def _read(text: str) -> dict[str, Any]:
    """Return a policy file with all values as text, empty if it is not a mapping."""
    try:
        value = yaml.load(text, getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506 (a base loader makes nothing but text)
    except (yaml.YAMLError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> dict[str, tuple[str, str]]:
    """Return the items of a list of rules: their end and note by what they name."""
    entries = value if isinstance(value, list) else [] if value in (None, "") else [value]
    items = (entry if isinstance(entry, dict) else {"what": str(entry)} for entry in entries)
    return {str(item.get("what", "")): (str(item.get("until", "")), str(item.get("note", ""))) for item in items}


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return the new names of entries that are otherwise the same, by their old names."""
    come = [name for name in new if name not in old]
    found: dict[str, str] = {}
    for name in old:
        now = next((other for other in come if name not in new and old[name] == new[other]), None)
        if now is not None:
            come.remove(now)
            found[name] = now
    return found


def _with_new_names(policy: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return a policy whose people own their devices by the new names: to rename a device is not to take it away."""
    people = {}
    for name, person in _mapping(policy.get("people")).items():
        devices = _mapping(person).get("devices")
        names = (
            [renamed.get(each, each) if isinstance(each, str) else each for each in devices]
            if isinstance(devices, list)
            else devices
        )
        people[name] = person if names == devices else person | {"devices": names}
    return policy | {"people": people} if people else policy


@dataclass(frozen=True, slots=True)
class _ChangeWriter:
    """Sentences in one language about changes that one person made."""

    who: str
    reader: Language

    def sentence(self, text: str, **values: object) -> str:
        return self.reader.gettext(text, who=self.who, **values)

    def document(self, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
        rules: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        old = _with_new_names(old, _renamed(_mapping(old.get("devices")), _mapping(new.get("devices"))))
        for section in dict.fromkeys((*old, *new)):
            before, after = old.get(section), new.get(section)
            if section in _ADDED:
                yield from self.entries(section, _mapping(before), _mapping(after))
            elif section == "network":
                yield from self.scope(self.reader.gettext("the network"), _mapping(before), _mapping(after))
            elif section == "lists":
                yield from self.lists(before, after)
            else:  # a rule of the household
                rules[0].update({section: before} if section in old else {})
                rules[1].update({section: after} if section in new else {})
        yield from self.scope(self.reader.gettext("everybody"), *rules)

    def entries(self, section: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
        """Describe people, devices and the like that were added, removed, renamed or changed."""
        renamed = _renamed(old, new)
        yield from (self.sentence(_RENAMED, name=name, now=now) for name, now in renamed.items())
        yield from (
            self.sentence(_REMOVED[section], name=name) for name in old if name not in new and name not in renamed
        )
        for name in new:
            if name in old or name in renamed.values():
                continue
            yield self.sentence(_ADDED[section], name=name)
            if section == "people":
                yield from self.scope(name, {}, _mapping(new[name]))
        for name in new:
            if name in old:
                yield from self.scope(name, _mapping(old[name]), _mapping(new[name]))

    def scope(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
        """Describe the rules and settings of one person, device or profile."""
        yield from self.rules(name, old, new)
        for key in dict.fromkeys((*old, *new)):
            before, after = old.get(key), new.get(key)
            if before == after or key in _LISTS:
                continue
            if key == "devices":
                yield from self.devices(name, _items(before), _items(after))
            elif key == "schedules":
                for each in dict.fromkeys((*_mapping(before), *_mapping(after))):
                    yield from self.schedule(each, name, _mapping(before).get(each), _mapping(after).get(each))
            else:
                yield from self.setting(self.reader.gettext(_KEYS[key]) if key in _KEYS else key, name, before, after)

    def rules(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
        olds, news = ({key: _items(each.get(key)) for key in _LISTS} for each in (old, new))
        kept = {what for key in _LISTS for what in news[key]}
        for key in _LISTS:
            for what, (until, note) in news[key].items():
                if olds[key].get(what) == (until, note):
                    continue
                text = _RULES[key][bool(until)]
                sentence = self.sentence(text, what=title_of(what, self.reader), name=name, until=self.moment(until))
                yield f"{sentence} ({note})" if note else sentence
            for what in olds[key]:
                if what not in kept:
                    yield self.sentence(_RULE_REMOVED, what=title_of(what, self.reader), name=name)

    def devices(self, name: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
        for device in new:
            if device not in old:
                yield self.sentence(
                    message("%(who)s gave the device %(device)s to %(name)s."), device=device, name=name
                )
        for device in old:
            if device not in new:
                yield self.sentence(
                    message("%(who)s took the device %(device)s from %(name)s."), device=device, name=name
                )

    def lists(self, old: object, new: object) -> Iterator[str]:
        olds, news = ([_list_name(entry) for entry in (each if isinstance(each, list) else [])] for each in (old, new))
        yield from (
            self.sentence(message("%(who)s added the list %(name)s."), name=name) for name in news if name not in olds
        )
        yield from (
            self.sentence(message("%(who)s removed the list %(name)s."), name=name) for name in olds if name not in news
        )

    def setting(self, key: str, name: str, before: object, after: object) -> Iterator[str]:
        values = {"key": key, "name": name, "before": self.value(before), "now": self.value(after)}
        if before == after:
            return
        yield self.sentence(_SET if before is None else _UNSET if after is None else _SET_AGAIN, **values)

    def schedule(self, key: str, name: str, before: object, after: object) -> Iterator[str]:
        if after is None:
            yield self.sentence(_SCHEDULE_REMOVED, key=key, name=name)
        elif before != after:
            parts = []
            for each, value in _mapping(after).items():
                text = self.reader.gettext("the internet") if value == "internet" else self._flat(value)
                if each in _SCHEDULE_RULES:
                    parts.append(self.reader.gettext(_SCHEDULE_RULES[each], what=text))
                else:
                    parts.append(text if each == "when" else f"{each}: {text}")
            yield self.sentence(_SCHEDULE, key=key, name=name, now=self.value(self.reader.comma.join(parts)))

    def value(self, value: object) -> str:
        """Return a value of the file on one line."""
        text = self._flat(value)
        return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"

    def _flat(self, value: object) -> str:
        if isinstance(value, dict):
            return "; ".join(f"{self.day(str(key))} {self._flat(each)}" for key, each in value.items())
        if isinstance(value, list):
            return self.reader.comma.join(map(self._flat, value))
        profile = builtin_profiles().get(str(value))
        text = title_of(str(value or ""), self.reader) if profile is None else self.reader.gettext(profile.title)
        return _TIME_SPAN.sub(r"\1–\2", text)

    def day(self, key: str) -> str:
        if key in DAY_NAMES:
            return self.reader.day(DAY_NAMES.index(key))
        return self.reader.gettext(_TIMES[key]) if key in _TIMES else f"{key}:"

    def moment(self, text: str) -> str:
        """Return the end of a rule as people write it."""
        day, _, clock = text.replace("T", " ").partition(" ")
        try:
            shown = self.reader.date(date.fromisoformat(day))
        except ValueError:
            return text
        return f"{shown} {clock}".strip()


def _list_name(entry: object) -> str:
    keys = _mapping(entry)
    return str(next((keys[key] for key in ("name", "url", "path", "category") if keys.get(key)), ""))


_BEHIND = {
    "dns": message("names of sites still follow the rules of before"),
    "proxy": message("pages still follow the rules of before"),
}


def enforcement_text(enforcement: Enforcement, reader: Language) -> str:
    """Return a sentence about the newest rules if they are not in force at every enforcement point for good, else
    nothing.
    """
    if enforcement.is_complete and enforcement.problem:
        return reader.gettext(
            "In force until the next restart: it cannot be saved (%(problem)s).",
            problem=enforcement.problem,
        )
    if enforcement.is_complete:
        return ""
    if not enforcement.is_written:
        why = reader.gettext("it cannot be written (%(problem)s)", problem=enforcement.problem)
    else:
        why = reader.listed(reader.gettext(_BEHIND[point]) for point in enforcement.behind)
    return reader.gettext("Saved, but not in force yet: %(why)s.", why=why)
