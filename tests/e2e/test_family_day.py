"""A day of a family of five in fast time: the journal equals what was scripted, and memory is flat."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from dnslib import DNSRecord
from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

FRIDAY = datetime(2027, 1, 8, tzinfo=UTC).timestamp()
HOUR, MINUTE = 3600, 60
PATIENCE = 60
ADDRESSES = {"leo": "127.0.0.2", "mia": "127.0.0.3", "tom": "127.0.0.4", "ana": "127.0.0.5", "bo": "127.0.0.6"}
CHILDREN = ("leo", "mia", "tom")
POLICY = "people:\n" + "".join(
    f"  {name}: {{{rules}, devices: [{name}-device]}}\n"
    for name, rules in {
        "leo": 'age: 6, privacy: domain, bedtime: "19:00-07:00", block: [roblox]',
        "mia": 'age: 9, privacy: domain, bedtime: "20:30-07:00", budget: 1h',
        "tom": 'age: 15, privacy: domain, bedtime: "22:00-06:00", block: [roblox]',
        "ana": "age: 41",
        "bo": "age: 43",
    }.items()
)
POLICY += "devices:\n" + "".join(f"  {name}-device: {{ip: {address}}}\n" for name, address in ADDRESSES.items())
NIGHTS = {"leo": (19 * HOUR, 7 * HOUR), "mia": (20.5 * HOUR, 7 * HOUR), "tom": (22 * HOUR, 6 * HOUR)}
SITES = ("school.example", "www.wikipedia.org", "www.pornhub.com", "www.roblox.com", "www.childline.org.uk")
OPEN, ADULT = ("allow", "default", ""), ("block", "category", "adult")
GAMES = {"leo": ("block", "service", "roblox"), "mia": OPEN, "tom": ("block", "service", "roblox")}
PAUSE, GRANT = (17 * HOUR, 17.5 * HOUR), (18 * HOUR, 24 * HOUR)
HOMEWORK = 15 * HOUR
MEMORY_MARGIN_KB = 16_000


type Verdict = tuple[str, str, str]
"""Verdict, reason, what decided."""


def scripted(who: str, second: float, site: str, used_up: bool) -> Verdict | None:
    """What has to be decided and remembered of a question at that second of the day; None for what is nobody's
    business.
    """
    if site == "www.childline.org.uk" or who not in CHILDREN:
        return None
    begins, ends = NIGHTS[who]
    if who == "tom" and PAUSE[0] <= second < PAUSE[1]:
        return ("block", "pause", "pause")
    if second >= begins or second < ends:
        return ("block", "bedtime", "bedtime")
    if who == "mia" and used_up:
        return ("block", "budget", "")
    if site == "www.roblox.com":
        return ("allow", "grant", "roblox") if who == "tom" and GRANT[0] <= second < GRANT[1] else GAMES[who]
    return ADULT if site == "www.pornhub.com" else OPEN


@dataclass
class Day:
    """The running Hedgerow and its clock; `wanted` counts what the journal has to hold, by hour, device, and verdict
    with its reason.
    """

    running: Hedgerow
    clock: WallClock
    api: httpx.Client
    wanted: Counter[tuple[int, str, Verdict]] = field(default_factory=Counter)
    used_up: bool = False

    def begin(self, second: float) -> None:
        self.clock.set(FRIDAY + second)
        self._hour = int((FRIDAY + second) // HOUR)

    def ask(self, who: str, second: float, site: str, times: int = 1) -> None:
        """Asks for a name so many times, each with an answer before the next."""
        expected = scripted(who, second, site, self.used_up)
        for _ in range(times):
            is_blocked = address_of(self.running, who, site) == "0.0.0.0"
            assert is_blocked == (expected is not None and expected[0] == "block"), (who, second, site)
        if expected is not None:
            self.wanted[self._hour, f"{who}-device", expected] += times

    def open_page(self, who: str, second: float, url: str, site: str) -> None:
        expected = scripted(who, second, site, self.used_up)
        assert expected is not None
        status = curl(url, proxy=self.running.proxy, source=ADDRESSES[who]).status
        assert status == (403 if expected[0] == "block" else 200), (who, second, url)
        self.wanted[self._hour, f"{who}-device", expected] += 1

    def change(self, second: float, site: str, *command: str) -> None:
        """Carries out a command about Tom, and waits until it holds."""
        before, after = (scripted("tom", moment, site, used_up=False) for moment in (second - 1, second))
        assert self.running.run(*command).returncode == 0
        self.until("tom", site, before, after)

    def until(self, who: str, site: str, before: Verdict | None, after: Verdict | None) -> None:
        """Asks until a change holds that Hedgerow has just heard of; what each question meets is scripted too."""
        assert before is not None
        assert after is not None

        def holds() -> bool:
            is_blocked = address_of(self.running, who, site) == "0.0.0.0"
            met = after if is_blocked == (after[0] == "block") else before
            self.wanted[self._hour, f"{who}-device", met] += 1
            return met == after

        wait_until(holds, PATIENCE, f"{after} for {who}")

    def used(self) -> int:
        """Return Mia's minutes, as far as Hedgerow has heard of them.

        The next minute may begin when it has heard of this one.
        """
        rows = self.api.get("/api/v1/budgets").json()
        return next(int(row["used"]) for row in rows if row["whose"] == "mia")

    def settle(self) -> None:
        """Waits until the journal has all that was asked: the next hour may begin then."""
        total = sum(self.wanted.values())
        wait_until(lambda: sum(kept(self.running).values()) >= total, PATIENCE, "the journal")


def address_of(running: Hedgerow, who: str, name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((ADDRESSES[who], 0))
        client.settimeout(PATIENCE)
        client.sendto(DNSRecord.question(name).pack(), running.dns)
        return str(DNSRecord.parse(client.recv(4096)).short().split("\n")[-1])


def kept(running: Hedgerow) -> Counter[tuple[int, str, Verdict]]:
    """What the journal holds, in the words of the script."""
    with contextlib.closing(sqlite3.connect(running.state / "journal.sqlite", timeout=PATIENCE)) as journal:
        rows = journal.execute("SELECT hour, device, verdict, reason, what, count FROM hourly").fetchall()
    return Counter(
        {(hour, device, (verdict, reason, what)): count for hour, device, verdict, reason, what, count in rows}
    )


def memory_kb(running: Hedgerow) -> int:
    """What all processes together have for themselves."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in running.all_pids()]
    return sum(
        int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Private_Dirty:")
    )


