"""From one source's text to sorted runs of index keys on disk, in memory that does not grow with the list."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import publicsuffixlist

from hedgerow.blocklists.archives import UnpackError, UnpackResult, content_digest, problems_of, unpack
from hedgerow.blocklists.categories import CategoryKind, builtin_categories, is_good
from hedgerow.blocklists.formats import FORMATS, ListFormat, detect, format_named
from hedgerow.blocklists.formats.line_parser import PRIVATE_NETWORKS
from hedgerow.blocklists.formats.sealed import hash_key
from hedgerow.blocklists.generation import ALL_CATEGORIES, EntryKind, matches_checksums, write_checksums
from hedgerow.blocklists.line_reader import LineBlock, read_line_blocks
from hedgerow.blocklists.names import is_address, load_public_suffixes, rule_key
from hedgerow.blocklists.rules import ParsedLines, PatternKind, Problem, UrlRule
from hedgerow.blocklists.sources import ESSENTIAL_PROBLEM, Source, essential_hosts

RULES_FILE = "urls.jsonl"
KEYS_PER_RUN = 50_000
"""Keys that are gathered and sorted in memory before they are written."""

MAX_REPORTED_PROBLEMS = 100
"""Problems of one source that are reported in full; all are counted."""

MAX_PROBLEM_KINDS = 200
"""Kinds of problems that are counted by name: what a list makes up must not fill the memory."""
OTHER_PROBLEM_KINDS = "problems of other kinds"

MAX_HOST_PATTERNS = 20_000
"""Patterns of names in one list: every worker holds them all, and is busy for a second when it takes so many up. Lists that are
published have some hundred."""
TOO_MANY_PATTERNS = f"more than {MAX_HOST_PATTERNS:,} patterns of names in one list"

SINGLE_SITE_CATEGORIES = frozenset({"ads-trackers", "malware", "phishing", "crypto-mining", "new-domains"})
"""Categories whose lists name single bad sites: a hoster's whole domain among them is a mistake. A list of, say, dynamic-DNS
or social services names hosters because it means them."""


_PRIVATE_NETWORKS = tuple(
    map(ip_network, ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10"))
)


@dataclass(slots=True)
class KeyRunFile:
    """A file of sorted, distinct keys, one a line, all of one part. `size` is in bytes."""

    part: EntryKind
    path: Path
    size: int


@dataclass(slots=True)
class ParsedSource:
    """What was taken in from one source. `names` counts names as written, `keys` those in the runs, before duplicates
    of other runs are folded away."""

    format: str = ""
    lines: int = 0
    names: int = 0
    keys: int = 0
    url_rules: int = 0
    runs: list[KeyRunFile] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_counts: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    kept: int = MAX_REPORTED_PROBLEMS

    def report(self, problems: list[Problem]) -> None:
        for problem in problems:
            is_named = problem.message in self.problem_counts or len(self.problem_counts) < MAX_PROBLEM_KINDS
            self.problem_counts[problem.message if is_named else OTHER_PROBLEM_KINDS] += 1
        self.problems += problems[: max(0, self.kept - len(self.problems))]


def parse_source(text: Path, name: str, category: str, wanted_format: str, work: Path, kept: int = MAX_REPORTED_PROBLEMS) -> ParsedSource:
    """Parses the list at `text`; runs and URL rules (RULES) are written into the directory `work`.

    Never raises for what the list says: an unreadable, empty or unknown list is an `ParsedSource` with problems and no runs.
    """
    parsed_source = ParsedSource(kept=kept)
    writer = _RunWriter(work, parsed_source, EntryKind.EXCEPT if category == ALL_CATEGORIES else EntryKind.BLOCK)
    refused, room = _refused_names(category), MAX_HOST_PATTERNS
    try:
        trouble: list[Problem] = []
        for stretch, known in _with_formats(read_line_blocks(text, name, trouble), trouble, name, wanted_format, parsed_source):
            parsed = known.parse(stretch.lines, stretch.first, name)
            parsed_source.lines += len(stretch.lines)
            _refuse_names(parsed, known, stretch, name, refused)
            _leave_out_private(parsed)
            room -= _limit_patterns(parsed, room, name)
            writer.add(parsed, stretch.file)
            problems = sorted(parsed.problems + trouble, key=lambda problem: problem.line or 0)
            trouble.clear()
            parsed_source.report([replace(problem, file=stretch.file) for problem in problems] if stretch.file else problems)
            parsed_source.ignored += parsed.ignored
    except OSError as error:
        parsed_source.report([Problem(name, None, None, f"cannot be read: {error.strerror}")])
    writer.close()
    return parsed_source


def read_rules(folder: Path) -> Iterator[UrlRule]:
    """The URL rules that `parse_source` wrote into a folder."""
    with contextlib.suppress(FileNotFoundError), (folder / RULES_FILE).open(encoding="utf-8") as lines:
        for line in lines:
            data = json.loads(line)
            yield UrlRule(**{**data, "kind": PatternKind(data["kind"])})


def _with_formats(
    stretches: Iterator[LineBlock], trouble: list[Problem], name: str, wanted: str, parsed_source: ParsedSource
) -> Iterator[tuple[LineBlock, ListFormat]]:
    """Each stretch with its format; without those of files whose format is not known, which is a problem of each file."""
    file, known = None, None
    for stretch in stretches:
        if stretch.file != file:
            file = stretch.file
            form = stretch.format if stretch.format not in ("", "auto") and wanted in ("auto", "squidguard", "v2fly") else wanted
            known = _choose_format(stretch, form, trouble, name, parsed_source)
        if known is not None:
            yield stretch, known
        else:
            trouble.clear()  # of a file that is no list, that it is none says it all
    if file is None:
        parsed_source.report([Problem(name, None, None, "is empty")])
    parsed_source.report(trouble)


def _choose_format(stretch: LineBlock, wanted: str, trouble: list[Problem], name: str, parsed_source: ParsedSource) -> ListFormat | None:
    sample = stretch.lines[:5000]
    known = detect(sample) if wanted == "auto" else format_named(wanted)
    if not any(line.strip() for line in stretch.lines):
        if not stretch.file:  # a file of a folder may well be empty
            parsed_source.report([Problem(name, None, None, "is binary data, not a list" if trouble else "is empty")])
        return None
    if known is None:
        what, shown = f"no such format: {wanted}; there are {', '.join(each.name for each in FORMATS)}", ""
        if wanted == "auto":
            what = "is binary data, not a list" if trouble else "is in no format that is known"
            shown = ascii(next(filter(str.strip, sample), ""))[:80]
        parsed_source.report([Problem(name, None, None, f"{stretch.file} {what}".strip(), shown)])
        return None
    parsed_source.format = ("v2fly" if stretch.format.startswith("v2fly") else "squidguard") if stretch.file else known.name
    return known


def _refused_names(category: str) -> dict[str, str]:
    """Names that a list of `category` must not block, each with the reason."""
    if category == ALL_CATEGORIES or any(known.name == category and known.kind == CategoryKind.GOOD for known in builtin_categories()):
        return {}  # nhs.uk and gov.uk are suffixes, and whole of them is worth reaching
    return _suffixes_and_essential(with_hosters=category in SINGLE_SITE_CATEGORIES)


@functools.cache
def _suffixes_and_essential(*, with_hosters: bool) -> dict[str, str]:
    suffixes = load_public_suffixes()
    hosters = suffixes.hosters if with_hosters else frozenset[str]()
    refused = dict.fromkeys(suffixes.registries | hosters, "a public suffix, under which strangers have their sites")
    return refused | dict.fromkeys(essential_hosts(), ESSENTIAL_PROBLEM)


def _refuse_names(parsed: ParsedLines, known: ListFormat, stretch: LineBlock, name: str, reasons: dict[str, str]) -> None:
    """Takes names that must not be blocked out of what was parsed; rare, so the line is searched for only then."""
    refused = reasons.keys() & parsed.hosts | reasons.keys() & parsed.exact
    if not refused:
        return
    parsed.hosts = [host for host in parsed.hosts if host not in refused]
    parsed.exact = [host for host in parsed.exact if host not in refused]
    for number, line in enumerate(stretch.lines, stretch.first):
        found = known.parse([line], number, name)
        for host in dict.fromkeys((*found.hosts, *found.exact)):
            if host in refused:
                parsed.problems.append(Problem(name, number, 1, reasons[host], line.strip()[:200]))


def _leave_out_private(parsed: ParsedLines) -> None:
    """Addresses of one's own network among the names of a list: it may not close the router or the printer."""
    private = {host for host in parsed.hosts if (host[-1] <= "9" or ":" in host) and is_address(host) and _is_private_address(host)}
    if private:
        kept = [host for host in parsed.hosts if host not in private]
        parsed.ignored[PRIVATE_NETWORKS] += len(parsed.hosts) - len(kept)
        parsed.hosts = kept


