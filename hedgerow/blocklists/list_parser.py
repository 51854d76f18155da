"""A source's text, parsed to sorted runs of index keys on disk, in memory that does not grow with the list."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

import msgspec
import publicsuffixlist

from hedgerow.blocklists.address_ranges import is_private
from hedgerow.blocklists.archives import UnpackResult, content_digest, unpack
from hedgerow.blocklists.canaries import KEPT_OPEN_IN, leave_out_canaries
from hedgerow.blocklists.categories import is_good
from hedgerow.blocklists.decompression import UnpackError
from hedgerow.blocklists.formats import FORMATS, detect, format_named
from hedgerow.blocklists.formats.line_parser import PRIVATE_NETWORKS, PUBLIC_SUFFIX, ListFormat
from hedgerow.blocklists.formats.sealed import hash_key
from hedgerow.blocklists.generation import ALL_CATEGORIES, EntryKind, matches_checksums, write_checksums
from hedgerow.blocklists.line_reader import LineBlock, read_line_blocks
from hedgerow.blocklists.names import is_address, is_beneath, load_public_suffixes, rule_key
from hedgerow.blocklists.rules import ParsedLines, PatternKind, Problem, UrlRule
from hedgerow.blocklists.sources import ESSENTIAL_PROBLEM, Source, essential_hosts

TEXT_FILE, RULES_FILE, _RESULT_FILE = "text", "urls.jsonl", "result.json"
_UNFINISHED_PREFIX = "unfinished-"

KEYS_PER_RUN = 20_000
"""Keys that are gathered and sorted in memory before they are written."""

MAX_REPORTED_PROBLEMS = 100
"""Problems of one source that are reported in full; all are counted."""

MAX_PROBLEM_KINDS = 200
"""Kinds of problems that are counted by name, so that a list cannot fill the memory with invented ones."""
OTHER_PROBLEM_KINDS = "problems of other kinds"

MAX_HOST_PATTERNS = 20_000
"""Patterns of names in one list.

Every worker holds them all, and takes a second to open this many. Published lists have some hundred.
"""
TOO_MANY_PATTERNS = f"more than {MAX_HOST_PATTERNS:,} patterns of names in one list"

SINGLE_SITE_CATEGORIES = frozenset({"ads-trackers", "malware", "phishing", "crypto-mining", "new-domains"})
"""Categories whose lists name single bad sites: a hoster's whole domain among them is a mistake.

