from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.app.control.snapshots.sites_seen import SitesSeenFile
from hedgerow.policies.feature_settings import WorkerReport
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.sites_seen import DAY_S, MAX_SITES_PER_DAY, SitesSeen

START = 20_781 * DAY_S + 3600.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def policy(text: str = "people: {mia: {age: 6}}\nnetwork: {new_sites_days: 7}") -> Policy:
    return parse_policy(text.encode(), Path("hedgerow.yaml"))


def read(file: Path | None) -> SitesSeen:
    assert file is not None
    return SitesSeen.unpack(file.read_bytes())


def test_sites_outlast_a_restart_and_the_first_days_are_for_learning(tmp_path: Path) -> None:
    clock = Clock()
    before = SitesSeenFile(tmp_path, clock)
    sites = read(before.prepare(policy()))
    assert sites.is_learning
    before.note(sites.hash_of("example.net"))
    before.prepare(policy())
    clock.now += 7 * DAY_S
    after = SitesSeenFile(tmp_path, clock)
    later = read(after.prepare(policy()))
    assert (later.is_learning, later.is_new("example.net"), later.is_new("example.org")) == (False, False, True)
    after.note(later.hash_of("example.org"))
    assert read(after.prepare(policy())).is_new("example.org")
    clock.now += 7 * DAY_S
    assert not read(after.prepare(policy())).is_new("example.org")


def test_nothing_is_kept_that_nobody_needs(tmp_path: Path) -> None:
    keeper = SitesSeenFile(tmp_path, Clock())
    file = keeper.prepare(policy())
    assert file is not None
    keeper.note(1)
    assert keeper.prepare(policy("people: {ben: {age: 9}}")) is None
    assert not file.exists()
    assert read(keeper.prepare(policy())).first_day(1) is None


def test_random_names_of_one_day_do_not_push_out_the_others(tmp_path: Path) -> None:
    clock = Clock()
    keeper = SitesSeenFile(tmp_path, clock)
    keeper.prepare(policy())
    for site in range(2 * MAX_SITES_PER_DAY):
        keeper.note(site)
    assert len(read(keeper.prepare(policy())).hashes) == MAX_SITES_PER_DAY
    keeper.note(2**40)
    clock.now += DAY_S
    keeper.prepare(policy())
    keeper.note(2**41)
    sites = read(keeper.prepare(policy()))
    assert (sites.first_day(2**40), sites.first_day(2**41)) == (None, 20_782)


def test_a_damaged_file_is_learnt_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sites_seen").write_bytes(b"HGSEEN1\n and rubbish")
    assert read(SitesSeenFile(tmp_path, Clock()).prepare(policy())).is_learning
    assert "learnt again" in caplog.text


def test_a_clock_that_was_ahead_closes_nothing_for_long(tmp_path: Path) -> None:
    clock = Clock()
    clock.now += 400 * DAY_S
    ahead = SitesSeenFile(tmp_path, clock)
    sites = read(ahead.prepare(policy()))
    ahead.note(sites.hash_of("example.net"))
    ahead.prepare(policy())
    clock.now = START
    right = read(SitesSeenFile(tmp_path, clock).prepare(policy()))
    assert (right.since, right.is_new("example.net")) == (20_781, False)


def test_days_of_registration_outlast_a_restart_while_the_policy_asks_for_them(tmp_path: Path) -> None:
    asks = replace(policy("people: {mia: {age: 6}}"), reports=(WorkerReport.NEW_SITES,))
    before = SitesSeenFile(tmp_path, Clock())
    assert not before.lacks_date("example.net")  # no table yet
    before.prepare(asks)
    assert before.lacks_date("example.net")
    before.date("example.net", 16_558)
    assert not before.lacks_date("example.net")
    before.prepare(asks)
    after = SitesSeenFile(tmp_path, Clock())
    assert str(read(after.prepare(asks)).registered_on("www.example.net")) == "2015-05-03"
    assert (after.lacks_date("example.net"), after.lacks_date("example.org")) == (False, True)
    assert read(after.prepare(policy())).registered == {}
    assert read(SitesSeenFile(tmp_path, Clock()).prepare(asks)).registered == {}


def test_a_new_number_of_days_holds_at_once(tmp_path: Path) -> None:
    keeper = SitesSeenFile(tmp_path, Clock())
    keeper.prepare(policy())
    text = "people: {mia: {age: 6}}\nnetwork: {new_sites_days: 2}"
    assert read(keeper.prepare(policy(text))).days == 2
