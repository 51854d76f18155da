"""Statements as control writes them: the minutes in which the filter is on, and a day in numbers without names."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from web_server import running_web

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.signing_keys import public_key
from hedgerow.dashboards.control import Status, WorkerHealth
from hedgerow.dashboards.coverage import ListHealth, coverage_by_category
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.features.statements.chain import CounterDay, Statement, StatementKey, filtering_minute, verify_chain
from hedgerow.features.statements.counter_check import counter_day
from hedgerow.features.statements.keeper import StatementWriter
from hedgerow.features.statements.store import StatementStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.lanes import CONNECTIONS_PER_LANE, Lanes
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.rule_versions import RuleVersions
from hedgerow.journal.store import Store
from hedgerow.journal.tables import counter_entries
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import DeviceId, Observation, Policy, Reason, RequestKind, Verdict
from hedgerow.policies.reading.load import parse_policy

DAY = 20_000
MIDNIGHT = DAY * 86400.0
CAFE = parse_policy(b"seats: {seat-1: {ip: 192.168.60.11}}", None)
HOME = parse_policy(b"people: {mia: {age: 9}}", None)
RUNNING = (WorkerHealth("dns-0", "dns", "running", MIDNIGHT), WorkerHealth("gate-0", "gate", "running", MIDNIGHT))
LISTS = (ListHealth("hagezi-nsfw", "adult", 126_000, MIDNIGHT + 86400 - 5 * 3600, is_remote=True),)


class Cafe:
    """A café with a keeper of statements, a clock, and a state of the filter."""

    def __init__(self, folder: Path, store: Store, policy: Policy = CAFE) -> None:
        place = Endpoint("127.0.0.1", 1)
        self.store, self.now, self.policy = store, MIDNIGHT, policy
        self.status = Status(
            "0", MIDNIGHT, "UTC", workers=RUNNING, lists=LISTS, coverage=coverage_by_category(LISTS, {}, {"adult"})
        )
        self.recorder = Recorder(store, clock=lambda: self.now)
        if any(device.is_seat for device in policy.devices.values()):
            (folder / "statements").mkdir(mode=0o700)
            (folder / "statements" / "first-day").write_text("2024-10-04\n")
        settings = Settings(folder, None, place, place, place)
        self.keeper = StatementWriter(
            settings, store, lambda: self.status, lambda: self.policy, self.recorder.add, lambda: self.now
        )

    def pass_time(self, minutes: float, looks: int = 6) -> None:
        """Look at the filter some times per minute."""
        for _ in range(int(minutes * looks)):
            self.keeper.look()
            self.now += 60 / looks

    def minutes_on(self, day: int = DAY) -> int:
        self.keeper.look()
        self.recorder.flush()
        return StatementStore(self.store).minutes_on(day).bit_count()

    def state(self, after: float = MIDNIGHT + 86400 + 300) -> StatementStore:
        self.now = after
        self.keeper.write_due()
        return StatementStore(self.store)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_journal(tmp_path / "journal.sqlite")) as found:
        yield found


@pytest.fixture
def cafe(tmp_path: Path, store: Store) -> Cafe:
    return Cafe(tmp_path, store)


def test_a_minute_counts_if_every_look_found_the_filter_on(cafe: Cafe) -> None:
    cafe.pass_time(3)
    assert cafe.minutes_on() == 3
    dead = replace(RUNNING[0], state="stopped")
    cafe.pass_time(0.5)
    cafe.status = replace(cafe.status, workers=(dead, RUNNING[1]))
    cafe.pass_time(1)  # half of two minutes
    cafe.status = replace(cafe.status, workers=RUNNING)
    cafe.pass_time(1.5)
    assert cafe.minutes_on() == 3 + 1
    cafe.status = replace(cafe.status, rules_in_force=False)
    cafe.pass_time(2)
    assert cafe.minutes_on() == 4


def test_a_minute_with_too_few_looks_does_not_count(cafe: Cafe) -> None:
    cafe.pass_time(2, looks=2)
    assert cafe.minutes_on() == 0


def test_homes_without_seats_state_nothing(tmp_path: Path, store: Store) -> None:
    home = Cafe(tmp_path, store, HOME)
    home.pass_time(3)
    assert home.minutes_on() == 0
    assert home.state().chain() == ()
    assert not (tmp_path / "statements").exists()


def entries() -> Iterator[CounterEntry]:
    at = MIDNIGHT + 3600
    yield CounterEntry(at - 7200, "Ana", CounterAction.OPEN, "seat-1", "s0", "adult", 60)  # the day before
    yield CounterEntry(at, "Ana", CounterAction.OPEN, "seat-1", "s1", "adult", 60)
    yield CounterEntry(at, "Ben", CounterAction.OPEN, "seat-1", "s2", "child", 60)
    yield CounterEntry(at, "Ben", CounterAction.OPEN, "seat-1", "s3", "adult", 60)
    yield CounterEntry(at, "Ana", CounterAction.OPEN, "seat-1", "s4", "adult", 60)
    yield CounterEntry(at, "guest", CounterAction.REDEEM, "seat-1", "s5", "child", 60)
    yield CounterEntry(at, "guest", CounterAction.REDEEM, "seat-1", "s2", "child", 60)  # which goes on
    yield CounterEntry(at, "Ana", CounterAction.PRINT, kind="adult", minutes=60, count=20)


def test_a_day_in_numbers(cafe: Cafe, store: Store, tmp_path: Path) -> None:
    cafe.pass_time(5)
    cafe.minutes_on()
    counter = CounterStore(store)
    for entry in entries():
        counter.add(entry)
    seat, block = DeviceId("seat-1"), (RequestKind.DNS, Verdict.BLOCK)
    at = MIDNIGHT + 3600
    cafe.recorder.add(
        [
            Observation(at, seat, None, "seat-child", *block, Reason.CATEGORY, "adult", "films.example", count=3),
            Observation(at, seat, None, "seat-child", *block, Reason.RULE, "bet.example", "bet.example", count=2),
            Observation(at, DeviceId("office"), None, "adult", *block, Reason.CATEGORY, "adult", "films.example"),
        ]
    )
    cafe.recorder.flush()
    versions = RuleVersions(store)
    for when, policy in (
        (MIDNIGHT - 9000, "older"),
        (MIDNIGHT - 60, "at-midnight"),
        (at, "new"),
        (MIDNIGHT + 90_000, "tomorrow"),
    ):
        versions.record(when, policy, "lists", {}, ())
    (signed,) = cafe.state().chain()
    stated = signed.statement
    assert (stated.day, stated.number, stated.previous) == ("2024-10-04", 1, "")
    assert stated.sessions == {"adult": 3, "child": 2}
    assert stated.adults_opened_by == {cafe.keeper.key().number_of("Ana"): 2, cafe.keeper.key().number_of("Ben"): 1}
    assert stated.adult_vouchers_by == {cafe.keeper.key().number_of("Ana"): 20}
    assert stated.blocks == {"adult": 3, "rule": 2}
    assert stated.filter_on == ["00:00-00:05"]
    assert stated.list_age_hours == 5
    assert stated.coverage == {"adult": "full"}
    assert stated.policies == ["at-midnight", "new"]
    assert stated.counter == CounterDay(2, 8, EntryChain(store).entries(8, 8)[0].digest, {}, {})
    for name in ("Ana", "Ben", "seat-1", "192.168", "films", "bet.example", "s1"):
        assert name not in stated.text.replace(stated.key, ""), name
    assert (tmp_path / "statements" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_days_are_stated_once_in_order_and_later_if_need_be(cafe: Cafe) -> None:
    cafe.pass_time(5)
    cafe.minutes_on()
    assert cafe.state(MIDNIGHT + 86400 + 60).chain() == ()  # the last minutes of the day may not be written yet
    assert len(cafe.state().chain()) == 1
    found = cafe.state(MIDNIGHT + 4 * 86400 + 300).chain()
    assert [(each.statement.day, each.statement.minutes_off) for each in found] == [
        ("2024-10-04", 1435),
        ("2024-10-05", 1440),
        ("2024-10-06", 1440),
        ("2024-10-07", 1440),
    ]
    assert [each.statement.list_age_hours for each in found] == [5, None, None, 77]
    public = public_key(cafe.keeper.key().public_pem.encode())
    assert verify_chain((each.line for each in found), [public]).problems == ()
    report = verify_chain((each.line for each in cafe.state(MIDNIGHT + 100 * 86400 + 300).chain()), [public])
    assert (len(report.statements), report.problems) == (4 + 31, ())
    assert report.gaps == ("2024-10-08 to 2024-12-11",)


def test_days_before_the_first_start_are_never_stated(cafe: Cafe, store: Store, tmp_path: Path) -> None:
    (tmp_path / "statements" / "first-day").unlink()
    UsageStore(store).add(filtering_minute((DAY - 6) * 1440 + minute) for minute in range(6 * 1440))
    cafe.pass_time(5)
    cafe.minutes_on()
    assert cafe.state(MIDNIGHT + 600).chain() == ()
    assert (tmp_path / "statements" / "first-day").read_text() == "2024-10-04\n"
    assert [each.statement.day for each in cafe.state().chain()] == ["2024-10-04"]


@pytest.mark.parametrize("noted", ["always", "", "\0", "2031-01-01"])
def test_a_first_day_that_cannot_be_is_noted_again(cafe: Cafe, tmp_path: Path, noted: str) -> None:
    (tmp_path / "statements" / "first-day").write_text(noted)
    assert cafe.state(MIDNIGHT + 600).chain() == ()
    assert [each.statement.day for each in cafe.state().chain()] == ["2024-10-04"]


def test_the_page_names_a_forged_entry_of_the_counter(tmp_path: Path) -> None:
    state = tmp_path / "web"
    state.mkdir(mode=0o700)
    with running_web(state) as web:
        key = StatementKey.load_or_make(state / "statements" / "key.pem")
        counter = CounterStore(web.engine)
        counter.add(CounterEntry(MIDNIGHT, "Ana", CounterAction.PAY, taken=200, currency="EUR"))
        stated = Statement(
            site=web.engine.site,
            number=1,
            previous="",
            key=key.fingerprint,
            day="2024-10-04",
            made_at="2024-10-05T00:02:00Z",
            sessions={},
            adults_opened_by={},
            adult_vouchers_by={},
            blocks={},
            filter_on=[],
            list_age_hours=None,
            coverage={},
            policies=[],
            conduct="",
            format=2,
            counter=counter_day(EntryChain(web.engine), DAY, None),
        )
        StatementStore(web.engine).add(stated, key.sign(stated.text))
        url = f"{web.url}/counter/statements"
        assert "nothing is missing or changed" in httpx.get(url, verify=False, timeout=60).text
        web.engine.execute(counter_entries.update().values(taken=20))
        page = httpx.get(url, verify=False, timeout=60).text
    assert "The chain is broken." in page
    assert "entry 1 of the counter (2024-10-04 00:00 UTC) was changed" in page


def test_a_clock_far_ahead_states_no_day_that_the_store_has_not_reached(
    cafe: Cafe, monkeypatch: pytest.MonkeyPatch
) -> None:
    cafe.pass_time(5)
    cafe.minutes_on()
    monkeypatch.setattr(StatementStore, "today", lambda _store: DAY + 1)
    assert [each.statement.day for each in cafe.state(MIDNIGHT + 400 * 86400).chain()] == ["2024-10-04"]
    monkeypatch.setattr(StatementStore, "today", lambda _store: DAY + 2)
    assert [each.statement.day for each in cafe.state(MIDNIGHT + 2 * 86400 + 300).chain()] == [
        "2024-10-04",
        "2024-10-05",
    ]


def test_the_code_of_conduct_is_stated_as_its_hash(cafe: Cafe, tmp_path: Path) -> None:
    (tmp_path / "conduct.txt").write_text("Be kind.")
    policy = tmp_path / "hedgerow.yaml"
    policy.write_text("code_of_conduct: conduct.txt\nseats: {seat-1: {ip: 192.168.60.11}}")
    cafe.policy = parse_policy(policy.read_bytes(), policy)
    cafe.pass_time(5)
    cafe.minutes_on()
    # printf 'Be kind.' | sha256sum
    assert (
        cafe.state().chain()[0].statement.conduct == "5499befb38dbf3fcc08107141cb2a9e7f42a6aae403361dc3601b8296d7967ea"
    )


def test_a_key_that_cannot_be_read_is_a_problem_and_stays(cafe: Cafe, tmp_path: Path) -> None:
    cafe.pass_time(5)
    cafe.minutes_on()
    key = tmp_path / "statements" / "key.pem"
    key.write_text("no key")
    assert cafe.state().chain() == ()
    assert "can't be used" in cafe.keeper.problem
    (told,) = cafe.keeper.status_rows()
    assert told.problem.startswith("there is no statement of the last day: the key ")
    assert key.read_text() == "no key"
    key.unlink()
    assert len(cafe.state().chain()) == 1
    assert (cafe.keeper.problem, cafe.keeper.status_rows()) == ("", ())


def test_a_statement_is_signed_with_the_key_in_the_file(cafe: Cafe, tmp_path: Path) -> None:
    """The pages and the API give the public part of that one."""
    cafe.pass_time(5)
    cafe.minutes_on()
    (first,) = cafe.state().chain()
    file = tmp_path / "statements" / "key.pem"
    file.unlink()
    other = StatementKey.load_or_make(file)
    second = cafe.state(MIDNIGHT + 2 * 86400 + 300).chain()[-1]
    assert first.statement.key != other.fingerprint
    assert second.statement.key == other.fingerprint


def test_the_page_says_once_why_there_is_no_statement(cafe: Cafe, tmp_path: Path) -> None:
    state = tmp_path / "web"
    state.mkdir(mode=0o700)
    cafe.keeper.problem = "the disk is full"
    with running_web(state) as web:
        web.change_status(features=cafe.keeper.status_rows())
        page = httpx.get(f"{web.url}/counter/statements", verify=False, timeout=60).text
    assert page.count("no statement of the last day") == 1
    assert "the disk is full" in page


def test_a_clock_that_is_behind_counts_and_states_nothing(cafe: Cafe) -> None:
    cafe.status = replace(cafe.status, clock_is_behind=True)
    cafe.pass_time(3)
    assert cafe.minutes_on() == 0


def test_a_folder_that_somebody_names_for_a_key_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    made = StatementKey.load_or_make(tmp_path / "named.pem")
    assert StatementKey.load_or_make(tmp_path / "named.pem").pem == made.pem
    StatementKey.load_or_make(tmp_path / "new" / "key.pem")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / "new", tmp_path / "named.pem")] == [
        0o755,
        0o700,
        0o600,
    ]


def test_statements_wait_while_all_connections_are_in_use(journal: Store, tmp_path: Path) -> None:
    impatient = replace(journal, lanes=Lanes(timeout=0.05))
    cafe = Cafe(tmp_path, impatient)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS_PER_LANE):
            stack.enter_context(impatient.connect())
        cafe.keeper.write_due()
    assert "have been in use" in cafe.keeper.problem
    cafe.keeper.write_due()
    assert cafe.keeper.problem == ""
