"""The card among the notices that sets Telegram up, and the page with the code that opens the bot's chat."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import put
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.features.telegram.bot_api import Bot, Chat, parse_bot, started_chat, username_of

_PATH = "/settings/notices/telegram"
_VALID_S = 900.0
_MAX_SETUPS = 8


@dataclass(slots=True)
class _Setup:
    """A bot whose chat is looked for. It is in memory only, with its token.

    `recipient` is the name of the recipient once there is one, `owner` that of the person in Telegram, and `problem`
    says why the test was not sent. Telegram refuses all but one of several requests for a bot's messages.
    """

    bot: Bot
    username: str
    began: float
    after: int = 0
    recipient: str = ""
    owner: str = ""
    problem: str = ""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def link(self, code: str) -> str:
        return f"https://t.me/{self.username}?start={code}"


class TelegramPages(PageGroup):
    """The form of the card, and that of the page with the code."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._setups: dict[str, _Setup] = {}

    @post(_PATH, MANAGE)
    async def begin(
        self,
        request: Request,
        token: Annotated[str, Form(max_length=200)],
        server: Annotated[str, Form(max_length=300)] = "",
    ) -> Response:
        """Ask who the bot is, and show a code with which its chat can be opened."""
        bot = parse_bot(token, server)
        username = await run_in_threadpool(username_of, bot, self._local)
        code, now = secrets.token_urlsafe(24), time.monotonic()
        recent = [(key, each) for key, each in self._setups.items() if now - each.began < _VALID_S]
        self._setups = dict([*recent[1 - _MAX_SETUPS :], (code, _Setup(bot, username, now))])
        return self._shown(request, code)

    @post(f"{_PATH}/chat", MANAGE)
    async def find_chat(self, request: Request, code: Annotated[str, Form(max_length=100)]) -> Response:
        """Wait some seconds for somebody who starts the bot with the code. Then make a recipient, and send a test."""
        setup = self._setups.get(code)
        if setup is None or time.monotonic() - setup.began > _VALID_S:
            raise InvalidInput("This code is no longer valid. Paste the bot's token again.")
        async with setup.asking:
            if not setup.recipient:
                chat, setup.after = await run_in_threadpool(started_chat, setup.bot, code, setup.after, self._local)
                if chat is None:
                    return self._shown(request, code, 202)
                await self._add(request, setup, chat)
        return self._page(request, "telegram/templates/done.html", setup=setup)

    async def _add(self, request: Request, setup: _Setup, chat: Chat) -> None:
        notices, taken = self._context.notices, self._context.policy().notices
        numbered = (f"telegram-{number}" if number > 1 else "telegram" for number in count(1))
        name = next(free for free in numbered if free not in taken)
        edit = put(("notices", name), {"language": language_of(request).code})
        await self._change(request, message("%(name)s gets notices."), edit, name=name)
        await run_in_threadpool(notices.set_address, name, setup.bot.address_of(chat.id))
        (result,) = await notices.test(name)
        setup.recipient, setup.owner, setup.problem = name, chat.name or name, result.problem

    def _shown(self, request: Request, code: str, status: int = 200) -> Response:
        setup = self._setups[code]
        link = setup.link(code)
        values = {"code": code, "link": link, "username": setup.username, "qr": qr_code(link, scale=6)}
        return self._page(request, "telegram/templates/scan.html", status, **values)

    @property
    def _local(self) -> tuple[str, ...]:
        return tuple(self._context.policy().network.own_places)


def _always(_context: PageContext, _subject: object) -> bool:
    return True


EXTENSIONS = Extensions(
    cards=(Card(place=Place.NOTICES, template="telegram/templates/card.html", read=_always),),
    page_groups=(TelegramPages,),
)
