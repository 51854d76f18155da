"""Reading of the rules of a scope: targets, schedules and content."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hedgerow.blocklists.names import parse_host
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.content import FILE_KINDS, ContentRules, Tenants, plain_words
from hedgerow.policies.model import Rules, Target, TargetKind, TimedRules, Verdict
from hedgerow.policies.reading.feature_keys import read_scores
from hedgerow.policies.reading.schema import SCORE_KEYS, RawItem, RawNameRecognition, RawRules, RawSchedule, RawTenants
from hedgerow.policies.reading.times import TimesReader
from hedgerow.policies.targets import INTERNET, check_allowable, parse_target
from hedgerow.policies.text import yaml_tree
from hedgerow.policies.text.suggestions import did_you_mean, guess_date, suggest, with_hint
from hedgerow.policies.text.yaml_tree import YamlTree
from hedgerow.policies.youtube import parse_youtube_item

_DIRECTORY = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def read_content(tree: YamlTree, raw: RawRules, path: yaml_tree.KeyPath) -> ContentRules:
    """Read the content rules at `path`; mistakes are added to the tree's problems."""
    for index, term in enumerate(raw.block_searches):
        if not plain_words(term).strip():
            tree.add_problem((*path, "block_searches", index), f"'{term}' contains no word")
    for index, kind in enumerate(raw.block_files or ()):
        if kind not in FILE_KINDS:
            message = f"unknown kind of file '{kind}'.{suggest(kind, FILE_KINDS)} Kinds: {', '.join(FILE_KINDS)}."
            tree.add_problem((*path, "block_files", index), message)
    chosen = (
        None if raw.youtube_only is None else tuple(_youtube_items(tree, raw.youtube_only, (*path, "youtube_only")))
    )
    scan = raw.page_scan
    limit = None if scan is None else 0 if scan.limit is None and scan.everywhere is None else scan.limit
    everywhere = None if scan is None else scan.everywhere
    files = None if raw.block_files is None else tuple(raw.block_files)
    names = raw.recognise_names or RawNameRecognition()
    return ContentRules(
        *(
            raw.pass_through,
            limit,
            everywhere,
            tuple(raw.block_searches),
            files,
            _tenants(tree, raw.tenants, path),
            chosen,
        ),
        scores=read_scores(raw, SCORE_KEYS),
        name_block=names.block,
        name_mark=names.mark,
    )


def _youtube_items(tree: YamlTree, texts: list[str], path: yaml_tree.KeyPath) -> Iterator[str]:
    for index, text in enumerate(texts):
        try:
            yield parse_youtube_item(text)
        except ValueError as error:
            tree.add_problem((*path, index), str(error))


def _tenants(tree: YamlTree, raw: RawTenants | None, path: yaml_tree.KeyPath) -> Tenants | None:
    """Read the allowed organisations. They go into header fields, so only names and ids are valid."""
    if raw is None:
        return None
    for key, texts in (("google", raw.google), ("microsoft", raw.microsoft)):
        for index, text in enumerate(texts):
            if parse_host(text) is None:
                tree.add_problem(
                    (*path, "tenants", key, index),
                    f"'{text}' is not the domain of an organisation, such as school.example",
                )
    if raw.microsoft and (raw.directory is None or _DIRECTORY.fullmatch(raw.directory) is None):
        say = "Microsoft needs the id of your own directory, such as `directory: 00000000-1111-2222-3333-444444444444`"
        tree.add_problem((*path, "tenants"), say, key=True)
    return Tenants(tuple(raw.google), tuple(raw.microsoft), raw.directory or "")


_OF_RULES = RawRules.model_fields.keys()
NO_RULES = Rules()

_OPENING = frozenset({"allow", "always", "only"})


