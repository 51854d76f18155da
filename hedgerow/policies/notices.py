"""Who is told of what, and when: the nouns of notices. Where somebody is reached is a secret, and not here.

A notice never speaks of helplines: it is made from what the journal may remember.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from hedgerow.policies.time_model import Schedule

RECEIVER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
"""Pattern of receivers' names. The file with a receiver's address bears that name."""


class NoticeTopic(StrEnum):
    """What a notice is about."""

    REQUEST = "request"
    NEW_DEVICE = "new-device"
    BYPASS = "bypass"
    REFUSED = "refused"
    LIST_HELD = "list-held"
    UPDATE_FAILED = "update-failed"
    BUDGET = "budget"
    TROUBLE = "trouble"


DEFAULT_TOPICS = tuple(topic for topic in NoticeTopic if topic is not NoticeTopic.REFUSED)
"""What somebody is told who has not said otherwise. What was refused is for those who ask for it: a notice for each is surveillance."""


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of day, in minutes after midnight; of one weekday (0 is Monday), or with None of each."""

    weekday: int | None
    minute: int

    def last_before(self, now: float, zone: ZoneInfo) -> float:
        """The latest instant not after `now` at which clocks showed it (seconds since the epoch).

        >>> ClockTime(6, 18 * 60).last_before(0.0, ZoneInfo("UTC")) / 86400
        -3.25
        """
        today = datetime.fromtimestamp(now, zone).date()
        for back in range(9):
            day = today - timedelta(days=back)
            instant = datetime(day.year, day.month, day.day, self.minute // 60, self.minute % 60, tzinfo=zone).timestamp()
            if instant <= now and self.weekday in (None, day.weekday()):
                return instant
        raise AssertionError("every weekday is among nine days")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody who is told `about` some topics: not in the hours of `quiet`, and with a `digest` once a day in one notice.

    A request is never kept for the digest, because somebody waits. `report` is when the weekly report is sent, None for never.
    `language` is one of `languages.LANGUAGES`.
    """

    name: str
    about: tuple[NoticeTopic, ...] = DEFAULT_TOPICS
    quiet: Schedule | None = None
    digest: ClockTime | None = None
    report: ClockTime | None = None
    language: str = "en"
