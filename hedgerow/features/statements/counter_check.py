"""The counter's entries in a statement, and the check of entries against the statements that cover them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from hedgerow.features.cafe.counter_store import EntryChain
from hedgerow.features.cafe.entry_chain import ChainedEntry, link_problems
from hedgerow.features.statements.chain import CounterDay, Statement

KEPT_DAYS = 398
"""Days for which entries are surely kept. Those of older days may be deleted."""
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class EntriesReport:
    """The result of a check: the number of entries, what must not be, and what is to be known."""

    entries: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def counter_day(counter: EntryChain, day: int, before: CounterDay | None) -> CounterDay:
    """Return what a statement says of the counter: all entries since the statement before, or of its day in the first.

    Waits for the disk.
    """
    begun = before.last if before is not None else counter.last_link(day * _DAY_S)[0]
    number, digest = counter.last_link((day + 1) * _DAY_S)
    if number <= begun:
        number, digest = begun, before.digest if before is not None else digest
    covered = counter.entries(begun + 1, number) if number > begun else ()
    return CounterDay(begun + 1, number, digest, *_sums(each for each in covered if each.number > 0))


def _sums(entries: Iterable[ChainedEntry]) -> tuple[dict[str, int], dict[str, int]]:
    """Return what was due and what was taken, by currency."""
    listed = list(entries)
    return _sum(listed, "due"), _sum(listed, "taken")


def _sum(entries: Iterable[ChainedEntry], name: str) -> dict[str, int]:
    found = Counter[str]()
    for each in entries:
        if isinstance(amount := each.entry.get(name), int):
            found[str(each.entry.get("currency", ""))] += amount
    return {currency: amount for currency, amount in found.items() if amount}


def check_lines(lines: Iterable[bytes], stated: Sequence[Statement]) -> EntriesReport:
    """Check a file of entries against the statements of a chain."""
    entries, problems = [], []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(ChainedEntry.parse(line))
        except ValueError as error:
            problems.append(f"line {number} is no entry of the counter: {error}")
    found = check_entries(entries, stated)
    return EntriesReport(found.entries, (*problems, *found.problems), found.notes)


def check_entries(entries: Sequence[ChainedEntry], stated: Sequence[Statement]) -> EntriesReport:
    """Check entries against statements: a changed, dropped, added or moved one is a problem."""
    problems = list(link_problems(entries))
    numbered = sorted((each for each in entries if each.number > 0), key=lambda each: each.number)
    covering = [each for each in stated if each.counter is not None]
    notes = []
    for each in covering:
        problems += _day_problems(each, numbered, _is_kept(each, covering[-1]))
    signed_until = covering[-1].counter.last if covering and covering[-1].counter is not None else 0
    if waiting := sum(each.number > signed_until for each in numbered):
        notes.append(f"{waiting} entries of the counter are newer than the last statement, and not signed yet")
    if numbered and (first := numbered[0].number) > 1:
        notes.append(f"the entries of the counter before number {first} are not in the file")
    return EntriesReport(len(entries), tuple(problems), tuple(notes))


def _is_kept(stated: Statement, last: Statement) -> bool:
    return (date.fromisoformat(last.day) - date.fromisoformat(stated.day)).days < KEPT_DAYS


def _day_problems(stated: Statement, numbered: Sequence[ChainedEntry], must_be_there: bool) -> Iterator[str]:
    """Yield what is wrong with the entries that a statement covers."""
    day = stated.counter
    if day is None or day.last < day.first:
        return
    begin = bisect_left(numbered, day.first, key=lambda each: each.number)
    covered = numbered[begin : bisect_right(numbered, day.last, lo=begin, key=lambda each: each.number)]
    name = f"statement {stated.number} ({stated.day})"
    if (missing := day.last - day.first + 1 - len(covered)) > 0:
        if must_be_there:
            yield f"{missing} of the counter's entries {day.first} to {day.last}, which {name} covers, are missing"
    elif _sums(covered) != (day.due, day.taken):
        yield f"the sums of the counter's entries {day.first} to {day.last} are not those of {name}"
    if covered and covered[-1].number == day.last and covered[-1].digest != day.digest:
        yield f"entry {day.last} of the counter is not the one that {name} has signed"
