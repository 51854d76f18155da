"""Compilation of sources into a generation: a directory that is written next to its place and renamed into it.

Memory does not grow with the lists: each source is parsed in blocks into sorted runs on disk (`list_parser`), and the
runs are merged range by range into tries (`host_index`). Parsed sources are cached (`ParseCache`), so that only a
changed source is parsed again. A crash at any moment leaves nothing at the place of the generation.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.generation import (
    ALL_CATEGORIES,
    DNS_RULES,
    FORMAT_VERSION,
    HOST_PATTERNS,
    HOSTS,
    REPORT,
    TEXTS,
    URL_RULES,
    EntryKind,
    GenerationMeta,
    SourceMeta,
    write_checksums,
    write_meta,
)
from hedgerow.blocklists.host_index import KeyCounts, write_host_index
from hedgerow.blocklists.list_parser import (
    ParseCache,
    ParsedSource,
    engine_digest,
    flush_folder,
    is_corrected,
    link_or_copy,
    read_rules,
)
from hedgerow.blocklists.rule_modifiers import parse_modifiers
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source, essential_source
from hedgerow.blocklists.url_index import GroupedRules, SourceRule, group_rules, write_url_index


@dataclass(frozen=True, slots=True)
class SourceReport:
    """The figures of one source.

    `names` are counted as written; `unique` are distinct blocked names that no other source has; problems and lines
    ignored on purpose are counted by kind. `corrections` are the canaries that it names, with their topics.
    """

    name: str
    category: str
    format: str
    lines: int
    names: int
    unique: int
    url_rules: int
    problems: dict[str, int]
    ignored: dict[str, int]
    corrections: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompileReport:
    """The figures of a generation.

    `domains` are the distinct names that the lists block; `keys` are those in the index, without covered names;
    `skipped` counts problems; `index_bytes` is the size of the index of hosts; `categories` are the distinct names per
    category.
    """

    version: str
    domains: int
    keys: int
    url_rules: int
    skipped: int
    index_bytes: int
    problems: tuple[Problem, ...]
    sources: tuple[SourceReport, ...]
    categories: dict[str, int] = field(default_factory=dict)


def compile_generation(
    sources: Sequence[Source],
    out: Path,
    progress: Callable[[str], None] | None = None,
    parsed: Path | None = None,
) -> CompileReport:
    """Compile `sources` into the directory `out`, which must not exist yet.

    A source that cannot be used is a problem of the report, and the rest is compiled. `progress` is called with each
    source's name. `parsed` is a folder for the parse cache; it may be absent or damaged. Raises OSError if the disk
    fails and FileExistsError if `out` exists; nothing is left behind then.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        report = _build(sources, building, ParseCache(parsed or building / "work"), progress or (lambda _name: None))
        building.chmod(0o755)
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return report


