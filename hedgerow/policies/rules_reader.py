"""Reads what every scope can say: allow, block, bedtime and the levels."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hedgerow.blocklists.rules import Origin
from hedgerow.policies import yaml_tree
from hedgerow.policies.model import Rules, Schedule, Span, Target, TargetKind
from hedgerow.policies.schedule import NIGHT_GROUPS, night_span, parse_days, parse_interval
from hedgerow.policies.schema import RawRules
from hedgerow.policies.targets import parse_target
from hedgerow.policies.yaml_tree import Tree

NEVER = "none"


class RulesReader:
    """Reads rules of one tree. `used` collects the categories that some rule names."""

    def __init__(self, tree: Tree, services: Collection[str], categories: Collection[str]) -> None:
        self.tree = tree
        self.used: set[str] = set()
        self._services, self._categories = services, categories

    def origin(self, path: yaml_tree.Path, key: bool = False) -> Origin:
        line, _ = self.tree.place_of(path, key)
        text = self.tree.lines[line - 1].strip() if line <= len(self.tree.lines) else ""
        return Origin(self.tree.source, line, text)

    def read(self, raw: RawRules, path: yaml_tree.Path) -> Rules:
        """What stands at `path` about one scope."""
        allow = self.targets(enumerate(raw.allow), (*path, "allow"))
        block = self.targets(enumerate(raw.block), (*path, "block"))
        allowed = {(target.kind, target.name): target for target in allow}
        for index, target in enumerate(block):
            both = allowed.get((target.kind, target.name))
            if both is not None:
                self.tree.add_problem((*path, "block", index), f"'{target.name}' is both allowed (line {both.origin.line}) and blocked")
        bedtime = None if raw.bedtime is None else self._bedtime(raw.bedtime, (*path, "bedtime"))
        return Rules(allow, block, bedtime, raw.safe_search, raw.youtube, raw.privacy)

    def targets(self, items: Iterable[tuple[int, str]], path: yaml_tree.Path) -> tuple[Target, ...]:
        """The items of a list at `path`, each with its place in that list."""
        found = []
        for index, item in items:
            try:
                target = parse_target(item, self._services, self._categories, self.origin((*path, index)))
            except ValueError as error:
                self.tree.add_problem((*path, index), str(error))
                continue
            if target.kind is TargetKind.CATEGORY:
                self.used.add(target.name)
            found.append(target)
        return tuple(found)

    def _bedtime(self, raw: object, path: yaml_tree.Path) -> Schedule:
        if isinstance(raw, dict):
            spans = self._spans_by_days(raw, path)
        elif raw == NEVER:
            spans = []
        else:
            spans = [night_span(day, start, end) for start, end in self._intervals(raw, path) for day in range(7)]
        origin = self.origin(path, key=True)
        return Schedule(tuple(sorted(spans, key=lambda span: (span.weekday, span.start))), origin, origin.text)

    def _spans_by_days(self, raw: dict[str, object], path: yaml_tree.Path) -> list[Span]:
        """Days by name count over groups, and groups over every-day."""
        chosen: dict[int, tuple[int, str]] = {}
        intervals: dict[str, list[tuple[int, int]]] = {}
        for key, value in raw.items():
            try:
                days, specificity = parse_days(key, NIGHT_GROUPS)
            except ValueError as error:
                self.tree.add_problem((*path, key), str(error), key=True)
                continue
            intervals[key] = [] if value == NEVER else self._intervals(value, (*path, key))
            for day in sorted(days):
                other = chosen.get(day)
                if other is not None and other[0] == specificity:
                    self.tree.add_problem((*path, key), f"'{key}' and '{other[1]}' speak of the same day", key=True)
                    break
                if other is None or other[0] < specificity:
                    chosen[day] = (specificity, key)
        return [night_span(day, start, end) for day, (_, key) in chosen.items() for start, end in intervals[key]]

    def _intervals(self, raw: object, path: yaml_tree.Path) -> list[tuple[int, int]]:
        found = []
        for index, item in enumerate(raw if isinstance(raw, list) else [raw]):
            place = (*path, index) if isinstance(raw, list) else path
            if not isinstance(item, str):
                self.tree.add_problem(place, 'a stretch of time is text such as "20:30-07:00"')
                continue
            try:
                found.append(parse_interval(item))
            except ValueError as error:
                self.tree.add_problem(place, str(error))
        return found
