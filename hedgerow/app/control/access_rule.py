"""The rule of a feature for changes of what devices may access, and the one for none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from hedgerow.policies.model import Device


class ChangeKind(StrEnum):
    """Kind of a change."""

    ALLOW = "allow"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessChange:
    """A change that may open something: a grant, a pause, its end, or minutes for a budget.

    Without a device it is for everybody. With a `person`, the device is one that the person uses. `dangers` are the
    topics of `subject` that are kept from children.
    """

    kind: ChangeKind
    actor: str
    device: Device | None
    person: str | None = None
    subject: str = ""
    dangers: tuple[str, ...] = ()
    minutes: int = 0


class AccessRule(Protocol):
    """A rule that every change passes. It may refuse one, and have an entry of the journal written with it."""

    async def check(self, wanted: AccessChange | None) -> None:
        """Raise `InvalidInput` if a change would be refused now."""

    async def change[Result](self, wanted: AccessChange | None, write: Callable[..., Result]) -> Result:
        """Call `write` in a thread, with the entries to write with the change. Raises `InvalidInput`.

        None is a change that concerns no device.
        """


class NoRule:
    """The rule where no feature has one."""

    async def check(self, wanted: AccessChange | None) -> None:
        """Refuse nothing."""

    async def change[Result](self, wanted: AccessChange | None, write: Callable[..., Result]) -> Result:  # noqa: ARG002
        """Call `write` in a thread."""
        return await asyncio.to_thread(write)
