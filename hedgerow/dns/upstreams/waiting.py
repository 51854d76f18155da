"""Who waits for which answer on a socket or a connection, under ids that cannot be guessed."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from typing import Protocol


def random_numbers() -> Iterator[int]:
    """16 bits each from the system's random source, fetched many at a time: a system call for each would be felt."""
    while True:
        yield from array("H", os.urandom(128))


class RandomOctets:
    """The same as octets: called with a number of them, at most 4096; each is given out once."""

    def __init__(self) -> None:
        self._octets, self._at = b"", 0

    def __call__(self, size: int) -> bytes:
        at = self._at
        if at + size > len(self._octets):
            self._octets, at = os.urandom(4096), 0
        self._at = at + size
        return self._octets[at : self._at]


class Question(Protocol):
    """Somebody who waits for the answer to `question`, as it was written."""

    question: bytes

    def deliver(self, message: bytes) -> None: ...

    def fail(self, fault: Exception) -> None: ...


class Waiting[Q: Question]:
    """Who waits for which id on one socket or connection."""

    def __init__(self) -> None:
        self.questions: dict[int, Q] = {}
        self._ids = random_numbers()

    def add(self, question: Q) -> int:
        number = next(self._ids)
        while number in self.questions:
            number = next(self._ids)
        self.questions[number] = question
        return number

    def fail(self, fault: Exception) -> None:
        for question in tuple(self.questions.values()):
            question.fail(fault)
