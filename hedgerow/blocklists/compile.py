"""Many sources into one generation: a directory that is written beside its place and renamed into it.

The memory it takes does not grow with the lists: each source is parsed in stretches into sorted runs on disk (`intake`), and
the runs are merged range by range into tries (`merge`, `layers`). What a source was parsed to is kept (`parsed`), so that
only a source that changed is parsed again, and where little changed the tries of the generation before are used again.
A crash at any moment leaves nothing at the place of the generation.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.checksums import is_whole, write_checksums
from hedgerow.blocklists.conditions import parse_conditions
from hedgerow.blocklists.essential import essential_source
from hedgerow.blocklists.generation import (
    ASKERS,
    EVERY,
    LAYOUT,
    NAMES,
    REPORT,
    TEXTS,
    URLS,
    Meta,
    Part,
    SourceMeta,
    read_meta,
    write_meta,
)
from hedgerow.blocklists.intake import Intake, read_rules
from hedgerow.blocklists.layers import Content, Plan, Totals, plan_reuse, write_change, write_whole
from hedgerow.blocklists.parsed import ParsedLists, engine, flush_folder, link_or_copy
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sorted_rules import Owned, SortedRules, sort_rules
from hedgerow.blocklists.sources import Source
from hedgerow.blocklists.url_index import write_url_index


@dataclass(frozen=True, slots=True)
class SourceReport:
    """`names` are counted as written; `unique` are distinct blocked names that no other source has; problems and what was
    ignored on purpose are counted by kind."""

    name: str
    category: str
    format: str
    lines: int
    names: int
    unique: int
    url_rules: int
    problems: dict[str, int]
    ignored: dict[str, int]


@dataclass(frozen=True, slots=True)
class CompileReport:
    """`domains` are the distinct names that the lists block; `keys` are what the index holds, after names that are covered were
    folded away; `skipped` counts problems; `index_bytes` is the size of the tries and the set numbers."""

    version: str
    domains: int
    keys: int
    url_rules: int
    skipped: int
    index_bytes: int
    problems: tuple[Problem, ...]
    sources: tuple[SourceReport, ...]


def compile_generation(
    sources: Sequence[Source],
    out: Path,
    progress: Callable[[str], None] | None = None,
    parsed: Path | None = None,
    before: Path | None = None,
) -> CompileReport:
    """Compiles `sources` into the directory `out`, which must not exist yet.

    A source that cannot be used is a problem of the report, and the rest is compiled. `progress` is told each source's name.
    `parsed` is a folder in which parsed lists are kept from one compile to the next, `before` a generation whose tries are
    used again where that saves work; both may be absent or damaged, and change nothing but the time it takes.
    Raises OSError where the disk fails and FileExistsError where `out` exists; nothing is left behind then.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        report = _build(sources, building, ParsedLists(parsed or building / "work"), before, progress or (lambda _name: None))
        building.chmod(0o755)
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return report


def _build(
    sources: Sequence[Source], building: Path, lists: ParsedLists, before: Path | None, progress: Callable[[str], None]
) -> CompileReport:
    (building / TEXTS).mkdir()
    metas, intakes = [], []
    for index, source in enumerate((*_with_own_names(sources), essential_source())):
        progress(source.name)
        name, intake = lists.take_in(source)
        text = f"{TEXTS}/{index:04}.txt"
        if name:
            link_or_copy(lists.text_of(name), building / text)
        metas.append(SourceMeta(source.name, source.category, intake.format, text, name))
        intakes.append(intake)
    progress("")
    categories = [meta.category for meta in metas]
    rules = sort_rules(_without_foreign_rewrites(_url_rules(metas, lists), sources, intakes), categories)
    _write_rules(rules, building)
    content = Content(intakes, categories, rules.taken_back)
    plan = _plan(metas, content, before)
    layers, totals = write_change(plan, content, building) if plan else write_whole(content, building)
    shutil.rmtree(building / "work", ignore_errors=True)
    version = _version([(meta.name, meta.category, meta.parsed) for meta in metas])
    meta = Meta(version, _category_names(sources), tuple(metas), layers, rules.taken_back)
    write_meta(building, meta)
    report = _report(meta, intakes, totals, sum(path.stat().st_size for path in building.glob("layer-*/*")))
    (building / REPORT).write_text(json.dumps(asdict(report), ensure_ascii=False, indent=1), encoding="utf-8")
    write_checksums(building, leave_out=[TEXTS])  # what is blocked does not hang on those; they only tell the line
    for folder in (building / TEXTS, building / URLS, building / ASKERS, *building.glob("layer-*")):
        flush_folder(folder)
    flush_folder(building)
    return report