A list of, say, dynamic DNS or social services names hosters on purpose.
"""


@dataclass(slots=True)
class KeyRunFile:
    """A file of sorted, distinct keys, one per line, all of one kind. `size` is in bytes."""

    kind: EntryKind
    path: Path
    size: int


@dataclass(slots=True)
class ParsedSource:
    """The result of parsing one source.

    `names` counts names as written; `keys` counts the keys in the runs, in which one key may occur several times.
    `corrections` are the canaries that the list names, with their topics: they are not taken from it.
    """

    format: str = ""
    lines: int = 0
    names: int = 0
    keys: int = 0
    url_rules: int = 0
    runs: list[KeyRunFile] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_counts: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    max_problems: int = MAX_REPORTED_PROBLEMS
    corrections: dict[str, str] = field(default_factory=dict)

    def report(self, problems: list[Problem]) -> None:
        for problem in problems:
            is_named = problem.message in self.problem_counts or len(self.problem_counts) < MAX_PROBLEM_KINDS
            self.problem_counts[problem.message if is_named else OTHER_PROBLEM_KINDS] += 1
        self.problems += problems[: max(0, self.max_problems - len(self.problems))]


OTHER_KIND = "services of another kind than the list is for"


def parse_source(
    text: Path,
    name: str,
    category: str,
    wanted_format: str,
    folder: Path,
    max_problems: int = MAX_REPORTED_PROBLEMS,
    leave_out: frozenset[str] = frozenset(),
    *,
    is_corrected: bool = False,
) -> ParsedSource:
    """Parse the list at `text`, and write its runs and URL rules into `folder`.

    Names in `leave_out` or beneath them are ignored; so are canaries if the list `is_corrected`.

    Never raises for the content of a list: an unreadable, empty or unknown list gives problems and no runs.
    """
    result = ParsedSource(max_problems=max_problems)
    writer = _RunWriter(folder, result, EntryKind.EXCEPT if category == ALL_CATEGORIES else EntryKind.BLOCK)
    refused, room = _refused_names(category), MAX_HOST_PATTERNS
    try:
        unreadable: list[Problem] = []
        for block, known in _with_formats(
            read_line_blocks(text, name, unreadable), unreadable, name, wanted_format, result
        ):
            parsed = known.parse(block.lines, block.first, name)
            result.lines += len(block.lines)
            _refuse_names(parsed, known, block, name, refused)
            _leave_out_private(parsed)
            if leave_out:
                _leave_out_beneath(parsed, leave_out)
            if is_corrected:
                leave_out_canaries(parsed, result.corrections)
            room -= _limit_patterns(parsed, room, name)
            writer.add(parsed, block.file)
            problems = sorted(parsed.problems + unreadable, key=lambda problem: problem.line or 0)
            unreadable.clear()
            result.report([replace(problem, file=block.file) for problem in problems] if block.file else problems)
            result.ignored += parsed.ignored
    except OSError as error:
        result.report([Problem(name, None, None, f"cannot be read: {error.strerror}")])
    writer.close()
    return result


def read_rules(folder: Path) -> Iterator[UrlRule]:
    """Yield the URL rules that `parse_source` wrote into a folder."""
    with contextlib.suppress(FileNotFoundError), (folder / RULES_FILE).open("rb") as lines:
        yield from map(msgspec.json.Decoder(UrlRule).decode, lines)


def _with_formats(
    blocks: Iterator[LineBlock], unreadable: list[Problem], name: str, wanted: str, result: ParsedSource
) -> Iterator[tuple[LineBlock, ListFormat]]:
    """Yield each block with its format. A file whose format is unknown is left out, with a problem."""
    file, known = None, None
    for block in blocks:
        if block.file != file:
            file = block.file
            form = (
                block.format
                if block.format not in ("", "auto") and wanted in ("auto", "squidguard", "v2fly")
                else wanted
            )
            known = _choose_format(block, form, name, result, is_binary=bool(unreadable))
        if known is not None:
            yield block, known
        else:
            unreadable.clear()  # the file is not a list, which is reported already
    if file is None:
        result.report([Problem(name, None, None, "is empty")])
    result.report(unreadable)


def _choose_format(
    block: LineBlock, wanted: str, name: str, result: ParsedSource, *, is_binary: bool
) -> ListFormat | None:
    sample = block.lines[:5000]
    known = detect(sample) if wanted == "auto" else format_named(wanted)
    if not any(line.strip() for line in block.lines):
        if not block.file:  # a file of a folder may well be empty
            result.report([Problem(name, None, None, "is binary data, not a list" if is_binary else "is empty")])
        return None
    if known is None:
        message, shown = f"no such format: {wanted}; there are {', '.join(each.name for each in FORMATS)}", ""
        if wanted == "auto":
            message = "is binary data, not a list" if is_binary else "is in no format that is known"
            shown = ascii(next(filter(str.strip, sample), ""))[:80]
        result.report([Problem(name, None, None, f"{block.file} {message}".strip(), shown)])
        return None
    result.format = ("v2fly" if block.format.startswith("v2fly") else "squidguard") if block.file else known.name
    return known


def _refused_names(category: str) -> dict[str, str]:
    """Return the names that a list of `category` must not block, each with the reason."""
    if category == ALL_CATEGORIES or is_good(category):
        return {}  # nhs.uk and gov.uk are suffixes, and all of them is worth reaching
    return _suffixes_and_essential(with_hosters=category in SINGLE_SITE_CATEGORIES)


@functools.cache
def _suffixes_and_essential(*, with_hosters: bool) -> dict[str, str]:
    suffixes = load_public_suffixes()
    refused = dict.fromkeys(suffixes.registries | (suffixes.hosters if with_hosters else frozenset()), PUBLIC_SUFFIX)
    return refused | dict.fromkeys(essential_hosts(), ESSENTIAL_PROBLEM)


def _refuse_names(parsed: ParsedLines, known: ListFormat, block: LineBlock, name: str, reasons: dict[str, str]) -> None:
    """Move names that must not be blocked to the problems. They are rare, so their lines are searched only then."""
    refused = reasons.keys() & parsed.hosts | reasons.keys() & parsed.exact
    if not refused:
        return
    parsed.hosts = [host for host in parsed.hosts if host not in refused]
    parsed.exact = [host for host in parsed.exact if host not in refused]
    for number, line in enumerate(block.lines, block.first):
        in_line = known.parse([line], number, name)
        for host in dict.fromkeys((*in_line.hosts, *in_line.exact)):
            if host in refused:
                parsed.problems.append(Problem(name, number, 1, reasons[host], line.strip()[:200]))


def _leave_out_private(parsed: ParsedLines) -> None:
    """Drop private addresses: a list must not close the router or the printer."""
    private = {
        host
        for host in parsed.hosts
        if (host[-1] <= "9" or ":" in host) and is_address(host) and is_private(ip_address(host).packed)
    }
    if private:
        public = [host for host in parsed.hosts if host not in private]
        parsed.ignored[PRIVATE_NETWORKS] += len(parsed.hosts) - len(public)
        parsed.hosts = public


def _leave_out_beneath(parsed: ParsedLines, domains: frozenset[str]) -> None:
    before = parsed.count()
    parsed.hosts = [host for host in parsed.hosts if not is_beneath(host, domains)]
    parsed.exact = [host for host in parsed.exact if not is_beneath(host, domains)]
    parsed.urls = [rule for rule in parsed.urls if not is_beneath(rule.host or "", domains)]
    if parsed.count() < before:
        parsed.ignored[OTHER_KIND] += before - parsed.count()


def _limit_patterns(parsed: ParsedLines, room: int, name: str) -> int:
    """Move the patterns of names beyond `room` to the problems. Return the number that is left."""
    patterns = [rule for rule in parsed.urls if rule.kind is PatternKind.HOST_REGEX]
    cut = set(patterns[room:])
    if cut:
        parsed.urls = [rule for rule in parsed.urls if rule not in cut]
        parsed.problems += [Problem(name, rule.line, 1, TOO_MANY_PATTERNS, rule.text[:200]) for rule in patterns[room:]]
    return min(len(patterns), room)


class _RunWriter:
    """A writer that gathers keys by kind, and sorts and writes each KEYS_PER_RUN of them."""

    def __init__(self, folder: Path, result: ParsedSource, kind_of_hosts: EntryKind) -> None:
        self._folder, self._result, self._kind_of_hosts = folder, result, kind_of_hosts
        self._keys: dict[EntryKind, list[str]] = {kind: [] for kind in EntryKind}
        self._encoder = msgspec.json.Encoder()

    def add(self, parsed: ParsedLines, file: str = "") -> None:
        self._result.names += parsed.count() - len(parsed.urls)
        # rule_key, written out: the call would cost a third of the time.
        self._keys[self._kind_of_hosts] += [".".join(host.split(".")[::-1]) + "." for host in parsed.hosts]
        self._keys[EntryKind.BLOCK] += [rule_key(host, exact=True) for host in parsed.exact]
        self._keys[EntryKind.BLOCK] += parsed.networks
        self._keys[EntryKind.BLOCK] += map(hash_key, parsed.sealed)
        self._keys[EntryKind.EXCEPT] += map(rule_key, parsed.excepted)
        self._keys[EntryKind.IMPORTANT] += map(rule_key, parsed.important)
        if parsed.urls:
            self._add_urls([replace(rule, file=file) for rule in parsed.urls] if file else parsed.urls)
        for kind, keys in self._keys.items():
            if len(keys) >= KEYS_PER_RUN:
                self._write(kind)

    def _add_urls(self, rules: list[UrlRule]) -> None:
        self._result.url_rules += len(rules)
        self._keys[EntryKind.URL] += [rule_key(rule.host) for rule in rules if rule.host and not rule.exception]
        with (self._folder / RULES_FILE).open("ab") as file:
            file.write(self._encoder.encode_lines(rules))

    def _write(self, kind: EntryKind) -> None:
        path = self._folder / f"{len(self._result.runs):04}.keys"
        keys = sorted(set(self._keys[kind]))
        self._result.keys += len(keys)
        self._result.runs.append(KeyRunFile(kind, path, path.write_text("\n".join(keys) + "\n", encoding="ascii")))
        self._keys[kind] = []

    def close(self) -> None:
        for kind, keys in self._keys.items():
            if keys:
                self._write(kind)


class ParseCache:
    """The folder of parsed lists.

    One process at a time may write into it. `max_problems` of a list are reported in full.
    """

    def __init__(self, folder: Path, max_problems: int = MAX_REPORTED_PROBLEMS) -> None:
        self.folder, self._max_problems = folder, max_problems

    def parse_source(self, source: Source) -> tuple[str, ParsedSource]:
        """Parse the list of `source`, unless that was done before. Return the name of the entry, and the result.

        A list that cannot be read gives an empty name and a result with that problem. Raises OSError if this folder
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
            result = ParsedSource()
            result.report(
                [
                    Problem(
                        source.name, None, None, f"cannot be read: {error.strerror}", str(source.path or source.place)
                    )
                ]
            )
            return "", result
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=self.folder))
        try:
            return self._parse(source, source.path, unfinished)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def text_of(self, name: str) -> Path:
        """Return the path of the text that the entry `name` was parsed from."""
        return self.folder / name / TEXT_FILE

    def prune(self, keep: Iterable[str]) -> None:
        """Delete all entries but these, and the leftovers of a process that was killed."""
        names = set(keep)
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)

    def _parse(self, source: Source, path: Path, folder: Path) -> tuple[str, ParsedSource]:
        # The file may change meanwhile. The entry is named after its content before and after, and holds what was
        # parsed.
        before = content_digest(path, source.format)
        unpacked = _unpack(source, path, folder / TEXT_FILE)
        after = content_digest(path, source.format)
        name = _entry_name(source, before if before == after else f"{before} {after}")
        # The reason why nothing could be unpacked, or all was left out, is more useful than "is empty".
        if unpacked.problems and not (folder / TEXT_FILE).stat().st_size:
            result = ParsedSource()
        else:
            result = parse_source(
                folder / TEXT_FILE,
                source.name,
                source.category,
                source.format,
                folder,
                self._max_problems,
                source.leave_out,
                is_corrected=is_corrected(source),
            )
        result.report([Problem(source.name, None, None, problem) for problem in unpacked.problems])
        result.ignored.update(unpacked.left_out)
        (folder / _RESULT_FILE).write_bytes(msgspec.json.encode(result, enc_hook=lambda run_path: run_path.name))
        write_checksums(folder, leave_out=[TEXT_FILE])
        flush_folder(folder)
        entry = self.folder / name
        if entry.exists():  # another copy of the same list, or a damaged entry
            shutil.rmtree(entry)
        folder.rename(entry)
        for run in result.runs:
            run.path = entry / run.path.name
        return name, result

    def _load(self, name: str, source: str) -> ParsedSource | None:
        """Load an entry, its problems under the name of `source`. Return None if there is none or it is damaged."""
        entry = self.folder / name
        if not matches_checksums(entry):
            return None

        def decode(kind: type, value: object) -> object:
            return entry / str(value) if kind is Path else Counter(value)  # type: ignore[call-overload]

        try:
            result = msgspec.json.decode((entry / _RESULT_FILE).read_bytes(), type=ParsedSource, dec_hook=decode)
        except (OSError, ValueError):
            return None
        result.problems = [replace(problem, source=source) for problem in result.problems]
        return result


