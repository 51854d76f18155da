"""Results of list parsers: rules and problems, each with its position."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from hedgerow.values import value_dataclass


@value_dataclass(frozen=True, slots=True)
class Origin:
    """The place where a rule was written.

    `source` is a list's name or a policy file's path. `line` counts from 1 and is None if only the source is known:
    lines of compiled lists are looked up only for explanations (`rule_locator`). `text` is the rule as written.
    """

    source: str
    line: int | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in a list or a policy file: its position (line and column from 1), what is wrong and what to do.

    `file` is the file of a list that is a folder or an archive. `path` is the position in a policy file, such as
    `people.mia.block`.
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
    """The language of a pattern, and what it is matched against."""

    PATTERN = "pattern"  # the language of ad blockers (`||host`, `|`, `*`, `^`), against the URL
    REGEX = "regex"  # a regular expression, against the URL
    EXPRESSION = "expression"  # a regular expression, against the URL without its scheme (squidGuard)
    HOST_REGEX = "host"  # a regular expression, against the host


@dataclass(frozen=True, slots=True)
class UrlRule:
    """A rule that is matched against a URL or, depending on its kind, a host.

    `host` is the canonical host that the pattern is anchored to, including its subdomains, or empty. `line`, `text` and
    `file` (of a list that is a folder or an archive) say where and how it was written. An `exception` lifts what other
    rules of the same category block. `options` are its modifiers, as text for `rule_modifiers.parse_modifiers`.
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
    """The content of one block of a list. Hosts are canonical; all but `exact` stand for their subdomains too.

    `important` are those hosts that no exception lifts. `networks` are index keys (`names.network_key`), `sealed`
    SHA-256 digests in hexadecimal. `ignored` counts lines that were left out on purpose, by kind: comments, cosmetic
    rules, localhost lines.
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
        """Return the number of rules of all kinds."""
        names = (self.hosts, self.exact, self.excepted, self.networks, self.sealed)
        return sum(map(len, names)) + len(self.urls)