class RulesReader:
    """Reader of the rules of one tree.

    `used` collects the categories that rules name; `zone` is the time zone of each `until`.
    """

    def __init__(self, tree: YamlTree, services: Collection[str], categories: Collection[str]) -> None:
        self.tree = tree
        self.used: set[str] = set()
        self.zone = ZoneInfo("UTC")
        self._services, self._categories = services, categories
        self.times = TimesReader(tree, self.origin, self.subject)

    def origin(self, path: yaml_tree.KeyPath, key: bool = False) -> Origin:
        return self.tree.origin_of(path, key)

    def read(self, raw: RawRules, path: yaml_tree.KeyPath) -> Rules:
        """Read the rules of the scope at `path`. Scopes without rules, such as most devices, share one object."""
        if not _OF_RULES & raw.model_fields_set:
            return NO_RULES
        allow, block = self._allow_and_block(raw, path)
        return Rules(
            allow,
            block,
            None if raw.bedtime is None else self.times.bedtime(raw.bedtime, (*path, "bedtime")),
            raw.safe_search,
            raw.youtube,
            raw.privacy,
            None if raw.budget is None else self.times.budget(raw.budget, (*path, "budget")),
            tuple(self._timed(name, entry, (*path, "schedules", name)) for name, entry in raw.schedules.items()),
            raw.retention,
            read_content(self.tree, raw, path),
        )

    def _allow_and_block(self, raw: RawRules, path: yaml_tree.KeyPath) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
        always = tuple(
            replace(target, always=True) for target in self.targets(enumerate(raw.always), (*path, "always"))
        )
        allowed = (*always, *self.targets(enumerate(raw.allow), (*path, "allow")))
        blocked = self.targets(enumerate(raw.block), (*path, "block"))
        known = {(target.kind, target.name): target for target in allowed}
        for index, target in enumerate(blocked):
            both = known.get((target.kind, target.name))
            if both is not None and both.until is None and target.until is None:
                self.tree.add_problem(
                    (*path, "block", index), f"'{target.name}' is both allowed (line {both.origin.line}) and blocked"
                )
        return allowed, blocked

    def targets(
        self, items: Iterable[tuple[int, RawItem]], path: yaml_tree.KeyPath, *others: str
    ) -> tuple[Target, ...]:
        """Read the items of the list at `path`, each with its index there. `others` are further words to suggest."""
        found = []
        for index, item in items:
            place = (*path, index)
            target = self._target(item.what, place, others)
            if target is not None and path[-1] in _OPENING:
                self._check_allowable(target, place)
            if target is not None:
                until = None if item.until is None else self._instant(item.until, (*place, "until"))
                found.append(replace(target, until=until, note=item.note))
        return tuple(found)

    def subject(self, text: str, path: yaml_tree.KeyPath) -> str | None:
        """Read the category or service of a budget; None, with a problem, for anything else."""
        target = self._target(text, path)
        if target is None:
            return None
        if target.kind not in {TargetKind.CATEGORY, TargetKind.SERVICE}:
            self.tree.add_problem(path, f"'{text}' is neither a category nor a service: budgets are only for those")
            return None
        return f"{target.kind.value}:{target.name}"

    def _target(self, text: str, path: yaml_tree.KeyPath, others: Collection[str] = ()) -> Target | None:
        try:
            target = parse_target(text, self._services, self._categories, self.origin(path), others)
        except ValueError as error:
            self.tree.add_problem(path, str(error))
            return None
        if target.kind is TargetKind.CATEGORY:
            self.used.add(target.name)
        return target

    def _check_allowable(self, target: Target, path: yaml_tree.KeyPath) -> None:
        try:
            check_allowable(target)
        except ValueError as error:
            self.tree.add_problem(path, str(error))

    def _timed(self, name: str, raw: RawSchedule, path: yaml_tree.KeyPath) -> TimedRules:
        when = self.times.schedule(raw.when, (*path, "when"))
        closes, opens, otherwise = (
            any(item.what == INTERNET for item in items) for items in (raw.block, raw.allow, raw.only)
        )
        if not (raw.allow or raw.block or raw.only):
            self.tree.add_problem(path, f"the schedule '{name}' neither allows nor blocks anything", key=True)
        if closes and (opens or otherwise):
            self.tree.add_problem(path, f"the schedule '{name}' both allows and blocks the internet", key=True)
        # Indexes stay those of the file, so that problems have the right line.
        allow, block, only = (
            self.targets(((n, item) for n, item in enumerate(items) if item.what != INTERNET), (*path, key), INTERNET)
            for key, items in (("allow", raw.allow), ("block", raw.block), ("only", raw.only))
        )
        for target in only:
            if any((other.kind, other.name) == (target.kind, target.name) for other in block):
                self.tree.add_problem(
                    path, f"the schedule '{name}' blocks '{target.name}' even when `only` opens it", key=True
                )
        verdict = Verdict.BLOCK if closes else Verdict.ALLOW if opens else None
        return TimedRules(
            name,
            when,
            self.origin(path, key=True),
            allow=(*allow, *only),
            block=block,
            internet=verdict,
            note=raw.note,
            otherwise=only,
            closed_otherwise=otherwise,
            unless=getattr(raw, "unless", None) or "",
        )

    def _instant(self, text: str, path: yaml_tree.KeyPath) -> float | None:
        """Read the end of a rule in `zone`: the end of a date, or a date with a time."""
        try:
            if len(text) == len("2026-12-01"):
                day = date.fromisoformat(text) + timedelta(days=1)
                return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()
            return datetime.fromisoformat(text).replace(tzinfo=self.zone).timestamp()
        except (ValueError, OverflowError):
            say = f"'{text}' is not a date, such as 2026-12-01, or a date with a time, such as 2026-12-01 18:00"
            self.tree.add_problem(path, with_hint(say, did_you_mean(guess_date(text))))
            return None
