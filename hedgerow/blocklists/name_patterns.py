"""Rules about names that no index can hold (`Kind.HOST_REGEX`), matched: one Aho-Corasick pass finds those worth trying.

One expression made of all of them would be slow: each new name leads it to states that it has not seen before.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ahocorasick

from hedgerow.blocklists.generation import NAMES
from hedgerow.blocklists.patterns import compile_set, regex_fragments

_TELLING = 3
"""A literal text in a pattern is worth looking for from this length."""


@dataclass(frozen=True, slots=True)
class NamePattern:
    """`blocks` or `lifts` is the bit of its category."""

    source: int
    line: int
    pattern: str
    text: str
    file: str
    blocks: int
    lifts: int


class NamePatterns:
    """All of a generation. Raises BadRegex for a pattern that cannot be run, which no compiler lets through."""

    def __init__(self, patterns: Iterable[NamePattern]) -> None:
        found = defaultdict[str, list[NamePattern]](list)
        for pattern in patterns:
            fragment = max(regex_fragments(pattern.pattern), key=len, default="")
            found[fragment if len(fragment) >= _TELLING else ""].append(pattern)
        self._always = found.pop("", [])
        self._in_always = compile_set([each.pattern for each in self._always])
        self._buckets = list(found.values())
        self._automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        for bucket, fragment in enumerate(found):
            self._automaton.add_word(fragment, bucket)
        if found:
            self._automaton.make_automaton()
        self._tests: dict[str, Callable[[str], Sequence[int]]] = {}

    @classmethod
    def open(cls, generation: Path, masks: Sequence[int]) -> NamePatterns:
        """`masks` are the bits of the sources' categories. Raises OSError or ValueError."""
        rows: list[list[Any]] = json.loads((generation / NAMES).read_text(encoding="utf-8"))
        return cls(
            NamePattern(source, line, pattern, text, file, 0 if exception else masks[source], masks[source] if exception else 0)
            for source, line, exception, pattern, text, file in rows
        )

    def __bool__(self) -> bool:
        return bool(self._always or self._buckets)

    def matching(self, host: str) -> list[NamePattern]:
        """The patterns that a canonical host matches."""
        found = [self._always[number] for number in self._in_always(host)]
        if self._buckets:
            for bucket in {bucket for _end, bucket in self._automaton.iter(host)}:
                found += [pattern for pattern in self._buckets[bucket] if self._test(pattern.pattern)(host)]
        return found

    def _test(self, pattern: str) -> Callable[[str], Sequence[int]]:
        test = self._tests.get(pattern)
        if test is None:
            test = self._tests[pattern] = compile_set([pattern])
        return test
