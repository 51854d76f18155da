"""Who gets notices, about what and where: set up without the policy file, which keeps all of it but the addresses."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.address_book import mailbox_url
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, put, put_times
from hedgerow.dashboards.notices import NoticeDispatcher, ReceiverView
from hedgerow.dashboards.pages.context import PageContext, principal_of, redirect_after_save
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.dashboards.words.rules import night_times
from hedgerow.policies.notices import DEFAULT_TOPICS, RECEIVER_NAME, ClockTime, NoticeTopic, Receiver
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.policies.times.schedule import DAY_NAMES, parse_clock

type FormText = Annotated[str, Form(max_length=2000)]

NOTICES_PATH = "/settings/notices"

TOPIC_TITLES = {
    NoticeTopic.REQUEST: message("Somebody asks for something that is blocked"),
    NoticeTopic.NEW_DEVICE: message("A new device without a name is on the network"),
    NoticeTopic.BYPASS: message("Something tried to get round the filter"),
    NoticeTopic.REFUSED: message("A site was blocked without a page to say why (HTTPS)"),
    NoticeTopic.BUDGET: message("Time is used up or bedtime begins soon"),
    NoticeTopic.LIST_HELD: message("The new copy of a list is held back"),
    NoticeTopic.UPDATE_FAILED: message("A list has not been updated for a day"),
    NoticeTopic.TROUBLE: message("The policy file has mistakes, or the disk is full"),
}


@dataclass(frozen=True, slots=True)
class ReceiverCard:
    """A receiver as the form shows it: `quiet` from and until (empty texts: never, or not the same every day), times as `HH:MM`."""

    receiver: Receiver
    view: ReceiverView
    quiet: tuple[str, str]
    quiet_differs: bool
    digest: str
    report_day: str
    report: str


class NoticePages:
    """`/settings/notices` and its forms."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(NOTICES_PATH, self.notices, methods=["GET"])
        for part, change in (
            ("", self.add),
            ("/change", self.change),
            ("/mail", self.set_mail),
            ("/address", self.set_address),
            ("/test", self.test),
            ("/remove", self.remove),
        ):
            router.add_api_route(f"{NOTICES_PATH}{part}", change, methods=["POST"])

    async def notices(self, request: Request) -> Response:
        return await self._page(request)

    async def _page(self, request: Request, tried: str = "", problem: str = "") -> Response:
        views = {view.name: view for view in await run_in_threadpool(self._dispatcher().receivers)}
        cards = [_card(receiver, views[name]) for name, receiver in self._context.policy().notices.items() if name in views]
        return self._context.renderer.page(
            request, "notices.html", cards=cards, topics=TOPIC_TITLES, days=DAY_NAMES, tried=tried, problem=problem
        )  # fmt: skip

    async def add(self, request: Request, name: FormText) -> Response:
        """All topics, in the language of who adds; where they are reached comes next."""
        reader, name = language_of(request), parse_receiver_name(name)
        if name in self._context.policy().notices:
            raise InvalidInput("'%(name)s' is already taken.", name=name)
        said = reader.gettext("Send notices to %(name)s", name=name)
        change = await self._context.editor.change(principal_of(request).name, said, put(("notices", name), {"language": reader.code}))
        return redirect_after_save(NOTICES_PATH, change)

    async def change(
        self, request: Request, name: FormText, language: FormText, about: Annotated[list[str] | None, Form()] = None,
        quiet_from: FormText = "", quiet_to: FormText = "", digest: FormText = "", report: FormText = "", report_day: FormText = "",
    ) -> Response:  # fmt: skip
        receiver = self._receiver(name)
        wanted = [topic.value for topic in NoticeTopic if topic.value in (about or ())]
        edits = [
            put(("notices", name, "about"), None if wanted == list(DEFAULT_TOPICS) else wanted),
            put(("notices", name, "language"), parse_language(language)),
            put(("notices", name, "digest"), parse_time_of_day(digest) or None),
            put(("notices", name, "report"), f"{report_day} {parse_time_of_day(report)}" if report_day else None),
            *quiet_edits(receiver, quiet_from, quiet_to),
        ]
        said = language_of(request).gettext("%(name)s's notices", name=name)
        return redirect_after_save(NOTICES_PATH, await self._context.editor.change(principal_of(request).name, said, *edits))

    async def set_mail(
        self, request: Request, name: FormText, mailbox: FormText, password: FormText, server: FormText = "", to: FormText = ""
    ) -> Response:  # fmt: skip
        self._receiver(name)
        return await self._reach(request, name, mailbox_url(mailbox, password, server, to))

    async def set_address(self, request: Request, name: FormText, address: FormText) -> Response:
        self._receiver(name)
        if not address.strip():
            raise InvalidInput("An address starts with the type of service and ://, such as mailto:// or ntfy://.")
        return await self._reach(request, name, address)

    async def _reach(self, request: Request, name: str, address: str) -> Response:
        """Whether it arrives is known at once."""
        await run_in_threadpool(self._dispatcher().set_address, name, address)
        return await self._test(request, name)

    async def test(self, request: Request, name: FormText) -> Response:
        self._receiver(name)
        return await self._test(request, name)

    async def _test(self, request: Request, name: str) -> Response:
        (result,) = await self._dispatcher().test(name)
        return await self._page(request, name, result.problem)

    async def remove(self, request: Request, name: FormText) -> Response:
        """The address goes too: nobody is to be surprised by it when somebody of that name is added again."""
        self._receiver(name)
        is_last = len(self._context.policy().notices) == 1
        said = language_of(request).gettext("No notices to %(name)s", name=name)
        change = await self._context.editor.change(
            principal_of(request).name, said, put(("notices",) if is_last else ("notices", name), None)
        )
        await run_in_threadpool(self._dispatcher().book.put, name, "")
        return redirect_after_save(NOTICES_PATH, change)

    def _receiver(self, name: str) -> Receiver:
        try:
            return self._context.policy().notices[name]
        except KeyError:
            raise InvalidInput("There is no notice recipient called '%(name)s'.", name=name) from None

    def _dispatcher(self) -> NoticeDispatcher:
        if self._context.notices is None:
            raise InvalidInput("Notices are not sent here.")
        return self._context.notices


