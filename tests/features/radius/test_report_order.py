"""Old reports that somebody recorded and sends again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hedgerow.features.radius.protocol import Accounting, AccountingStatus
from hedgerow.features.radius.report_order import FORGOTTEN_S, OLDEST_S, OldReport, ReportOrder

POINT, OTHER_POINT = "192.168.1.3", "192.168.1.4"
NOW = 1_796_200_000.0
START = Accounting(AccountingStatus.START, "ana", "", "02:00:5e:00:53:01", session="5F", at=int(NOW))
STOP = replace(START, status=AccountingStatus.STOP, at=int(NOW) + 60, seconds=60)


@pytest.fixture
def order() -> ReportOrder:
    return ReportOrder()


def send(order: ReportOrder, report: Accounting, now: float, source: str = POINT) -> None:
    order.check(report, source, now)
    order.note(report, source, now)


def test_a_session_and_repetitions_of_what_was_not_answered(order: ReportOrder) -> None:
    send(order, START, NOW)
    send(order, START, NOW + 5)
    send(order, replace(START, status=AccountingStatus.INTERIM, at=int(NOW) + 30, seconds=30), NOW + 30)
    send(order, STOP, NOW + 60)
    send(order, STOP, NOW + 65)


def test_a_report_of_another_day_is_refused(order: ReportOrder) -> None:
    with pytest.raises(OldReport, match="from this machine's clock"):
        order.check(START, POINT, NOW + OLDEST_S + 1)


@pytest.mark.parametrize("at", [None, 86_400], ids=["no time", "a clock that was never set"])
def test_without_a_time_the_session_counts(order: ReportOrder, at: int | None) -> None:
    start, stop = replace(START, at=at), replace(STOP, at=at)
    send(order, start, NOW)
    send(order, stop, NOW + 60)
    with pytest.raises(OldReport, match="has ended"):
        order.check(start, POINT, NOW + 61)
    order.check(start, POINT, NOW + 61 + FORGOTTEN_S)


def test_a_recorded_start_does_not_revive_a_session(order: ReportOrder) -> None:
    send(order, START, NOW)
    send(order, STOP, NOW + 60)
    with pytest.raises(OldReport, match="has ended"):
        order.check(START, POINT, NOW + 90)
    order.check(replace(START, at=int(NOW) + 90), POINT, NOW + 90)  # an access point that counts anew


def test_a_recorded_interim_report_is_older_than_its_session(order: ReportOrder) -> None:
    interim = replace(START, status=AccountingStatus.INTERIM, at=int(NOW) + 30, seconds=30)
    send(order, START, NOW)
    send(order, interim, NOW + 30)
    send(order, replace(interim, at=int(NOW) + 60, seconds=60), NOW + 60)
    with pytest.raises(OldReport, match="older than what is known"):
        order.check(interim, POINT, NOW + 61)


def test_the_end_at_one_access_point_is_not_the_end_at_the_next(order: ReportOrder) -> None:
    send(order, START, NOW)
    send(order, replace(START, session="77", at=int(NOW) + 50), NOW + 50, OTHER_POINT)
    assert order.is_superseded(STOP, POINT)
    assert not order.is_superseded(replace(STOP, session="77"), OTHER_POINT)


def test_a_session_that_has_ended_supersedes_none(order: ReportOrder) -> None:
    elsewhere = replace(START, session="77", at=int(NOW) + 50)
    send(order, START, NOW)
    send(order, elsewhere, NOW + 50, OTHER_POINT)
    send(order, replace(elsewhere, status=AccountingStatus.STOP, at=int(NOW) + 55), NOW + 55, OTHER_POINT)
    assert not order.is_superseded(STOP, POINT)
