"""Births, and what changes by itself as people grow up: their profiles, and what the law closes to their age."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Born:
    """The month, or the day, of a birth. Without a day, birthdays are on the first of the month."""

    year: int
    month: int
    day: int | None = None

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}" + (f"-{self.day:02}" if self.day is not None else "")


@dataclass(frozen=True, slots=True)
class ProfileStep:
    """A profile from an instant on. No clock brings one that is not certain: it is announced, and may come later."""

    at: float
    profile: str
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class LegalClosing:
    """A topic that the law closes to somebody's age. `law` is its title, with the age and the day of commencement."""

    topic: str
    law: str


@dataclass(frozen=True, slots=True)
class LegalStep:
    """Closings by law from an instant on. As with profiles, no clock brings one that is not certain."""

    at: float
    closings: tuple[LegalClosing, ...]
    is_certain: bool = True


type Step = ProfileStep | LegalStep
