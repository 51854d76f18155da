"""The texts by which rules are found in URLs, in a file that is mapped into memory: a trie in the order of its levels.

Numbers of 32 bits, in the machine's order, come first: the number of nodes; for each node its first child, and after
the last one the number of nodes again; for each node its value. A letter per node follows. The children of a node
follow each other, and those of the next node follow them. A value is the number of the text that ends in the node plus
one, or 0. Node 0 is the beginning of all texts.

`_pieces.c` searches the file itself. Where it could not be built, an automaton of the texts is made, which each process
keeps in memory.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Buffer, Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import ahocorasick

from hedgerow.blocklists.generation import map_file

find_fragments: Callable[[Buffer, str], Collection[int]] | None = None
with contextlib.suppress(ImportError):  # there was no compiler, and no wheel for this machine
    from hedgerow.blocklists.recognition._pieces import find_fragments as find_compiled

    find_fragments = find_compiled

MAX_FRAGMENT: Final = 32
"""The octets of the longest text."""


def write_fragments(path: Path, numbers: Mapping[str, int]) -> None:
    """Write the file for texts in ASCII with their numbers. Raises OSError."""
    texts = [text.encode("ascii") for text in sorted(numbers)]
    firsts, values, letters = array("I"), array("I", [0]), bytearray(1)
    # for each node, the first of the texts that begin with it and the end of these
    level, length = array("I", [0, len(texts)]), 0
    while level:
        longer = array("I")
        for begin, end in zip(level[::2], level[1::2], strict=True):
            firsts.append(len(letters))
            # A node's own text is the first of them.
            begin += begin < end and len(texts[begin]) == length
            while begin < end:
                letter, first = texts[begin][length], begin
                while begin < end and texts[begin][length] == letter:
                    begin += 1
                letters.append(letter)
                values.append(numbers[texts[first].decode()] + 1 if len(texts[first]) == length + 1 else 0)
                longer.extend((first, begin))
        level, length = longer, length + 1
    firsts.append(len(letters))
    with path.open("wb") as file:
        for table in (array("I", [len(letters)]), firsts, values, letters):
            file.write(table)


class FragmentTable:
    """The texts of a file. Raises OSError, or ValueError for a file that is not whole.

    `find(text)` returns the numbers of all texts that occur in an ASCII text, each once.
    """

    def __init__(self, path: Path) -> None:
        self._table = map_file(path)
        self._nodes = self._table[:4].cast("I")[0] if len(self._table) >= 4 else 0
        if not self._nodes or len(self._table) != 8 + 9 * self._nodes:
            raise ValueError(f"{path}: {len(self._table)} octets for {self._nodes} nodes")
        self.find: Callable[[str], Collection[int]] = (
            partial(find_fragments, self._table) if find_fragments is not None else self._make_find()
        )

    def items(self) -> Iterator[tuple[str, int]]:
        """Yield the texts with their numbers, the shortest first."""
        numbers, letters = self._table[4 : -self._nodes].cast("I"), self._table[-self._nodes :]
        texts = [""]
        for node in range(self._nodes):
            if value := numbers[self._nodes + 1 + node]:
                yield texts[node], value - 1
            texts += [texts[node] + chr(letters[child]) for child in range(numbers[node], numbers[node + 1])]

    def _make_find(self) -> Callable[[str], Collection[int]]:
        automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        for text, number in self.items():
            automaton.add_word(text, number)
        if not len(automaton):
            return lambda _text: ()
        automaton.make_automaton()
        return lambda text: {number for _end, number in automaton.iter(text)}
