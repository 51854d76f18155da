"""From one source's text to sorted runs of index keys on disk, in memory that does not grow with the list."""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.essential import ESSENTIAL_PROBLEM, essential_hosts
from hedgerow.blocklists.formats import FORMATS, ListFormat, detect, format_named
from hedgerow.blocklists.formats.lines import PRIVATE
from hedgerow.blocklists.generation import EVERY, Part
from hedgerow.blocklists.names import is_address, load_public_suffixes, rule_key
from hedgerow.blocklists.rules import Kind, Parsed, Problem, UrlRule
from hedgerow.blocklists.seals import seal_key
from hedgerow.blocklists.text import Stretch, read_stretches

RULES = "urls.jsonl"
RUN = 50_000
"""Keys that are gathered and sorted in memory before they are written."""

KEPT_PROBLEMS = 100
"""Problems of one source that are reported in full; all are counted."""

MOST_KINDS = 200
"""Kinds of problems that are counted by name: what a list makes up must not fill the memory."""
OTHER_KINDS = "problems of other kinds"

MOST_PATTERNS = 20_000
"""Patterns of names in one list: every worker holds them all, and is busy for a second when it takes so many up. Lists that are
published have some hundred."""
TOO_MANY = f"more than {MOST_PATTERNS:,} patterns of names in one list"

THREATS = frozenset({"ads-trackers", "malware", "phishing", "crypto-mining", "new-domains"})
"""Categories whose lists name single bad sites: a hoster's whole domain among them is a mistake. A list of, say, dynamic-DNS
or social services names hosters because it means them."""


