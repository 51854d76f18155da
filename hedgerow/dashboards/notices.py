"""Notices to parents and admins: queueing, timing and delivery.

The caller passes in `send`, which talks to the services.

A recipient gets all waiting notices in one message. The first goes out at once; the interval between messages doubles
while more notices come, up to an hour, so nobody can be flooded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from sqlalchemy.exc import DatabaseError

from hedgerow.backoff import pause_after
from hedgerow.dashboards.address_book import AddressBook
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.push import NoticeButton, PushKey, is_push_address, push_body
from hedgerow.dashboards.words.languages import Language, language, message
from hedgerow.journal.outbox import NoticeRow, Outbox
from hedgerow.journal.reader import RequestRow
from hedgerow.policies.model import Policy
from hedgerow.policies.notices import NoticeTopic, Receiver
from hedgerow.policies.times.schedule import state_at
from hedgerow.ticks import next_tick

if TYPE_CHECKING:  # with the templates
    from hedgerow.dashboards.reports import Report

log = logging.getLogger("hedgerow.notices")

REPORT = "report"
GAP_S, LONGEST_GAP_S = 60.0, 3600.0
RETRY_S, LONGEST_RETRY_S, GIVE_UP_S = 60.0, 3600.0, 2 * 86400.0
MAX_LINES = 20
_TITLE_LIMIT = 100

REPEAT_AFTER_S: Mapping[NoticeTopic, float] = {
    NoticeTopic.REQUEST: 3600.0,
    NoticeTopic.BYPASS: 86400.0,
    NoticeTopic.REFUSED: 86400.0,
    NoticeTopic.NEW_DEVICE: 86400.0,
    NoticeTopic.LIST_HELD: 7 * 86400.0,
    NoticeTopic.UPDATE_FAILED: 86400.0,
    NoticeTopic.BUDGET: 86400.0,
    NoticeTopic.TROUBLE: 6 * 3600.0,
}
"""Minimum time between equal notices: a program that tries to bypass the filter does so every minute."""


type LocalizedText = Callable[[Language], str]
"""Return the text of a notice in a language."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice. Notices with the same topic and key are one notice."""

    topic: NoticeTopic
    key: str
    text: LocalizedText


def localized(text: str, /, **values: object) -> LocalizedText:
    """Return a message of the catalogues with its values."""
    return lambda reader: reader.gettext(text, **values)


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message for a service, as text and possibly as HTML. `address` is a secret.

    For a browser, `body` is the JSON of `push.push_body` and `push_key` the private key of this installation.
    """

    address: str
    title: str
    body: str
    html: str | None = None
    push_key: str = ""


@dataclass(frozen=True, slots=True)
class ReceiverView:
    """A recipient as pages may show it. Only the type of service is known of its address."""

    name: str
    about: tuple[str, ...]
    service: str
    waiting: int
    last_sent: float | None
    problem: str


@dataclass(frozen=True, slots=True)
class TestResult:
    """Result of a test; `problem` is empty if the service accepted it."""

    name: str
    problem: str


def request_key(device: str, what: str) -> str:
    """Return the key of notices about a request for a service, a host or a chore's minutes."""
    return f"{device} {what}"


type SendMessage = Callable[[OutgoingMessage], Awaitable[str]]
"""Send a message within a timeout, and return a problem as one sentence or an empty text."""

type ButtonsOf = Callable[[str, Language], Sequence[NoticeButton]]
"""Return the buttons of a notice by its key, none for most. Blocks on the disk."""

type MakeReport = Callable[[Language], Report]
"""Make the weekly report in a language. Blocks on the disk."""


@dataclass(frozen=True, slots=True)
class BrowserMessages:
    """Messages for browsers. The methods block on the disk."""

    key: PushKey
    open_requests: Callable[[], Iterable[RequestRow]]
    buttons: ButtonsOf

    def message(self, address: str, title: str, rows: tuple[NoticeRow, ...], reader: Language) -> OutgoingMessage:
        asked = next(
            (each for each in self.open_requests() if request_key(each.device, each.subject) == rows[0].key), None
        )
        answers = self.buttons(rows[0].key, reader) if len(rows) == 1 else ()
        body = push_body(title, "\n".join(row.text for row in rows), rows, asked, reader, answers)
        return OutgoingMessage(address, title, body, push_key=self._private_pem())

    def test(self, address: str, title: str, text: str, reader: Language) -> OutgoingMessage:
        return OutgoingMessage(address, title, push_body(title, text, (), None, reader), push_key=self._private_pem())

    def _private_pem(self) -> str:
        try:
            return self.key.private_pem()
        except (OSError, ValueError) as error:
            log.warning("Can't read the key for browsers' notices: %s", error)
            return ""