def _is_private_address(address: str) -> bool:
    found = ip_address(address)
    return any(found in network for network in _PRIVATE_NETWORKS)


def _limit_patterns(parsed: ParsedLines, room: int, name: str) -> int:
    """Takes the patterns of names beyond `room` out of what was parsed. Returns how many there are then."""
    patterns = [rule for rule in parsed.urls if rule.kind is PatternKind.HOST_REGEX]
    cut = set(patterns[room:])
    if cut:
        parsed.urls = [rule for rule in parsed.urls if rule not in cut]
        parsed.problems += [Problem(name, rule.line, 1, TOO_MANY_PATTERNS, rule.text[:200]) for rule in patterns[room:]]
    return min(len(patterns), room)


class _RunWriter:
    """Gathers keys by part and writes each RUN of them sorted."""

    def __init__(self, work: Path, parsed_source: ParsedSource, part: EntryKind) -> None:
        self._work, self._intake, self._part = work, parsed_source, part
        self._keys: dict[EntryKind, list[str]] = {part: [] for part in EntryKind}

    def add(self, parsed: ParsedLines, file: str = "") -> None:
        self._intake.names += parsed.count() - len(parsed.urls)
        # rule_key, written out: the call would cost a third of the time.
        self._keys[self._part] += [".".join(host.split(".")[::-1]) + "." for host in parsed.hosts]
        self._keys[EntryKind.BLOCK] += [rule_key(host, exact=True) for host in parsed.exact]
        self._keys[EntryKind.BLOCK] += parsed.networks
        self._keys[EntryKind.BLOCK] += map(hash_key, parsed.sealed)
        self._keys[EntryKind.EXCEPT] += [rule_key(host) for host in parsed.excepted]
        self._keys[EntryKind.IMPORTANT] += [rule_key(host) for host in parsed.important]
        if parsed.urls:
            self._add_urls([replace(rule, file=file) for rule in parsed.urls] if file else parsed.urls)
        for part, keys in self._keys.items():
            if len(keys) >= KEYS_PER_RUN:
                self._write(part)

    def _add_urls(self, rules: list[UrlRule]) -> None:
        self._intake.url_rules += len(rules)
        self._keys[EntryKind.URL] += [rule_key(rule.host) for rule in rules if rule.host and not rule.exception]
        with (self._work / RULES_FILE).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(rule), ensure_ascii=False) + "\n" for rule in rules)

    def _write(self, part: EntryKind) -> None:
        path = self._work / f"{len(self._intake.runs):04}.keys"
        keys = sorted(set(self._keys[part]))
        self._intake.keys += len(keys)
        self._intake.runs.append(KeyRunFile(part, path, path.write_text("\n".join(keys) + "\n", encoding="ascii")))
        self._keys[part] = []

    def close(self) -> None:
        for part, keys in self._keys.items():
            if keys:
                self._write(part)


