"""What a list parser yields: rules and problems, each with the place where it stands."""

from __future__ import annotations

from dataclasses import dataclass


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
