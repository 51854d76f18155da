"""Families of inputs that grow, made from a target's seeds, and the check that a parser's work grows no faster than its
input.

No family is written with a parser in mind: a substring of a seed is repeated where it is, with and without what
follows, alone and with a number in each repetition; single characters are repeated at each place; two substrings take
turns. A target adds families of its own where lengths have to fit (`FuzzTarget.grown`).
"""

from __future__ import annotations

import gc
import mmap
import random
import re
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fuzz_targets.target import Family, FuzzTarget, Shape

SIZES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18)
"""Octets of the inputs, each four times the one before."""

MOST_GROWTH = 8
"""Four times the input may cost up to this many times the CPU time: linear work, and as much again for caches and a
busy machine.
"""

FLOOR_SECONDS = 0.004
"""CPU seconds below which a time counts as this long, so that noise is no growth."""

TRIES = 3
_TOKEN = re.compile(rb"[A-Za-z]+|[0-9]+|[ \t]+|[\x80-\xff]+|.", re.DOTALL)
_FILLERS = (b"a", b" ", b"0", b"\n", b"\0", b"\xff")
_MOST_PLACES = 80  # of a seed at which it is grown


def families_of(target: FuzzTarget) -> Iterator[Family]:
    """Yield a target's own families, then those of its seeds in a fixed order that mixes all kinds.

    Seeds longer than the inputs that are tried first make none, as nothing in them would grow.
    """
    yield from target.grown
    seeds = [seed for seed in target.seeds if len(seed) < SIZES[2]]
    shapes = [shape for seed in seeds for shape in _shapes(seed, target.tokens) if shape.unit]
    random.Random(len(shapes)).shuffle(shapes)
    yield from dict.fromkeys(shapes)


def _shapes(seed: bytes, extra: tuple[bytes, ...]) -> Iterator[Shape]:
    tokens, chance = _TOKEN.findall(seed), random.Random(seed)
    known = [*dict.fromkeys([*extra, *(token for token in tokens if len(token) < 40)])]
    marks = [token for token in known if len(token) == 1 and not token.isalnum()]
    for at in range(0, len(tokens) + 1, max(1, len(tokens) // _MOST_PLACES)):
        start, rest = b"".join(tokens[:at]), b"".join(tokens[at:])
        for filler in (*_FILLERS, *chance.sample(known, min(len(known), 4))):
            ends = (rest, b"", *chance.sample(marks, min(len(marks), 3)))
            yield from (Shape(start, filler, end) for end in ends)
        for length in (1, 2, 3, 5, 8, 13):
            unit, end = b"".join(tokens[at : at + length]), b"".join(tokens[at + length :])
            yield from (Shape(start, unit, end), Shape(start, unit, b""), Shape(start, unit, end, is_numbered=True))
    head, tail = seed[: len(seed) // 2], seed[len(seed) // 2 :]
    for one in known:
        yield from (Shape(b"", one, b""), Shape(b"", one, seed), Shape(seed, one, b""))
        for other in chance.sample(known, min(len(known), 6)):
            yield from (Shape(start, one + other, end) for start in (b"", head) for end in (b"", tail))


@dataclass(frozen=True, slots=True)
class Growth:
    """CPU seconds of one family at two sizes, the second of which is four times the first."""

    family: Family
    size: int
    before: float
    after: float

    @property
    def is_too_fast(self) -> bool:
        """The time has grown faster than the input."""
        return self.after > MOST_GROWTH * max(self.before, FLOOR_SECONDS)

    def __str__(self) -> str:
        return (
            f"{self.before * 1000:.1f} ms became {self.after * 1000:.1f} ms with four times {self.size} octets of"
            f" {self.family}"
        )


def cpu_seconds(target: FuzzTarget, data: bytes) -> float:
    """Return the CPU seconds that a target takes for an input."""
    begun = time.process_time()
    target(data)
    return time.process_time() - begun


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def page_fault_seconds() -> float:
    """Return the CPU seconds that the kernel takes for a page of new memory, as busy as the machine is now."""
    size = 16 << 20
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        begun, before = time.process_time(), _page_faults()
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1
        return (time.process_time() - begun) / max(_page_faults() - before, 1)


def settled_seconds(target: FuzzTarget, data: bytes, page_fault: float) -> float:
    """Return the CPU seconds for an input in memory that the process has already, if a page of new memory takes
    `page_fault` seconds.

    What fits into memory that an earlier input has left needs no new pages. Four times as much may need ten times as
    many.
    """
    before = _page_faults()
    seconds = cpu_seconds(target, data)
    return max(0.0, seconds - (_page_faults() - before) * page_fault)


def find_fast_growth(target: FuzzTarget, seconds: float, largest: int = SIZES[-1]) -> Growth | None:
    """Return a family for which a target's time grows faster than its input, None if none is found in about these CPU
    seconds.

    The families are tried up to 16 kB. Those among them whose time grows fastest, and those whose time is longest, are
    tried up to `largest` octets, one of `SIZES`.
    """
    gc.disable()
    begun = time.process_time()
    try:
        tried = list[Growth]()
        for family in families_of(target):
            growth = _grow(target, family, SIZES[:3])
            if growth.is_too_fast:
                return growth
            tried.append(growth)
            if time.process_time() - begun > seconds / 2 and len(tried) > len(target.grown):
                break
        for family in _most_promising(tried):
            growth = _grow(target, family, SIZES[2 : SIZES.index(largest) + 1])
            if growth.is_too_fast:
                return growth
            if time.process_time() - begun > seconds:
                break
        return None
    finally:
        gc.enable()


def slowest_family(target: FuzzTarget, seconds: float) -> Family:
    """Return the family with the longest time at 16 kB among those that can be tried in about these CPU seconds."""
    begun, slowest, longest = time.process_time(), None, -1.0
    for family in families_of(target):
        took = cpu_seconds(target, family(SIZES[2]))
        if took > longest:
            slowest, longest = family, took
        if time.process_time() - begun > seconds:
            break
    assert slowest is not None
    return slowest


def _most_promising(tried: Sequence[Growth]) -> Iterable[Family]:
    """Return families in turn from those whose time grows fastest and those whose time is longest."""
    by_growth = sorted(tried, key=lambda each: each.after / max(each.before, FLOOR_SECONDS / 100), reverse=True)
    by_time = sorted(tried, key=lambda each: each.after, reverse=True)
    return dict.fromkeys(each.family for pair in zip(by_time, by_growth, strict=True) for each in pair)


def _grow(target: FuzzTarget, family: Family, sizes: Sequence[int]) -> Growth:
    """Return the growth between the last two sizes, or between the first two for which it is too fast."""
    growth = Growth(family, sizes[0], 0.0, cpu_seconds(target, family(sizes[0])))
    for size in sizes[:-1]:
        growth = Growth(family, size, growth.after, cpu_seconds(target, family(4 * size)))
        if growth.is_too_fast and (growth := _again(target, growth)).is_too_fast:
            break
    return growth


def _again(target: FuzzTarget, growth: Growth) -> Growth:
    """Return the growth by the best of some tries, without the time for new memory."""
    small, large, page_fault = growth.family(growth.size), growth.family(4 * growth.size), page_fault_seconds()
    before = min(settled_seconds(target, small, page_fault) for _ in range(TRIES))
    after = growth.after
    for _ in range(TRIES):
        after = min(after, settled_seconds(target, large, page_fault))
        if after <= MOST_GROWTH * max(before, FLOOR_SECONDS):
            break
    return Growth(growth.family, growth.size, before, after)