_OWN_NETWORKS = tuple(
    map(ip_network, ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10"))
)


@dataclass(slots=True)
class Run:
    """A file of sorted, distinct keys, one a line, all of one part. `size` is in bytes."""

    part: Part
    path: Path
    size: int


@dataclass(slots=True)
class Intake:
    """What was taken in from one source. `names` counts names as written, `keys` those in the runs, before duplicates
    of other runs are folded away."""

    format: str = ""
    lines: int = 0
    names: int = 0
    keys: int = 0
    url_rules: int = 0
    runs: list[Run] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_counts: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    kept: int = KEPT_PROBLEMS

    def report(self, problems: list[Problem]) -> None:
        for problem in problems:
            is_named = problem.message in self.problem_counts or len(self.problem_counts) < MOST_KINDS
            self.problem_counts[problem.message if is_named else OTHER_KINDS] += 1
        self.problems += problems[: max(0, self.kept - len(self.problems))]


def take_in(text: Path, name: str, category: str, wanted_format: str, work: Path, kept: int = KEPT_PROBLEMS) -> Intake:
    """Parses the list at `text`; runs and URL rules (RULES) are written into the directory `work`.

    Never raises for what the list says: an unreadable, empty or unknown list is an `Intake` with problems and no runs.
    """
    intake = Intake(kept=kept)
    writer = _RunWriter(work, intake, Part.EXCEPT if category == EVERY else Part.BLOCK)
    refused, room = _refused_names(category), MOST_PATTERNS
    try:
        trouble: list[Problem] = []
        for stretch, known in _with_formats(read_stretches(text, name, trouble), trouble, name, wanted_format, intake):
            parsed = known.parse(stretch.lines, stretch.first, name)
            intake.lines += len(stretch.lines)
            _refuse_names(parsed, known, stretch, name, refused)
            _leave_out_private(parsed)
            room -= _cut_patterns(parsed, room, name)
            writer.add(parsed, stretch.file)
            problems = sorted(parsed.problems + trouble, key=lambda problem: problem.line or 0)
            trouble.clear()
            intake.report([replace(problem, file=stretch.file) for problem in problems] if stretch.file else problems)
            intake.ignored += parsed.ignored
    except OSError as error:
        intake.report([Problem(name, None, None, f"cannot be read: {error.strerror}")])
    writer.close()
    return intake


def read_rules(folder: Path) -> Iterator[UrlRule]:
    """The URL rules that `take_in` wrote into a folder."""
    with contextlib.suppress(FileNotFoundError), (folder / RULES).open(encoding="utf-8") as lines:
        for line in lines:
            data = json.loads(line)
            yield UrlRule(**{**data, "kind": Kind(data["kind"])})


def _with_formats(
    stretches: Iterator[Stretch], trouble: list[Problem], name: str, wanted: str, intake: Intake
) -> Iterator[tuple[Stretch, ListFormat]]:
    """Each stretch with its format; without those of files whose format is not known, which is a problem of each file."""
    file, known = None, None
    for stretch in stretches:
        if stretch.file != file:
            file = stretch.file
            form = stretch.format if stretch.format not in ("", "auto") and wanted in ("auto", "squidguard", "v2fly") else wanted
            known = _choose_format(stretch, form, trouble, name, intake)
        if known is not None:
            yield stretch, known
        else:
            trouble.clear()  # of a file that is no list, that it is none says it all
    if file is None:
        intake.report([Problem(name, None, None, "is empty")])
    intake.report(trouble)


def _choose_format(stretch: Stretch, wanted: str, trouble: list[Problem], name: str, intake: Intake) -> ListFormat | None:
    sample = stretch.lines[:5000]
    known = detect(sample) if wanted == "auto" else format_named(wanted)
    if not any(line.strip() for line in stretch.lines):
        if not stretch.file:  # a file of a folder may well be empty
            intake.report([Problem(name, None, None, "is binary data, not a list" if trouble else "is empty")])
        return None
    if known is None:
        what, shown = f"no such format: {wanted}; there are {', '.join(each.name for each in FORMATS)}", ""
        if wanted == "auto":
            what = "is binary data, not a list" if trouble else "is in no format that is known"
            shown = ascii(next(filter(str.strip, sample), ""))[:80]
        intake.report([Problem(name, None, None, f"{stretch.file} {what}".strip(), shown)])
        return None
    intake.format = ("v2fly" if stretch.format.startswith("v2fly") else "squidguard") if stretch.file else known.name
    return known


def _refused_names(category: str) -> dict[str, str]:
    """Names that a list of `category` must not block, each with the reason."""
    if category == EVERY or any(known.name == category and known.kind == CategoryKind.GOOD for known in builtin_categories()):
        return {}  # nhs.uk and gov.uk are suffixes, and whole of them is worth reaching
    return _suffixes_and_essential(with_hosters=category in THREATS)


@functools.cache
def _suffixes_and_essential(*, with_hosters: bool) -> dict[str, str]:
    suffixes = load_public_suffixes()
    hosters = suffixes.hosters if with_hosters else frozenset[str]()
    refused = dict.fromkeys(suffixes.registries | hosters, "a public suffix, under which strangers have their sites")
    return refused | dict.fromkeys(essential_hosts(), ESSENTIAL_PROBLEM)


def _refuse_names(parsed: Parsed, known: ListFormat, stretch: Stretch, name: str, reasons: dict[str, str]) -> None:
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


def _leave_out_private(parsed: Parsed) -> None:
    """Addresses of one's own network among the names of a list: it may not close the router or the printer."""
    private = {host for host in parsed.hosts if (host[-1] <= "9" or ":" in host) and is_address(host) and _is_own(host)}
    if private:
        kept = [host for host in parsed.hosts if host not in private]
        parsed.ignored[PRIVATE] += len(parsed.hosts) - len(kept)
        parsed.hosts = kept


def _is_own(address: str) -> bool:
    found = ip_address(address)
    return any(found in network for network in _OWN_NETWORKS)


def _cut_patterns(parsed: Parsed, room: int, name: str) -> int:
    """Takes the patterns of names beyond `room` out of what was parsed. Returns how many there are then."""
    patterns = [rule for rule in parsed.urls if rule.kind is Kind.HOST_REGEX]
    cut = set(patterns[room:])
    if cut:
        parsed.urls = [rule for rule in parsed.urls if rule not in cut]
        parsed.problems += [Problem(name, rule.line, 1, TOO_MANY, rule.text[:200]) for rule in patterns[room:]]
    return min(len(patterns), room)


class _RunWriter:
    """Gathers keys by part and writes each RUN of them sorted."""

    def __init__(self, work: Path, intake: Intake, part: Part) -> None:
        self._work, self._intake, self._part = work, intake, part
        self._keys: dict[Part, list[str]] = {part: [] for part in Part}

    def add(self, parsed: Parsed, file: str = "") -> None:
        self._intake.names += parsed.count() - len(parsed.urls)
        # rule_key, written out: the call would cost a third of the time.
        self._keys[self._part] += [".".join(host.split(".")[::-1]) + "." for host in parsed.hosts]
        self._keys[Part.BLOCK] += [rule_key(host, exact=True) for host in parsed.exact]
        self._keys[Part.BLOCK] += parsed.networks
        self._keys[Part.BLOCK] += map(seal_key, parsed.sealed)
        self._keys[Part.EXCEPT] += [rule_key(host) for host in parsed.excepted]
        self._keys[Part.IMPORTANT] += [rule_key(host) for host in parsed.important]
        if parsed.urls:
            self._add_urls([replace(rule, file=file) for rule in parsed.urls] if file else parsed.urls)
        for part, keys in self._keys.items():
            if len(keys) >= RUN:
                self._write(part)

    def _add_urls(self, rules: list[UrlRule]) -> None:
        self._intake.url_rules += len(rules)
        self._keys[Part.URL] += [rule_key(rule.host) for rule in rules if rule.host and not rule.exception]
        with (self._work / RULES).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(rule), ensure_ascii=False) + "\n" for rule in rules)

    def _write(self, part: Part) -> None:
        path = self._work / f"{len(self._intake.runs):04}.keys"
        keys = sorted(set(self._keys[part]))
        self._intake.keys += len(keys)
        self._intake.runs.append(Run(part, path, path.write_text("\n".join(keys) + "\n", encoding="ascii")))
        self._keys[part] = []

    def close(self) -> None:
        for part, keys in self._keys.items():
            if keys:
                self._write(part)