TEXT_FILE = "text"
_RESULT_FILE = "intake.json"
_UNFINISHED_PREFIX = "half-"


class ParseCache:
    """The folder of parsed lists. One process at a time may write into it. `kept` problems of a list are reported in full."""

    def __init__(self, folder: Path, kept: int = MAX_REPORTED_PROBLEMS) -> None:
        self.folder, self._kept = folder, kept

    def parse_source(self, source: Source) -> tuple[str, ParsedSource]:
        """Parses the list of `source`, unless that was done before. Returns the entry's name and what was taken in.

        A list that cannot be read gives an empty name and an intake with that problem. Raises OSError where this folder
        cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if source.path is None:
                raise FileNotFoundError(2, "not downloaded yet")
            name = _entry_name(source, content_digest(source.path, source.format))
            if (known := self._load(name, source.name)) is not None:
                return name, known
        except OSError as error:
            parsed_source = ParsedSource()
            parsed_source.report([Problem(source.name, None, None, f"cannot be read: {error.strerror}", str(source.path or source.url))])
            return "", parsed_source
        half = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=self.folder))
        try:
            return self._parse(source, source.path, half)
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def text_of(self, name: str) -> Path:
        """The text that the entry `name` was parsed from."""
        return self.folder / name / TEXT_FILE

    def prune(self, keep: Iterable[str]) -> None:
        """Throws away all entries but these, and what was left by a process that was killed."""
        kept = set(keep)
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _parse(self, source: Source, path: Path, half: Path) -> tuple[str, ParsedSource]:
        # What is parsed is what is kept, whatever happens to the file meanwhile: it is named after what it was before and after.
        before = content_digest(path, source.format)
        unpacked = _unpack(source, path, half / TEXT_FILE)
        after = content_digest(path, source.format)
        name = _entry_name(source, before if before == after else f"{before} {after}")
        # Why nothing could be unpacked, or all was left out, says more than that nothing is there.
        is_refused = unpacked.problems and not (half / TEXT_FILE).stat().st_size
        parsed_source = (
            ParsedSource() if is_refused else parse_source(half / TEXT_FILE, source.name, source.category, source.format, half, self._kept)
        )
        parsed_source.report(problems_of(unpacked, source.name))
        parsed_source.ignored.update(unpacked.left_out)
        (half / _RESULT_FILE).write_text(json.dumps(_to_json_values(parsed_source), ensure_ascii=False), encoding="utf-8")
        write_checksums(half, leave_out=[TEXT_FILE])
        flush_folder(half)
        place = self.folder / name
        if place.exists():  # another copy of the same list, or a damaged entry
            shutil.rmtree(place)
        half.rename(place)
        for run in parsed_source.runs:
            run.path = place / run.path.name
        return name, parsed_source

    def _load(self, name: str, source: str) -> ParsedSource | None:
        """The entry, its problems under the name of `source`; None if there is none or it is damaged."""
        place = self.folder / name
        if not matches_checksums(place):
            return None
        try:
            data = json.loads((place / _RESULT_FILE).read_text(encoding="utf-8"))
            runs = [KeyRunFile(EntryKind(part), place / file, size) for part, file, size in data.pop("runs")]
            problems = [replace(Problem(**problem), source=source) for problem in data.pop("problems")]
            counts, ignored = Counter(data.pop("problem_counts")), Counter(data.pop("ignored"))
            return ParsedSource(runs=runs, problems=problems, problem_counts=counts, ignored=ignored, **data)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _unpack(source: Source, path: Path, text: Path) -> UnpackResult:
    try:
        return unpack(path, text, source.format, is_good(source.category))
    except UnpackError as reason:
        text.write_bytes(b"")
        return UnpackResult(problems=[str(reason)])


def _to_json_values(parsed_source: ParsedSource) -> dict[str, Any]:
    # Not asdict: it takes a Counter for a mapping that is built from pairs.
    data: dict[str, Any] = {field.name: getattr(parsed_source, field.name) for field in fields(parsed_source)}
    problems = [asdict(problem) for problem in parsed_source.problems]
    return {**data, "problems": problems, "runs": [(run.part, run.path.name, run.size) for run in parsed_source.runs]}


def cache_entry_name(source: Source) -> str:
    """The name of the entry that the list of `source` is parsed to; empty if the list cannot be read."""
    try:
        return _entry_name(source, content_digest(source.path, source.format)) if source.path else ""
    except OSError:
        return ""


def _entry_name(source: Source, digest: str) -> str:
    # The category is in it because it decides which suffixes are refused.
    return hashlib.sha256(repr((digest, source.format, source.category, engine_digest())).encode()).hexdigest()[:32]


@functools.cache
def engine_digest() -> str:
    """Names the list engine: its code, its data and the public suffixes. Another engine may parse the same list to something else."""
    digest = hashlib.sha256(Path(publicsuffixlist.PSLFILE).read_bytes())
    here = Path(__file__).parent
    for path in sorted((*here.rglob("*.py"), *here.glob("data/*.yaml"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def flush_folder(folder: Path) -> None:
    """On the disk before the rename, so that a power cut cannot leave a folder with holes at its place."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def link_or_copy(path: Path, to: Path) -> None:
    """A second name for a file that nobody changes, where the file system has such; raises OSError."""
    with contextlib.suppress(OSError):
        os.link(path, to)
        return
    shutil.copyfile(path, to)
