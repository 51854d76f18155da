"""Many sources into one generation: a directory that is written beside its place and renamed into it.

The memory it takes does not grow with the lists: each source is parsed in stretches into sorted runs on disk (`intake`), and
the runs are merged range by range into tries (`merge`). A crash at any moment leaves nothing at the place of the generation.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import marisa_trie

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.generation import LAYOUT, REPORT, SETS, TEXTS, URLS, Meta, Part, ShardMeta, SourceMeta, write_meta
from hedgerow.blocklists.intake import Intake, take_in
from hedgerow.blocklists.merge import KeyRun, SetTable, choose_borders, fold_covered, merge_range
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source

KEYS_A_SHARD = 250_000
NUM_TRIES = 5  # more nested tries are smaller and slower; beyond five nothing is gained


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


def compile_generation(sources: Sequence[Source], out: Path, progress: Callable[[str], None] | None = None) -> CompileReport:
    """Compiles `sources` into the directory `out`, which must not exist yet.

    A source that cannot be used is a problem of the report, and the rest is compiled. `progress` is told each source's name.
    Raises OSError where the disk fails and FileExistsError where `out` exists; nothing is left behind then.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        report = _build(sources, building, progress or (lambda _name: None))
        building.chmod(0o755)
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return report


def _build(sources: Sequence[Source], building: Path, progress: Callable[[str], None]) -> CompileReport:
    (building / TEXTS).mkdir()
    work = building / "work"
    metas, intakes, digest = [], [], hashlib.sha256(bytes([LAYOUT]))
    for index, source in enumerate(_with_own_names(sources)):
        progress(source.name)
        source_meta, intake = _take_in_source(source, index, building, work / str(index), digest)
        metas.append(source_meta)
        intakes.append(intake)
    table = SetTable()
    shards, numbers, counts = _write_shards(intakes, table, building)
    set_bytes = _write_sets(building / SETS, numbers, len(table.sets))
    _gather_urls(work, len(sources), building / URLS)
    shutil.rmtree(work, ignore_errors=True)
    meta = Meta(_version(digest), _category_names(sources), tuple(metas), tuple(table.sets), shards, set_bytes)
    write_meta(building, meta)
    report = _report(meta, intakes, counts, sum((building / shard.trie).stat().st_size for shard in shards) + len(numbers) * set_bytes)
    (building / REPORT).write_text(json.dumps(asdict(report), ensure_ascii=False, indent=1), encoding="utf-8")
    _flush(building)
    return report


def _with_own_names(sources: Sequence[Source]) -> Iterator[Source]:
    """A name must lead to one list when somebody asks why, so a name that comes again gets a number."""
    seen = Counter[str]()
    for source in sources:
        seen[source.name] += 1
        yield source if seen[source.name] == 1 else replace(source, name=f"{source.name} ({seen[source.name]})")


def _take_in_source(source: Source, index: int, building: Path, work: Path, digest: hashlib._Hash) -> tuple[SourceMeta, Intake]:
    """Copies the list into the generation first: what is parsed is what is kept, whatever happens to the file meanwhile."""
    text = f"{TEXTS}/{index:04}.txt"
    work.mkdir(parents=True)
    intake = Intake()
    try:
        if source.path is None:
            raise FileNotFoundError(2, "not downloaded yet")
        shutil.copyfile(source.path, building / text)
    except OSError as error:
        (building / text).unlink(missing_ok=True)
        intake.report([Problem(source.name, None, None, f"cannot be read: {error.strerror}", str(source.path or source.url))])
    else:
        intake = take_in(building / text, source.name, source.category, source.format, work)
    digest.update(_fingerprint(source, building / text))
    return SourceMeta(source.name, source.category, intake.format, text), intake


def version_of(sources: Sequence[Source]) -> str:
    """The version that a generation of these sources would have, without compiling it: whether anything changed."""
    digest = hashlib.sha256(bytes([LAYOUT]))
    for source in _with_own_names(sources):
        digest.update(_fingerprint(source, source.path))
    return _version(digest)


