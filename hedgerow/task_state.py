"""The state of a long-running task, as it is reported to control, and the description of an error in one line.

Apart from `watched_tasks` for those that do without asyncio, such as the signer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType

RECENT_S = 300.0
"""Seconds for which a failure is shown to people although the task runs again."""

_MAX_REASON = 300


class Area(StrEnum):
    """The part of the work that suffers while a task does not run."""

    RULES = "rules"
    DEVICES = "devices"
    MINUTES = "minutes"
    GATEWAY = "gateway"
    PROCESSES = "processes"
    MACHINES = "machines"
    LISTS = "lists"
    LOG = "log"
    NOTICES = "notices"
    PAGES = "pages"
    UPKEEP = "upkeep"
    SEATS = "seats"
    TUNNEL = "tunnel"
    CONNECTIONS = "connections"

    @property
    def is_for_filtering(self) -> bool:
        """True if the newest rules may not be enforced while a task of this area does not run."""
        return self in _FILTERING


_FILTERING = {Area.RULES, Area.DEVICES, Area.MINUTES, Area.GATEWAY, Area.PROCESSES, Area.MACHINES}


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of a task.

    `process` is a role. `failures` counts since the process began, `in_a_row` those without a steady run between.

    `failed` is the time of the last failure in seconds since the epoch, and `reason` describes it in one line.
    `pid` is the process id, since a process and its successor count apart.
    """

    process: str
    name: str
    area: Area
    failures: int = 0
    in_a_row: int = 0
    failed: float = 0.0
    reason: str = ""
    is_running: bool = True
    pid: int = 0

    @property
    def is_failing(self) -> bool:
        """True while the task does not run, and after a repeated failure until it has run steadily."""
        return not self.is_running or self.in_a_row > 1

    @property
    def text(self) -> str:
        """The task and its last failure, as one line for whoever looks after Hedgerow."""
        times = f", {self.failures} times" if self.failures > 1 else ""
        return (
            f"{self.name} in {self.process} ({'failing' if self.is_failing else 'running again'}{times}): {self.reason}"
        )

    def is_trouble(self, now: float) -> bool:
        """Return True while people should know: the task is failing, or has failed in the last minutes."""
        return self.is_failing or 0 < now - self.failed < RECENT_S


@dataclass(frozen=True, slots=True)
class StatusRow:
    """A problem that a service reports: what it is about, one sentence for people, and what they can do."""

    about: str
    problem: str
    remedy: str


def describe(error: BaseException) -> str:
    """Return an error in one line: its kind, its text, and the place in the source.

    >>> describe(ExceptionGroup("two", [KeyError("a"), ValueError("b")]))
    "KeyError: 'a'"
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())[:_MAX_REASON]
    place = _innermost(error.__traceback__)
    return ": ".join(filter(None, (type(error).__name__, text))) + (f" ({place})" if place else "")


def _innermost(traceback: TracebackType | None) -> str:
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
