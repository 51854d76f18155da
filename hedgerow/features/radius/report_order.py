"""The order of reports: an old one that somebody has recorded and sends again changes nothing.

RADIUS accounting has no protection against that (RFC 2866): a request is valid for as long as the secret is. So a
report must be as young as its time says (Event-Timestamp, RFC 2869), and no older than what is known of its session.

Pure: the clock is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.features.radius.protocol import Accounting, AccountingStatus
from hedgerow.values import BoundedDict

OLDEST_S = 600.0
"""Seconds between an event and its report. Access points repeat what is not answered for a minute or so."""

WRONG_CLOCK_S = 3600.0
"""Seconds between an event and its report beyond which the clock of who reports is probably wrong."""

FORGOTTEN_S = 24 * 3600.0
"""Seconds after which a session of which nothing was heard is forgotten: its number may be used again."""

_SESSIONS = 8192
_FIRST_PLAUSIBLE = 1_500_000_000
"""Seconds since 1970 below which a clock was never set: the time says nothing."""


class OldReport(Exception):
    """A report that changes nothing. It is answered, since whoever sends it repeats it otherwise."""


@dataclass(slots=True)
class _Progress:
    at: int = 0
    seconds: int = 0
    noted: float = 0.0
    has_ended: bool = False


class ReportOrder:
    """The newest report of each session, and the newest session of each device."""

    def __init__(self) -> None:
        self._sessions = BoundedDict[tuple[str, str], _Progress](_SESSIONS)
        self._newest = BoundedDict[str, tuple[str, str]](_SESSIONS)

    def check(self, report: Accounting, source: str, now: float) -> None:
        """Raise OldReport if a report is older than its session, or too old to be one that was sent just now."""
        at = time_of(report)
        if at and abs(now - at) > OLDEST_S:
            raise OldReport(f"its time is more than {OLDEST_S / 60:.0f} minutes from this machine's clock")
        known = self._known(report, source, now)
        if known is None or (report.status is AccountingStatus.START and at > known.at):
            return  # after its restart an access point may count its sessions anew
        if known.has_ended and report.status is not AccountingStatus.STOP:
            raise OldReport("its session has ended")
        if at < known.at or (report.seconds or 0) < known.seconds:
            raise OldReport("it is older than what is known of its session")

    def is_superseded(self, report: Accounting, source: str) -> bool:
        """Return True while the device has another session that began since: the end of this one is not the user's."""
        newest = self._newest.get(_device(report))
        if not report.session or newest is None or newest == (source, report.session):
            return False
        return newest not in self._sessions or not self._sessions[newest].has_ended

    def note(self, report: Accounting, source: str, now: float) -> None:
        """Note a report that was taken."""
        if not report.session:
            return
        key, known = (source, report.session), self._known(report, source, now)
        if known is None or (report.status is AccountingStatus.START and time_of(report) > known.at):
            known = _Progress()
        known.at, known.seconds = max(known.at, time_of(report)), max(known.seconds, report.seconds or 0)
        known.noted, known.has_ended = now, known.has_ended or report.status is AccountingStatus.STOP
        self._sessions[key] = known
        if report.status is AccountingStatus.START:
            self._newest[_device(report)] = key

    def _known(self, report: Accounting, source: str, now: float) -> _Progress | None:
        known = self._sessions.get((source, report.session)) if report.session else None
        return known if known is not None and now - known.noted < FORGOTTEN_S else None


def has_wrong_clock(report: Accounting, now: float) -> bool:
    """Return True if a report's time is hours from this machine's clock."""
    at = time_of(report)
    return at > 0 and abs(now - at) > WRONG_CLOCK_S


def time_of(report: Accounting) -> int:
    """Return the time of a report's event in seconds since 1970; 0 if it has none, or its clock was never set."""
    return report.at if report.at is not None and report.at > _FIRST_PLAUSIBLE else 0


def _device(report: Accounting) -> str:
    return report.mac or report.address
