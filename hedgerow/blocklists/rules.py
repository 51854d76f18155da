"""What a list parser yields: rules and problems, each with the place where it stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule was written, for everybody who asks why.

    `source` is a list's name or a policy file's path; `line` counts from 1 and is None where only the source is known
    (a compiled list is looked up line by line only when somebody asks: `Catalogue.locate`); `text` is the rule as written.
    """

    source: str
    line: int | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a list or a policy file: where it is (line and column from 1), what it is, what to do.

    `file` is the file of a list that is a folder or an archive. `path` leads to it in a policy file: `people.mia.block`.
    """

    source: str
    line: int | None
    column: int | None
    message: str
    text: str = ""
    file: str = ""
    path: str = ""

    def __str__(self) -> str:
        source = f"{self.source}: {self.file}" if self.file else self.source
        place = ":".join(str(part) for part in (source, self.line, self.column) if part is not None)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class PatternKind(StrEnum):
    """How a pattern is to be read, and what it is held against."""

    PATTERN = "pattern"  # the language of ad blockers (`||host`, `|`, `*`, `^`), against the URL
    REGEX = "regex"  # a regular expression, against the URL
    EXPRESSION = "expression"  # a regular expression, against the URL without its scheme (squidGuard)
    HOST_REGEX = "host"  # a regular expression, against the host


@dataclass(frozen=True, slots=True)
class UrlRule:
    """A rule that is held against a URL or, where its kind says so, a host.

    `host` is the canonical host that the pattern is anchored to, which stands for its subdomains too, or empty. `line` and
    `text` say where and how it was written; `exception` lifts what other rules of the same category block. `options` are its
    modifiers as `conditions.parse_conditions` reads them. `file` is the file of a list that is a folder or an archive.
    """

    pattern: str
    host: str
    line: int
    text: str
    exception: bool = False
    options: str = ""
    kind: PatternKind = PatternKind.PATTERN
    file: str = ""

    def origin(self, source: str) -> Origin:
        return Origin(f"{source}: {self.file}" if self.file else source, self.line, self.text)


@dataclass(slots=True)
class ParsedLines:
    """What one stretch of a list says. Hosts are canonical; all but `exact` stand for their subdomains too.

    `important` are those of the hosts that are blocked whatever an exception says. `networks` are index keys
    (`names.network_key`), `sealed` the hexadecimal digits of SHA-256 digests. `ignored` counts what was left out on purpose and is
    nobody's mistake, by kind: comments, cosmetic rules, localhost lines.
    """

    hosts: list[str] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    excepted: list[str] = field(default_factory=list)
    important: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    sealed: list[str] = field(default_factory=list)
    urls: list[UrlRule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def count(self) -> int:
        """How many rules there are, of all kinds."""
        names = (self.hosts, self.exact, self.excepted, self.networks, self.sealed)
        return sum(map(len, names)) + len(self.urls)
