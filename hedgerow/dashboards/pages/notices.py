"""Notice recipients: topics, times and addresses. The policy file holds everything but the addresses."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.address_book import mailbox_url
from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.edits.household import (
    parse_language,
    parse_receiver_name,
    parse_time_of_day,
    quiet_edits,
    quiet_hours,
)
from hedgerow.dashboards.edits.yaml_text import put
from hedgerow.dashboards.notices import find_receiver
from hedgerow.dashboards.pages.context import PageGroup, principal_of, redirect_after_save
from hedgerow.dashboards.push import parse_subscription, push_endpoint
from hedgerow.dashboards.routes import MANAGE, READ, get, post
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.policies.model import Policy
from hedgerow.policies.notices import DEFAULT_TOPICS, ClockTime, NoticeTopic
from hedgerow.policies.times.schedule import DAY_NAMES

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
    NoticeTopic.TROUBLE: message("The rules have mistakes, or the disk is full"),
}


class NoticePages(PageGroup):
    """`/settings/notices` and its forms."""

    @get(NOTICES_PATH, READ)
    async def notices(self, request: Request) -> Response:
        return await self._overview(request)

    async def _overview(self, request: Request, tried: str = "", problem: str = "") -> Response:
        views = {view.name: view for view in await run_in_threadpool(self._context.notices.receivers)}
        shown = [(receiver, views[name]) for name, receiver in self._context.policy().notices.items() if name in views]
        return self._page(
            request,
            "notices.html",
            shown=shown,
            quiet_hours=quiet_hours,
            clock_time=_clock,
            topics=TOPIC_TITLES,
            days=DAY_NAMES,
            tried=tried,
            problem=problem,
            push_key=await run_in_threadpool(self._push_key),
            own_name=_free_name(principal_of(request).name, self._context.policy()),
        )

    def _push_key(self) -> str:
        try:
            return self._context.notices.browsers.key.public()
        except (OSError, ValueError):  # a full disk, or a file that somebody changed
            return ""

    @post(NOTICES_PATH, MANAGE)
    async def add(self, request: Request, name: FormText) -> Response:
        """Add a recipient of all topics, in the language of the page. The address comes next."""
        name = parse_receiver_name(name)
        if name in self._context.policy().notices:
            raise InvalidInput("'%(name)s' is already taken.", name=name)
        edit = put(("notices", name), {"language": language_of(request).code})
        return redirect_after_save(
            NOTICES_PATH, await self._change(request, message("%(name)s gets notices."), edit, name=name)
        )

    @post(f"{NOTICES_PATH}/change", MANAGE)
    async def change(
        self,
        request: Request,
        name: FormText,
        language: FormText,
        about: Annotated[list[str] | None, Form()] = None,
        quiet_from: FormText = "",
        quiet_to: FormText = "",
        digest: FormText = "",
        report: FormText = "",
        report_day: FormText = "",
    ) -> Response:
        receiver = find_receiver(self._context.policy(), name)
        wanted = [topic.value for topic in NoticeTopic if topic.value in (about or ())]
        with at_field("language"):
            language = parse_language(language)
        with at_field("digest"):
            digest = parse_time_of_day(digest)
        with at_field("report"):
            report = parse_time_of_day(report)
        with at_field("quiet_from"):
            quiet_from = parse_time_of_day(quiet_from)
        with at_field("quiet_to"):
            quiet_to = parse_time_of_day(quiet_to)
        edits = [
            put(("notices", name, "about"), None if wanted == list(DEFAULT_TOPICS) else wanted),
            put(("notices", name, "language"), language),
            put(("notices", name, "digest"), digest or None),
            put(("notices", name, "report"), f"{report_day} {report}" if report_day else None),
            *quiet_edits(receiver, quiet_from, quiet_to),
        ]
        return redirect_after_save(
            NOTICES_PATH, await self._change(request, message("%(name)s's notices changed."), *edits, name=name)
        )

    @post(f"{NOTICES_PATH}/mail", MANAGE)
    async def set_mail(
        self,
        request: Request,
        name: FormText,
        mailbox: FormText,
        password: FormText,
        server: FormText = "",
        to: FormText = "",
    ) -> Response:
        return await self._set_address(request, name, mailbox_url(mailbox, password, server, to), "mailbox")

    @post(f"{NOTICES_PATH}/address", MANAGE)
    async def set_address(self, request: Request, name: FormText, address: FormText) -> Response:
        if not address.strip():
            raise InvalidInput("An address starts with the type of service and ://, such as mailto:// or ntfy://.")
        return await self._set_address(request, name, address)

    @post(f"{NOTICES_PATH}/push", MANAGE)
    async def set_browser(
        self,
        request: Request,
        name: FormText,
        endpoint: FormText,
        p256dh: FormText,
        auth: FormText,
        mailbox: FormText = "",
    ) -> Response:
        """Send notices to the browser that asks for it, as a recipient of its own, and test it at once.

        One browser is one recipient.
        """
        with at_field("name"):
            name = parse_receiver_name(name)
        subscription = parse_subscription(endpoint, p256dh, auth, mailbox)
        name = await run_in_threadpool(self._known_browser, endpoint) or name
        if name not in self._context.policy().notices:
            edit = put(("notices", name), {"language": language_of(request).code})
            await self._change(request, message("%(name)s gets notices."), edit, name=name)
        return await self._set_address(request, name, subscription.address)

    def _known_browser(self, endpoint: str) -> str:
        """Return the recipient that a browser is already, or an empty text."""
        book = self._context.notices.book
        return next(
            (name for name in self._context.policy().notices if push_endpoint(book.address(name)) == endpoint), ""
        )

    async def _set_address(self, request: Request, name: str, address: str, field: str = "") -> Response:
        """Store an address and test it at once. If the test fails, the form that has the `field` is shown again."""
        await run_in_threadpool(self._context.notices.set_address, name, address)
        (result,) = await self._context.notices.test(name)
        if result.problem and field:
            problem = language_of(request).gettext(result.problem)
            text = message("It is saved, but the test was not sent. %(problem)s")
            raise InvalidInput(text, problem=problem).at(field)
        return await self._overview(request, name, result.problem)

    @post(f"{NOTICES_PATH}/test", MANAGE)
    async def test(self, request: Request, name: FormText) -> Response:
        (result,) = await self._context.notices.test(name)
        return await self._overview(request, name, result.problem)

    @post(f"{NOTICES_PATH}/remove", MANAGE)
    async def remove(self, request: Request, name: FormText) -> Response:
        """Remove a recipient and the address, so that a later recipient of the same name does not inherit it."""
        find_receiver(self._context.policy(), name)
        path = ("notices",) if len(self._context.policy().notices) == 1 else ("notices", name)
        change = await self._change(request, message("%(name)s gets no more notices."), put(path, None), name=name)
        await run_in_threadpool(self._context.notices.book.put, name, "")
        return redirect_after_save(NOTICES_PATH, change)


def _free_name(account: str, policy: Policy) -> str:
    """Return a name for the browser of an account that no recipient has yet."""
    base = re.sub("[^a-z0-9]+", "-", account.lower()).strip("-")[:20] or "phone"
    names = (base, *(f"{base}-{number}" for number in range(2, len(policy.notices) + 3)))
    return next(name for name in names if name not in policy.notices)


def _clock(moment: ClockTime | None) -> str:
    return f"{moment.minute // 60:02d}:{moment.minute % 60:02d}" if moment is not None else ""