def _build(
    sources: Sequence[Source], building: Path, lists: ParseCache, progress: Callable[[str], None]
) -> CompileReport:
    (building / TEXTS).mkdir()
    metas, parsed_sources = [], []
    for index, source in enumerate((*_with_unique_names(sources), essential_source())):
        progress(source.name)
        name, parsed_source = lists.parse_source(source)
        text = f"{TEXTS}/{index:04}.txt"
        if name:
            link_or_copy(lists.text_of(name), building / text)
        metas.append(SourceMeta(source.name, source.category, parsed_source.format, text, name, is_corrected(source)))
        parsed_sources.append(parsed_source)
    progress("")
    categories = [meta.category for meta in metas]
    rules = group_rules(_read_rules(metas, lists, sources, parsed_sources), categories)
    _write_rules(rules, building)
    hosts, totals = write_host_index(parsed_sources, categories, rules.badfilters, building / HOSTS)
    shutil.rmtree(building / "work", ignore_errors=True)
    version = _version([(meta.name, meta.category, meta.parsed) for meta in metas])
    meta = GenerationMeta(version, _category_names(sources), tuple(metas), hosts)
    write_meta(building, meta)
    report = _report(meta, parsed_sources, totals, sum(path.stat().st_size for path in (building / HOSTS).iterdir()))
    (building / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    write_checksums(building, leave_out=[TEXTS])  # decisions do not depend on the texts, only explanations do
    for folder in (building / TEXTS, building / URL_RULES, building / DNS_RULES, building / HOSTS):
        flush_folder(folder)
    flush_folder(building)
    return report


def _write_rules(rules: GroupedRules, building: Path) -> None:
    write_url_index(rules.urls, building / URL_RULES)
    write_url_index(rules.dns, building / DNS_RULES)
    (building / HOST_PATTERNS).write_bytes(msgspec.json.encode(rules.names))


def _with_unique_names(sources: Sequence[Source]) -> Iterator[Source]:
    """Number names that recur: explanations need one list per name."""
    seen = Counter[str]()
    for source in sources:
        seen[source.name] += 1
        yield source if seen[source.name] == 1 else replace(source, name=f"{source.name} ({seen[source.name]})")


def _version(contents: Sequence[tuple[str, str, str]]) -> str:
    return hashlib.sha256(repr((FORMAT_VERSION, engine_digest(), contents, builtin_categories())).encode()).hexdigest()[
        :16
    ]


def _category_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the categories in the taxonomy's order, so that bits rarely change; then those that only sources name."""
    known = [category.name for category in builtin_categories()]
    return (*known, *sorted({source.category for source in sources}.difference(known)))


def _read_rules(
    metas: Sequence[SourceMeta], lists: ParseCache, sources: Sequence[Source], parsed_sources: Sequence[ParsedSource]
) -> Iterator[SourceRule]:
    """Yield the URL rules of all sources, without rewrites in downloaded lists, which could send people to
    any address.
    """
    message = "modifier not honoured: $dnsrewrite to another address, in a list that is downloaded"
    for index, (meta, parsed_source) in enumerate(zip(metas, parsed_sources, strict=True)):
        is_downloaded = index < len(sources) and bool(sources[index].url)
        for rule in read_rules(lists.folder / meta.parsed) if meta.parsed else ():
            if is_downloaded and rule.options and parse_modifiers(rule.options).rewrite:
                parsed_source.report([Problem(meta.name, rule.line, None, message, rule.text[:200], rule.file)])
                parsed_source.url_rules -= 1
            else:
                yield index, rule


def _report(
    meta: GenerationMeta, parsed_sources: Sequence[ParsedSource], totals: KeyCounts, index_bytes: int
) -> CompileReport:
    domains, unique, categories = 0, Counter[int](), Counter[str]()
    for entries, count in totals.items():
        owners = [entry // len(EntryKind) for entry in entries if entry % len(EntryKind) == EntryKind.BLOCK]
        domains += count if owners else 0
        if len(owners) == 1:
            unique[owners[0]] += count
        for category in {meta.sources[owner].category for owner in owners}:
            categories[category] += count
    pairs = enumerate(zip(meta.sources, parsed_sources, strict=True))
    reports = tuple(
        _report_source(source, parsed_source, unique[index])
        for index, (source, parsed_source) in pairs
        if source.category != ALL_CATEGORIES
    )
    return CompileReport(
        version=meta.version,
        domains=domains,
        keys=meta.hosts.keys,
        url_rules=sum(report.url_rules for report in reports),
        skipped=sum(sum(report.problems.values()) for report in reports),
        index_bytes=index_bytes,
        problems=tuple(problem for parsed_source in parsed_sources for problem in parsed_source.problems),
        sources=reports,
        categories=dict(categories),
    )


def _report_source(source: SourceMeta, parsed_source: ParsedSource, unique: int) -> SourceReport:
    return SourceReport(
        name=source.name,
        category=source.category,
        format=parsed_source.format,
        lines=parsed_source.lines,
        names=parsed_source.names,
        unique=unique,
        url_rules=parsed_source.url_rules,
        problems=dict(parsed_source.problem_counts.most_common()),
        ignored=dict(parsed_source.ignored),
        corrections=parsed_source.corrections,
    )
