"Who gets which notices, and when: quiet hours, digests, floods, dead services. Sending for real is in tests/e2e/test_notices.py."  # noqa: E501

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hedgerow.dashboards.address_book import AddressBook
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.notices import Notice, NoticeDispatcher, OutgoingMessage
from hedgerow.dashboards.reports import Report
from hedgerow.journal import outbox
from hedgerow.journal.database import open_journal
from hedgerow.journal.outbox import GIVEN_UP, SENT, WAITING_LIMIT, Outbox
from hedgerow.journal.store import Store
from hedgerow.policies.notices import NoticeTopic
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.text.locales import LANGUAGES

NOON = 1_780_056_000.0  # 2026-05-29 12:00 UTC, a Friday
HOUR = 3600.0
SECRET = "json://mother:s3cret-w0rd@127.0.0.1/hook"


def notice(
    topic: NoticeTopic = NoticeTopic.REQUEST, key: str = "1", text: str = "mia asks for scratch.example."
) -> Notice:
    return Notice(topic, key, lambda _reader: text)


@dataclass
class Stand:
    """A dispatcher with its own clock and a service that works or fails."""

    engine: Store
    folder: Path
    text: str = "notices: {mother: {}}"
    now: float = NOON
    problem: str = ""
    sent: list[OutgoingMessage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = parse_policy(b"network: {timezone: UTC}\n" + self.text.encode(), None)
        self.outbox, book = Outbox(self.engine, clock=lambda: self.now), AddressBook(self.folder)
        self.dispatcher = NoticeDispatcher(
            self.outbox,
            book,
            lambda: self.policy,
            self._send,
            lambda reader: Report("the week", f"<p>the week in {reader.code}</p>"),
            link=lambda: "http://192.168.1.2:8053/",
            clock=lambda: self.now,
        )
        for name in self.policy.notices:
            self.dispatcher.set_address(name, SECRET)

    async def _send(self, message: OutgoingMessage) -> str:
        if not self.problem:
            self.sent.append(message)
        return self.problem

    def at(self, now: float, *notices: Notice) -> list[str]:
        """Return the titles of the messages sent at `now` after these notices."""
        self.now = now
        before = len(self.sent)

        async def step() -> None:
            self.dispatcher.enqueue(notices)
            await self.dispatcher.step()
            await self.dispatcher.wait_until_sent()

        asyncio.run(step())
        return [message.title for message in self.sent[before:]]


type Make = Callable[..., Stand]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    engine = open_journal(tmp_path / "journal.sqlite")
    yield lambda text="notices: {mother: {}}": Stand(engine, tmp_path / "notices", text)
    engine.dispose()


def test_a_notice_goes_out_at_once_with_a_link_to_the_answer(make: Make) -> None:
    stand = make()
    assert stand.at(NOON, notice()) == ["Hedgerow: mia asks for scratch.example."]
    assert stand.sent[0].body == "- mia asks for scratch.example.\n\nhttp://192.168.1.2:8053/"
    assert stand.at(NOON + 1) == []


def test_a_long_title_shows_that_it_goes_on(make: Make) -> None:
    (title,) = make().at(NOON, notice(text="x" * 101))
    assert title == f"Hedgerow: {'x' * 99}…"


def test_equal_notices_are_not_repeated_for_a_while(make: Make) -> None:
    stand = make()
    bypass = notice(NoticeTopic.BYPASS, "tablet", "tablet: something tried a way round the filter.")
    assert len(stand.at(NOON, bypass, bypass)) == 1
    assert stand.sent[0].body.startswith("- tablet: something tried a way round the filter. (2 times)")
    assert [stand.at(NOON + hours * HOUR, bypass) for hours in (1, 12, 23)] == [[], [], []]
    assert len(stand.at(NOON + 25 * HOUR, bypass)) == 1


def test_a_thousand_notices_are_a_handful_of_messages(make: Make) -> None:
    stand = make()
    titles: list[str] = []
    for minute in range(120):
        titles += stand.at(NOON + minute * 60, *(notice(key=f"{minute}-{number}", text="x") for number in range(8)))
    assert 5 <= len(titles) <= 15
    assert len(stand.sent[-1].body.splitlines()) < 30
    assert "and " in stand.sent[-1].body
    assert len(stand.outbox.waiting("mother")) <= WAITING_LIMIT


def test_notices_about_made_up_devices_fill_no_disk(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT_LIMIT", 50)
    monkeypatch.setattr(outbox, "WAITING_LIMIT", 20)
    box = make().outbox
    box.put("father", NoticeTopic.REQUEST, "mia", "mia asks")
    for number in range(120):
        box.put("mother", NoticeTopic.BYPASS, f"02:00:00:00:00:{number:02x}", "something was stopped")
    rows = box.latest(1000)
    assert len([row for row in rows if row.receiver == "mother"]) == 50
    assert len(box.waiting("mother")) == 20
    assert len(box.waiting("father")) == 1, "others keep theirs"


def test_notices_wait_during_quiet_hours(make: Make) -> None:
    stand = make('notices: {mother: {quiet: "22:00-07:00"}}')
    assert stand.at(NOON + 11 * HOUR, notice(key="1"), notice(key="2")) == []
    assert stand.at(NOON + 18.9 * HOUR) == []
    assert stand.at(NOON + 19.1 * HOUR) == ["Hedgerow: 2 notices"]


def test_a_digest_comes_once_a_day_and_a_request_at_once(make: Make) -> None:
    stand = make("notices: {mother: {digest: 18:00}}")
    assert stand.at(NOON, notice(NoticeTopic.BYPASS, "a", "one"), notice(NoticeTopic.NEW_DEVICE, "b", "two")) == []
    assert stand.at(NOON + 60, notice(text="mia asks")) == ["Hedgerow: mia asks"]
    assert stand.at(NOON + 5.9 * HOUR) == []
    assert stand.at(NOON + 6.1 * HOUR) == ["Hedgerow: 2 notices"]
    assert stand.at(NOON + 7 * HOUR, notice(NoticeTopic.BYPASS, "c", "three")) == []
    assert stand.at(NOON + 30.1 * HOUR) == ["Hedgerow: three"]


def test_recipients_get_their_topics_only(make: Make) -> None:
    stand = make("notices: {mother: {about: [request]}, admin: {about: [list-held, trouble]}}")
    assert sorted(stand.at(NOON, notice(text="asks"), notice(NoticeTopic.LIST_HELD, "l", "held"))) == [
        "Hedgerow: asks",
        "Hedgerow: held",
    ]


def test_a_dead_service_is_retried_with_growing_intervals_for_two_days(make: Make) -> None:
    stand = make()
    stand.problem = "The service did not answer within 30 seconds."
    stand.at(NOON, notice())
    tries = set()
    for minute in range(0, 51 * 60, 7):
        stand.at(NOON + minute * 60)
        tries.add(stand.outbox.latest()[0].tries)
    assert 40 < max(tries) < 70
    assert stand.outbox.latest()[0].state == GIVEN_UP
    stand.problem = ""
    assert stand.at(NOON + 60 * HOUR, notice(key="2", text="later")) == ["Hedgerow: later"]
    assert [row.state for row in stand.outbox.latest()] == [SENT, GIVEN_UP]


def test_waiting_notices_survive_a_restart(make: Make) -> None:
    stand = make()
    stand.problem = "down"
    stand.at(NOON, notice())
    assert make().at(NOON + 120) == ["Hedgerow: mia asks for scratch.example."]


def test_a_hanging_service_delays_no_other_recipient(make: Make) -> None:
    stand = make("notices: {slow: {}, mother: {}}")
    release, both = asyncio.Event(), asyncio.Event()

    async def send(message: OutgoingMessage) -> str:
        if not stand.sent:
            stand.sent.append(message)
            await release.wait()
        stand.sent.append(message)
        both.set()
        return ""

    async def run() -> None:
        stand.dispatcher._send = send
        stand.dispatcher.enqueue([notice()])
        await stand.dispatcher.step()
        async with asyncio.timeout(30):
            await both.wait()
        assert len(stand.sent) == 2
        release.set()
        await stand.dispatcher.wait_until_sent()

    asyncio.run(run())
    assert len(stand.sent) == 3


def test_the_report_goes_out_once_a_week(make: Make) -> None:
    stand = make("notices: {mother: {about: [], report: fri 18:00}}")
    assert stand.at(NOON) == []
    assert stand.at(NOON + 6.1 * HOUR) == ["Hedgerow: The week at home"]
    assert stand.sent[0].html == "<p>the week in en</p>"
    assert [stand.at(NOON + days * 24 * HOUR) for days in (1, 3, 6, 7)] == [[], [], [], []]
    assert stand.at(NOON + 7 * 24 * HOUR + 6.1 * HOUR) == ["Hedgerow: The week at home"]


def test_a_clock_that_goes_back_stops_nothing(make: Make) -> None:
    stand = make()
    stand.at(NOON, notice())
    assert stand.at(NOON - 30 * 24 * HOUR, notice(key="2", text="after the battery was changed")) == [
        "Hedgerow: after the battery was changed"
    ]


def test_an_address_is_private_and_never_shown(make: Make, tmp_path: Path) -> None:
    stand = make()
    file = tmp_path / "notices" / "mother"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    (view,) = stand.dispatcher.receivers()
    assert view.service == "json://…"
    assert "s3cret" not in repr((stand.dispatcher.receivers(), stand.outbox.latest(), stand.policy))
    stand.dispatcher.set_address("mother", "")
    assert not file.exists()
    assert stand.at(NOON, notice()) == []
    assert stand.outbox.latest() == (), "nothing is gathered for somebody who can't be reached"


@pytest.mark.parametrize(
    ("name", "address"), [("mother", "no address"), ("mother", "://x"), ("nobody", SECRET), ("../ca/key", SECRET)]
)
def test_invalid_addresses_are_refused(make: Make, name: str, address: str) -> None:
    with pytest.raises(InvalidInput):
        make().dispatcher.set_address(name, address)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{mother: {about: [bypas]}}", "'bypas' is not a topic of notices. Did you mean bypass?"),
        ("{Mother: {}}", "'Mother' is not a valid name"),
        ("{mother: {report: 18:00}}", "such as sun 18:00"),
        ("{mother: {report: sat-sun 18:00}}", "such as sun 18:00"),
        ("{mother: {digest: sun 18:00}}", "is not a time of day"),
        ("{mother: {digest: 25:00}}", "the time 25:00 does not exist"),
        ("{mother: {url: x}}", "url"),
        ("{mother: {language: nl}}", f"'nl' is not a language of Hedgerow. Languages: {', '.join(LANGUAGES)}."),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(b"notices: " + text.encode(), None)
    assert said in str(error.value)