class NoticeDispatcher:
    """The queue of notices, sent when due. `run` works on control's event loop."""

    def __init__(
        self,
        outbox: Outbox,
        book: AddressBook,
        policy: Callable[[], Policy],
        send: SendMessage,
        report: MakeReport,
        *,
        link: Callable[[], str] = str,
        clock: Callable[[], float] = time.time,
        open_requests: Callable[[], Iterable[RequestRow]] = tuple,
        buttons: ButtonsOf = lambda _key, _reader: (),
    ) -> None:
        self.outbox, self.book = outbox, book
        self.browsers = BrowserMessages(PushKey(book.folder / "push.pem"), open_requests, buttons)
        self._policy, self._send, self._report, self._link, self._clock = policy, send, report, link, clock
        self._queue: list[Notice] = []
        self._sending: dict[str, asyncio.Task[None]] = {}

    def enqueue(self, notices: Iterable[Notice]) -> None:
        """Queue notices without waiting. Only the latest 1000 are kept."""
        self._queue += notices
        del self._queue[:-1000]

    async def run(self, interval: float = 1.0) -> None:
        """Send due notices until cancelled. A service that does not answer delays no other recipient."""
        try:
            while True:
                await self.step()
                await next_tick(interval)
        finally:
            for task in self._sending.values():
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def step(self) -> None:
        """Move queued notices to the outbox, and start sending what is due."""
        policy, queued, self._queue = self._policy(), self._queue, []
        if not policy.notices:
            return
        try:
            await asyncio.to_thread(self._put, policy, queued)
        except DatabaseError as error:
            log.warning("Cannot store %d notices: %s", len(queued), error.orig)
        for receiver in policy.notices.values():
            if receiver.name not in self._sending and self.book.has(receiver.name):
                task = self._sending[receiver.name] = asyncio.create_task(self._serve(receiver, policy))
                task.add_done_callback(lambda _task, name=receiver.name: self._sending.pop(name, None))  # type: ignore[misc]

    async def wait_until_sent(self) -> None:
        """Wait until all started messages are sent."""
        await asyncio.gather(*self._sending.values())

    def _put(self, policy: Policy, queued: Iterable[Notice]) -> None:
        for receiver in (each for each in policy.notices.values() if self.book.has(each.name)):
            for notice in queued:
                if notice.topic in receiver.about:
                    text = notice.text(language(receiver.language))
                    self.outbox.put(receiver.name, notice.topic, notice.key, text, REPEAT_AFTER_S[notice.topic])
            if receiver.report is not None:
                due = receiver.report.last_before(self._clock(), ZoneInfo(policy.network.timezone))
                last = self.outbox.last_of(receiver.name, REPORT)
                # A new recipient gets the first report on the chosen day, not at once.
                if self._clock() - due < 86400 and (last is None or last < due):
                    self.outbox.put(
                        receiver.name, REPORT, REPORT, language(receiver.language).gettext("The week at home")
                    )

    async def _serve(self, receiver: Receiver, policy: Policy) -> None:
        try:
            rows = await asyncio.to_thread(self._due, receiver, policy)
            for batch in batches(rows):
                await self._deliver(receiver, batch)
        except DatabaseError as error:
            log.warning("Cannot send the notices for %s: %s", receiver.name, error.orig)

    def _due(self, receiver: Receiver, policy: Policy) -> tuple[NoticeRow, ...]:
        now = self._clock()
        waiting = self.outbox.waiting(receiver.name)
        return due_notices(
            receiver, waiting, self.outbox.sent_at(receiver.name, now - 86400), ZoneInfo(policy.network.timezone), now
        )

    async def _deliver(self, receiver: Receiver, rows: tuple[NoticeRow, ...]) -> None:
        ids = [row.id for row in rows]
        problem = await self._send(await self._message(receiver, rows))
        if not problem:
            await asyncio.to_thread(self.outbox.mark_sent, ids)
            log.info("Sent %d notice(s) to %s", len(rows), receiver.name)
            return
        tries = max(row.tries for row in rows)
        next_at = self._clock() + pause_after(tries + 1, first=RETRY_S, longest=LONGEST_RETRY_S)
        is_over = next_at - min(row.at for row in rows) > GIVE_UP_S
        log.warning("Cannot send a notice to %s: %s", receiver.name, problem)
        await asyncio.to_thread(self.outbox.mark_failed, ids, problem, None if is_over else next_at)

    async def _message(self, receiver: Receiver, rows: tuple[NoticeRow, ...]) -> OutgoingMessage:
        address, reader = self.book.address(receiver.name), language(receiver.language)
        if is_push_address(address):
            return await asyncio.to_thread(self.browsers.message, address, message_title(rows, reader), rows, reader)
        if rows[0].topic != REPORT:
            return OutgoingMessage(address, message_title(rows, reader), message_body(rows, self._link(), reader))
        report = await asyncio.to_thread(self._report, reader)
        return OutgoingMessage(address, f"Hedgerow: {reader.gettext('The week at home')}", report.text, report.html)

    async def test(self, name: str | None = None) -> tuple[TestResult, ...]:
        """Send a test at once to one or all recipients, even in quiet hours.

        Raises `InvalidInput` for an unknown name.
        """
        policy = self._policy()
        names = [find_receiver(policy, name).name] if name is not None else list(policy.notices)
        return tuple(await asyncio.gather(*map(self._test, names)))

    async def _test(self, name: str) -> TestResult:
        if not self.book.has(name):
            return TestResult(name, message("It does not have an address yet."))
        reader = language(self._policy().notices[name].language)
        title, text = f"Hedgerow: {reader.gettext('A test')}", reader.gettext("This is a test: notices reach you here.")
        address = self.book.address(name)
        if is_push_address(address):
            outgoing = await asyncio.to_thread(self.browsers.test, address, title, text, reader)
            return TestResult(name, await self._send(outgoing))
        return TestResult(name, await self._send(OutgoingMessage(address, title, f"{text}\n{self._link()}")))

    def set_address(self, name: str, address: str) -> None:
        """Set a recipient's address; an empty one removes it. Raises `InvalidInput`."""
        find_receiver(self._policy(), name)
        self.book.put(name, address)

    def receivers(self) -> tuple[ReceiverView, ...]:
        """Return all recipients. Blocks on the disk."""
        return tuple(self._view(receiver) for receiver in self._policy().notices.values())

    def _view(self, receiver: Receiver) -> ReceiverView:
        waiting = self.outbox.waiting(receiver.name)
        sent = self.outbox.sent_at(receiver.name, 0.0)
        problem = next((row.problem for row in reversed(waiting) if row.problem), "")
        service, last = self.book.service(receiver.name), sent[0] if sent else None
        return ReceiverView(receiver.name, tuple(receiver.about), service, len(waiting), last, problem)


