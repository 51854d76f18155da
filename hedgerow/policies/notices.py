"""Receivers of notices and their topics. Addresses of receivers are secrets and are not stored here.

A notice never mentions helplines: it is made from what the journal may store.
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
    """The subject of a notice."""

    REQUEST = "request"
    NEW_DEVICE = "new-device"
    BYPASS = "bypass"
    REFUSED = "refused"
    LIST_HELD = "list-held"
    UPDATE_FAILED = "update-failed"
    BUDGET = "budget"
    TROUBLE = "trouble"


DEFAULT_TOPICS = tuple(topic for topic in NoticeTopic if topic is not NoticeTopic.REFUSED)
"""Topics of a receiver that names none. REFUSED must be asked for: a notice for each refusal is surveillance."""


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of day in minutes after midnight, on one weekday (0 is Monday) or, with None, on each."""

    weekday: int | None
    minute: int

    def last_before(self, now: float, zone: ZoneInfo) -> float:
        """Return the latest instant (seconds since the epoch) up to `now` at which clocks showed it.

        >>> ClockTime(6, 18 * 60).last_before(0.0, ZoneInfo("UTC")) / 86400
        -3.25
        """
        today = datetime.fromtimestamp(now, zone).date()
        for back in range(9):
            day = today - timedelta(days=back)
            instant = datetime(
                day.year, day.month, day.day, self.minute // 60, self.minute % 60, tzinfo=zone
            ).timestamp()
            if instant <= now and self.weekday in (None, day.weekday()):
                return instant
        raise AssertionError("every weekday is among nine days")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver of notices `about` some topics, except during `quiet`; with a `digest`, in one notice per day.

    Requests never wait for the digest, because somebody is waiting. `report` is the time of the weekly report, None for
    never. `language` is one of `locales.LANGUAGES`.
    """

    name: str
    about: tuple[NoticeTopic, ...] = DEFAULT_TOPICS
    quiet: Schedule | None = None
    digest: ClockTime | None = None
    report: ClockTime | None = None
    language: str = "en"