def _write_rules(rules: SortedRules, building: Path) -> None:
    write_url_index(rules.urls, building / URLS)
    write_url_index(rules.askers, building / ASKERS)
    rows = [(source, rule.line, rule.exception, rule.pattern, rule.text, rule.file) for source, rule in rules.names]
    (building / NAMES).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def _plan(metas: Sequence[SourceMeta], content: Content, before: Path | None) -> Plan | None:
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        return plan_reuse(metas, content, before, read_meta(before)) if before and is_whole(before) else None
    return None


def _with_own_names(sources: Sequence[Source]) -> Iterator[Source]:
    """A name must lead to one list when somebody asks why, so a name that comes again gets a number."""
    seen = Counter[str]()
    for source in sources:
        seen[source.name] += 1
        yield source if seen[source.name] == 1 else replace(source, name=f"{source.name} ({seen[source.name]})")


def _version(contents: Sequence[tuple[str, str, str]]) -> str:
    return hashlib.sha256(repr((LAYOUT, engine(), contents, builtin_categories())).encode()).hexdigest()[:16]


def _category_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """The taxonomy's order, so that bits mostly stay the same; then what only the sources name."""
    known = [category.name for category in builtin_categories()]
    return (*known, *sorted({source.category for source in sources}.difference(known)))


def _url_rules(metas: Sequence[SourceMeta], lists: ParsedLists) -> Iterator[Owned]:
    for index, meta in enumerate(metas):
        for rule in read_rules(lists.folder / meta.parsed) if meta.parsed else ():
            yield index, rule


def _without_foreign_rewrites(rules: Iterable[Owned], sources: Sequence[Source], intakes: Sequence[Intake]) -> Iterator[Owned]:
    """Only a list of the owner's may say where names lead: one that is downloaded could lead people to any address."""
    for index, rule in rules:
        if not (rule.options and parse_conditions(rule.options).rewrite and index < len(sources) and sources[index].url):
            yield index, rule
            continue
        message = "modifier not honoured: $dnsrewrite to another address, in a list that is downloaded"
        intakes[index].report([Problem(sources[index].name, rule.line, None, message, rule.text[:200], rule.file)])
        intakes[index].url_rules -= 1


def _report(meta: Meta, intakes: Sequence[Intake], totals: Totals, index_bytes: int) -> CompileReport:
    domains, unique = 0, Counter[int]()
    for entries, count in totals.items():
        owners = [entry // len(Part) for entry in entries if entry % len(Part) == Part.BLOCK]
        domains += count if owners else 0
        if len(owners) == 1:
            unique[owners[0]] += count
    pairs = enumerate(zip(meta.sources, intakes, strict=True))
    reports = tuple(_report_source(source, intake, unique[index]) for index, (source, intake) in pairs if source.category != EVERY)
    return CompileReport(
        version=meta.version,
        domains=domains,
        keys=sum(layer.keys for layer in meta.layers),
        url_rules=sum(report.url_rules for report in reports),
        skipped=sum(sum(report.problems.values()) for report in reports),
        index_bytes=index_bytes,
        problems=tuple(problem for intake in intakes for problem in intake.problems),
        sources=reports,
    )


def _report_source(source: SourceMeta, intake: Intake, unique: int) -> SourceReport:
    return SourceReport(
        name=source.name,
        category=source.category,
        format=intake.format,
        lines=intake.lines,
        names=intake.names,
        unique=unique,
        url_rules=intake.url_rules,
        problems=dict(intake.problem_counts.most_common()),
        ignored=dict(intake.ignored),
    )
