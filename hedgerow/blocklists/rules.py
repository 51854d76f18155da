"""What a list parser yields: rules and problems, each with the place where it stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


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
    """One thing wrong in a list or a policy file: where it is (line and column from 1), what it is, what to do."""

    source: str
    line: int | None
    column: int | None
    message: str
    text: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class UrlRule:
    """A rule about URLs, in the pattern language of ad blockers (`||host`, `|`, `*`, `^`).

    `host` is the canonical host that the pattern is anchored to, which stands for its subdomains too, or empty. `line` and
    `text` say where and how it was written; `exception` lifts what other rules of the same category block.
    """

    pattern: str
    host: str
    line: int
    text: str
    exception: bool = False


@dataclass(slots=True)
class Parsed:
    """What one stretch of a list says. Hosts are canonical; `hosts` and `excepted` stand for their subdomains too, `exact` does not.

    `ignored` counts what was left out on purpose and is nobody's mistake, by kind: comments, cosmetic rules, localhost lines.
    """

    hosts: list[str] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    excepted: list[str] = field(default_factory=list)
    urls: list[UrlRule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