def is_corrected(source: Source) -> bool:
    """Return whether canaries are left out of a list: of what is downloaded, not of what the policy's owner wrote."""
    return bool(source.url) and source.category in KEPT_OPEN_IN


def _unpack(source: Source, path: Path, text: Path) -> UnpackResult:
    try:
        return unpack(path, text, source.format, is_good(source.category))
    except UnpackError as reason:
        text.write_bytes(b"")
        return UnpackResult(problems=[str(reason)])


def _entry_name(source: Source, digest: str) -> str:
    # The category decides which suffixes are refused.
    leave_out = sorted(source.leave_out)
    return hashlib.sha256(
        repr((digest, source.format, source.category, leave_out, is_corrected(source), engine_digest())).encode()
    ).hexdigest()[:32]


@functools.cache
def engine_digest() -> str:
    """Return a digest of the list engine: its code, its data and the public suffixes.

    Another engine may parse a list differently.
    """
    digest = hashlib.sha256(Path(publicsuffixlist.PSLFILE).read_bytes())
    here = Path(__file__).parent
    for path in sorted((*here.rglob("*.py"), *here.glob("data/*.yaml"), here / "data" / "canaries.txt")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def flush_folder(folder: Path) -> None:
    """Flush a folder and its files to disk, before a rename, so that a power cut cannot leave holes behind it."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def link_or_copy(path: Path, to: Path) -> None:
    """Give a file that never changes a second name, or copy it where the file system has no links. Raises OSError."""
    with contextlib.suppress(OSError):
        os.link(path, to)
        return
    shutil.copyfile(path, to)