def find_receiver(policy: Policy, name: str) -> Receiver:
    """Return a notice recipient of the policy. Raises `InvalidInput`."""
    if name not in policy.notices:
        raise InvalidInput("There is no notice recipient called '%(name)s'.", name=name)
    return policy.notices[name]


def due_notices(
    receiver: Receiver, waiting: Iterable[NoticeRow], sent: tuple[float, ...], zone: ZoneInfo, now: float
) -> tuple[NoticeRow, ...]:
    """Return the notices due at `now`. `sent` holds the instants of the last day's messages, latest first."""
    if receiver.quiet is not None and state_at(receiver.quiet, zone, now).active:
        return ()
    messages = sum(now - at < LONGEST_GAP_S for at in sent)
    if sent and 0 <= now - sent[0] < pause_after(messages, first=GAP_S, longest=LONGEST_GAP_S):
        return ()
    digested = receiver.digest.last_before(now, zone) if receiver.digest is not None else now
    return tuple(
        row
        for row in waiting
        if row.next_at <= now and (row.topic in (NoticeTopic.REQUEST, REPORT) or row.at <= digested)
    )


def batches(rows: tuple[NoticeRow, ...]) -> list[tuple[NoticeRow, ...]]:
    """Split rows into messages. The weekly report is always sent separately."""
    notices = tuple(row for row in rows if row.topic != REPORT)
    reports = tuple(row for row in rows if row.topic == REPORT)
    return [batch for batch in (notices, reports) if batch]


def message_title(rows: tuple[NoticeRow, ...], reader: Language) -> str:
    first = rows[0].text.partition("\n")[0]
    several = reader.ngettext("%(count)s notice", "%(count)s notices", len(rows))
    short = first if len(first) <= _TITLE_LIMIT else f"{first[: _TITLE_LIMIT - 1]}…"
    return f"Hedgerow: {short if len(rows) == 1 else several}"


def message_body(rows: tuple[NoticeRow, ...], link: str, reader: Language) -> str:
    """Return the notices as lines of text, with a link to the pages."""
    lines = [f"- {row.text}{_repeat_suffix(row.count, reader)}" for row in rows[:MAX_LINES]]
    more = [reader.gettext("and %(count)s more.", count=len(rows) - MAX_LINES)] if len(rows) > MAX_LINES else []
    return "\n".join([*lines, *more, *([f"\n{link}"] if link else [])])


def _repeat_suffix(count: int, reader: Language) -> str:
    return f" ({reader.ngettext('%(count)s time', '%(count)s times', count)})" if count > 1 else ""