@pytest.fixture
def day(internet: SmallInternet, tmp_path: Path) -> Iterator[Day]:
    clock = WallClock(tmp_path, FRIDAY)
    with running_hedgerow(
        network_section(internet) + "  country: GB\n" + POLICY, environment=clock.environment
    ) as running:
        token = (running.state / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(
            base_url=running.web, headers=headers, trust_env=False, timeout=PATIENCE, verify=False
        ) as api:
            yield Day(running, clock, api)


@pytest.mark.timeout(900)
def test_a_day(day: Day, internet: SmallInternet) -> None:
    day.used()  # control loads its pages with the first request for one
    memory, minutes = {}, 0
    for slot in range(48):
        second = slot * HOUR / 2 + 5
        day.begin(second)
        command_of_the_hour(day, second - 5)
        if HOMEWORK <= second < HOMEWORK + HOUR:
            if second < HOMEWORK + HOUR / 2:
                an_hour_of_homework(day)
            continue
        for who in ADDRESSES:
            for number, site in enumerate(SITES):
                day.ask(who, second, site, 1 + (slot + number) % 3)
        if slot % 4 == 0:
            for site in ("school.example", "www.pornhub.com"):
                day.open_page("tom", second, internet.url(site, scheme="http"), site)
        if slot % 2:
            day.settle()
            memory[second] = memory_kb(day.running)
        minutes = 60 if day.used_up else minutes + (scripted("mia", second, "school.example", used_up=False) == OPEN)
        wait_until(lambda: day.used() == minutes, PATIENCE, f"{minutes} minutes")  # noqa: B023
    assert kept(day.running) == day.wanted
    assert {device for _, device, _ in kept(day.running)} == {f"{who}-device" for who in CHILDREN}, (
        "of the adults nothing is kept"
    )
    morning = max(kb for second, kb in memory.items() if second < 8 * HOUR)
    assert memory[max(memory)] < morning + MEMORY_MARGIN_KB, memory


def command_of_the_hour(day: Day, at: float) -> None:
    """What the parents do at that second of the day."""
    if at == PAUSE[0]:
        day.change(at, "school.example", "pause", "tom")
    if at == PAUSE[1]:
        day.change(at, "school.example", "resume", "tom")
    if at == GRANT[0]:
        day.change(at, "www.roblox.com", "grant", "tom", "roblox", "--for", "today")


def an_hour_of_homework(day: Day) -> None:
    """Mia is on line minute by minute until her hour is used up: one minute of each half hour before, and from three
    o'clock on all.
    """
    before = day.used()
    assert before == 16
    for minute in range(60):
        second = HOMEWORK + minute * MINUTE + 5
        day.begin(second)
        if before + minute == 60:
            day.used_up = True
            day.until("mia", "school.example", OPEN, ("block", "budget", ""))
        for site in ("school.example", "www.wikipedia.org"):
            day.ask("mia", second, site)
        wait_until(lambda: day.used() == min(60, before + minute + 1), PATIENCE, f"minute {minute}")  # noqa: B023
    day.settle()
