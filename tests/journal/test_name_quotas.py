"""A device that invents names fills no disk: beyond a bound, the journal counts them under their domain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from hedgerow.journal import name_quotas
from hedgerow.journal.name_quotas import (
    MOST_OCTETS,
    MOST_PER_DEVICE,
    MOST_PER_DOMAIN,
    MOST_UNNAMED,
    MOST_UNNAMED_DEVICES,
    NameQuotas,
)
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.recorder import Recorder, _Buffer
from hedgerow.journal.sightings import MAX_STRANGERS
from hedgerow.journal.store import Store
from hedgerow.journal.tables import decisions, devices_seen, hourly
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

DAY = 86_400.0
TODAY = 20_000 * DAY
NAMED = {"tablet", "phone"}


def seen(
    host: str,
    device: str = "tablet",
    when: float = TODAY,
    verdict: Verdict = Verdict.ALLOW,
    reason: Reason = Reason.DEFAULT,
) -> Observation:
    return Observation(when, DeviceId(device), "mia", "child-8-12", RequestKind.DNS, verdict, reason, host=host)


def blocked(host: str, device: str = "tablet", reason: Reason = Reason.CATEGORY) -> Observation:
    return seen(host, device, verdict=Verdict.BLOCK, reason=reason)


@pytest.fixture
def quotas() -> NameQuotas:
    return NameQuotas(NAMED.__contains__)


def stored(quotas: NameQuotas, observation: Observation, now: float = TODAY) -> str:
    return quotas.bounded(observation, now).host


def test_names_beyond_the_bound_of_a_domain_count_under_it() -> None:
    buffer = _Buffer(100_000, numbers_batches=False, clock=lambda: TODAY, is_named=NAMED.__contains__)
    buffer.add([seen(f"n{number}.example.co.uk") for number in range(MOST_PER_DOMAIN)])
    assert len(buffer.take().observations) == MOST_PER_DOMAIN
    for _ in range(2):
        buffer.add([seen(f"more{number}.example.co.uk") for number in range(5_000)])
        buffer.add([seen("n7.example.co.uk"), seen("more1.example.co.uk", "phone"), seen("www.example.org")])
        stored = [(each.host, each.device, each.count) for each in buffer.take().observations]
        assert stored == [
            ("example.co.uk", "tablet", 5_000),
            ("n7.example.co.uk", "tablet", 1),
            ("more1.example.co.uk", "phone", 1),
            ("www.example.org", "tablet", 1),
        ]


def test_names_of_many_domains_count_under_the_last_label(quotas: NameQuotas) -> None:
    for number in range(MOST_PER_DEVICE):
        assert stored(quotas, seen(f"d{number}.com")) == f"d{number}.com"
    assert stored(quotas, seen("another.com")) == "com"
    assert stored(quotas, seen("d5.com")) == "d5.com"
    assert stored(quotas, seen("another.com", "phone")) == "another.com"
    assert stored(quotas, seen("")) == ""
    assert stored(quotas, blocked("www.adult.com")) == "www.adult.com", "blocked names have a part of their own"
    assert stored(quotas, seen("another.com", when=TODAY + DAY)) == "com", "the clock says which day it is"
    assert stored(quotas, seen("another.com"), TODAY + DAY) == "another.com"


def test_addresses_that_a_device_invents_take_nothing_from_devices_of_the_policy(quotas: NameQuotas) -> None:
    for number in range(MOST_UNNAMED):
        assert stored(quotas, seen(f"d{number}.com", f"02:00:00:00:00:{number // MOST_PER_DEVICE:02x}")) != "com"
    assert stored(quotas, seen("another.com", "02:00:00:00:00:77")) == "com"
    assert stored(quotas, blocked("www.adult.com", "02:00:00:00:00:77")) == "www.adult.com"
    assert stored(quotas, seen("www.another.com")) == "www.another.com"
    assert stored(quotas, blocked("www.adult.com")) == "www.adult.com"


def test_blocked_names_keep_their_domain(quotas: NameQuotas) -> None:
    for number in range(MOST_PER_DEVICE):
        stored(quotas, blocked(f"d{number}.com", reason=Reason.BEDTIME))
    assert stored(quotas, blocked("www.d7.com", reason=Reason.BEDTIME)) == "d7.com"
    for number in range(MOST_PER_DEVICE):
        assert stored(quotas, blocked(f"www.more{number}.com", reason=Reason.BEDTIME)) == f"more{number}.com"
    assert stored(quotas, blocked("www.last.com", reason=Reason.BEDTIME)) == "com", "the disk has a bound"
    assert stored(quotas, blocked("www.more5.com", reason=Reason.BEDTIME)) == "more5.com"
    assert stored(quotas, blocked("www.adult.com")) == "www.adult.com", "the reason is another one"


def test_a_time_in_the_future_keeps_no_day(quotas: NameQuotas) -> None:
    stored(quotas, seen("a.example", when=TODAY + 300 * DAY))
    for number in range(MOST_PER_DEVICE):
        stored(quotas, seen(f"d{number}.com"))
    assert stored(quotas, seen("another.com")) == "com"
    assert stored(quotas, seen("another.com", when=TODAY + DAY), TODAY + DAY) == "another.com"


def requested(url: str, device: str = "tablet", verdict: Verdict = Verdict.ALLOW) -> Observation:
    reason = Reason.CATEGORY if verdict is Verdict.BLOCK else Reason.DEFAULT
    return replace(seen("www.example.org", device, verdict=verdict, reason=reason), kind=RequestKind.HTTP, url=url)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """A hundredth of the octets that a device has in a day."""
    monkeypatch.setattr(name_quotas, "MOST_OCTETS", MOST_OCTETS // 100)
    return MOST_OCTETS // 100


def test_a_page_that_is_loaded_all_day_fills_no_disk(journal: Store, small: int) -> None:
    recorder = Recorder(journal, clock=lambda: TODAY, limit=1_000_000, is_named=NAMED.__contains__)
    page = "http://www.example.org/" + "x" * 2_000
    tries = 2 * small // len(page)
    for start in range(0, tries, 100):
        recorder.add([requested(f"{page}{number}") for number in range(start, start + 100)])
        recorder.flush()
    recorder.add([requested(page, verdict=Verdict.BLOCK), requested(page, "phone")])
    recorder.flush()
    reader = JournalReader(journal)
    with journal.engine.connect() as connection:
        stored = connection.scalar(select(func.sum(func.length(decisions.c.url))))
        last = connection.execute(select(decisions.c.device, decisions.c.verdict).order_by(decisions.c.id.desc())).all()
    assert stored <= small + len(page)
    assert [tuple(each) for each in last[:2]] == [("phone", "allow"), ("tablet", "block")], "others have their own part"
    (tablet,) = [each for each in reader.devices(TODAY) if each.device == "tablet"]
    assert tablet.allowed >= tries, "all are in the sums"
    assert tablet.blocked == 1


def test_names_that_are_asked_for_again_and_again_fill_no_disk(small: int) -> None:
    buffer = _Buffer(10_000_000, numbers_batches=False, clock=lambda: TODAY, is_named=NAMED.__contains__)
    rows = 0
    for _ in range(4 * small // (200 * 500)):
        buffer.add([seen(f"n{number}.example.org") for number in range(500)])
        batch = buffer.take()
        rows += len(batch.observations)
    assert rows * 200 <= small
    assert not batch.observations
    assert [(each.host, each.count) for each in batch.counted] == [("", 500)]


def test_made_up_addresses_are_one_device_beyond_a_number(journal: Store) -> None:
    recorder = Recorder(journal, clock=lambda: TODAY, is_named=NAMED.__contains__)
    macs = [f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(MOST_UNNAMED_DEVICES + 2_000)]
    recorder.add([seen("example.org", mac) for mac in macs])
    recorder.add([seen("example.org", "tablet"), seen("example.org", macs[0])])
    recorder.flush()
    with journal.engine.connect() as connection:
        sums = {
            row.device: row.number
            for row in connection.execute(select(hourly.c.device, hourly.c.count.label("number")))
        }
        known = set(connection.scalars(select(devices_seen.c.device)))
    assert len(sums) == MOST_UNNAMED_DEVICES + 2
    assert (sums["*"], sums["tablet"], sums[macs[0]]) == (2_000, 1, 2)
    assert "*" not in known, "it is no device"
    assert len(known) <= MAX_STRANGERS + 1