def _version(digest: hashlib._Hash) -> str:
    return hashlib.sha256(digest.digest() + repr(builtin_categories()).encode()).hexdigest()[:16]


def _fingerprint(source: Source, text: Path | None) -> bytes:
    try:
        if text is None:
            raise FileNotFoundError
        with text.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        content = ""
    return repr((source.name, source.category, source.format, content)).encode()


def _category_names(sources: Sequence[Source]) -> tuple[str, ...]:
    """The taxonomy's order, so that bits mostly stay the same; then what only the sources name."""
    known = [category.name for category in builtin_categories()]
    return (*known, *sorted({source.category for source in sources}.difference(known)))


def _write_shards(intakes: Sequence[Intake], table: SetTable, building: Path) -> tuple[tuple[ShardMeta, ...], array[int], Counter[int]]:
    """Writes the tries; also returns the set number of each key id, and how many domains there are of each set."""
    runs = [KeyRun(run.path, len(Part) * index + run.part) for index, intake in enumerate(intakes) for run in intake.runs]
    shards: list[ShardMeta] = []
    numbers, counts = array("I"), Counter[int]()
    try:
        borders = choose_borders(runs, KEYS_A_SHARD) if runs else []
        for first, border in zip(["", *borders], [*borders, None], strict=True):
            merged = merge_range(runs, border, table)
            counts.update(merged.values())
            trie_file = f"hosts-{len(shards):03}.trie"
            in_shard = _write_trie(dict(fold_covered(merged, table)), building / trie_file)
            shards.append(ShardMeta(first, trie_file, len(in_shard), len(numbers)))
            numbers += in_shard
    finally:
        for run in runs:
            run.close()
    return tuple(shards), numbers, counts


def _write_trie(folded: dict[str, int], path: Path) -> array[int]:
    """Builds and saves a shard's trie. Returns the set number for each key id."""
    trie = marisa_trie.Trie(folded, num_tries=NUM_TRIES)
    trie.save(str(path))
    if not folded:
        return array("I")
    # Asking the trie for each key's id costs more than all else here, so the commonest set is filled in beforehand.
    commonest = Counter(folded.values()).most_common(1)[0][0]
    numbers = array("I", [commonest]) * len(folded)
    for key, number in folded.items():
        if number != commonest:
            numbers[trie.key_id(key)] = number
    return numbers


def _write_sets(path: Path, numbers: array[int], sets: int) -> int:
    """Writes the set numbers as narrow as they allow. Returns the bytes that each takes."""
    code = "B" if sets <= 1 << 8 else "H" if sets <= 1 << 16 else "I"
    narrow = array(code, numbers)
    with path.open("wb") as file:
        narrow.tofile(file)
    return narrow.itemsize


def _gather_urls(work: Path, sources: int, out: Path) -> None:
    with out.open("w", encoding="utf-8") as file:
        for index in range(sources):
            rules = work / str(index) / URLS
            if rules.exists():
                with rules.open(encoding="utf-8") as lines:
                    file.writelines(f'{{"source": {index}, {line[1:]}' for line in lines)


def _report(meta: Meta, intakes: Sequence[Intake], counts: Counter[int], index_bytes: int) -> CompileReport:
    domains, unique = 0, Counter[int]()
    for number, count in counts.items():
        owners = [entry // len(Part) for entry in meta.sets[number] if entry % len(Part) == Part.BLOCK]
        domains += count if owners else 0
        if len(owners) == 1:
            unique[owners[0]] += count
    pairs = enumerate(zip(meta.sources, intakes, strict=True))
    reports = tuple(_report_source(source, intake, unique[index]) for index, (source, intake) in pairs)
    return CompileReport(
        version=meta.version,
        domains=domains,
        keys=sum(shard.keys for shard in meta.shards),
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


def _flush(building: Path) -> None:
    """On the disk before the rename, so that a power cut cannot leave a generation with holes at its place."""
    for path in (*building.iterdir(), *(building / TEXTS).iterdir(), building):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