def parse_receiver_name(text: str) -> str:
    """A name as the policy file takes it, from what somebody is called. Raises `InvalidInput`.

    >>> parse_receiver_name("Großmutter José")
    'grossmutter-jose'
    """
    plain = unicodedata.normalize("NFKD", text.strip().casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if RECEIVER_NAME.fullmatch(name) is None:
        raise InvalidInput("Enter a name made of letters, such as mother.")
    return name


def parse_language(text: str) -> str:
    """Raises `InvalidInput`."""
    if text not in LANGUAGES:
        raise InvalidInput("That language is not available.")
    return text


def parse_time_of_day(text: str) -> str:
    """`HH:MM`, or an empty text. Raises `InvalidInput`."""
    text = text.strip()
    try:
        if text:
            parse_clock(text)
    except ValueError:
        raise InvalidInput("Enter a time of day such as 18:00.") from None
    return text


def quiet_edits(receiver: Receiver | None, start: str, end: str) -> list[Edit]:
    """None where the form says what holds already: the file may say more than the form can show. Raises `InvalidInput`."""
    start, end = parse_time_of_day(start), parse_time_of_day(end)
    if bool(start) != bool(end):
        raise InvalidInput("Enter a beginning and an end for the night, such as 20:30 and 07:00.")
    if receiver is None or (start, end) == _quiet(receiver)[0]:
        return []
    return [put_times(("notices", receiver.name, "quiet"), f"{start}-{end}" if start else None)]


def _card(receiver: Receiver, view: ReceiverView) -> ReceiverCard:
    (quiet, differs), report = _quiet(receiver), receiver.report
    day = DAY_NAMES[report.weekday] if report is not None and report.weekday is not None else ""
    return ReceiverCard(receiver, view, quiet, differs, _clock(receiver.digest), day, _clock(report) or "18:00")


def _quiet(receiver: Receiver) -> tuple[tuple[str, str], bool]:
    """From and until, where they are the same every day; else whether there are others."""
    times = set(night_times(receiver.quiet).values())
    return (times.pop(), False) if len(times) == 1 else (("", ""), True)


def _clock(moment: ClockTime | None) -> str:
    return f"{moment.minute // 60:02d}:{moment.minute % 60:02d}" if moment is not None else ""
