"""The card among the notices that sets the ntfy app up, and the page with the code to subscribe."""

from __future__ import annotations

from itertools import count
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.edits.yaml_text import put
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.features.ntfy.topics import new_topic


class NtfyPages(PageGroup):
    """The form of the card."""

    @post("/settings/notices/ntfy", MANAGE)
    async def set_up(self, request: Request, server: Annotated[str, Form(max_length=300)] = "") -> Response:
        """Make a recipient with a new topic, send a test, and show once how to subscribe."""
        topic, notices = new_topic(server), self._context.notices
        taken = self._context.policy().notices
        name = next(free for number in count(1) if (free := f"ntfy-{number}" if number > 1 else "ntfy") not in taken)
        edit = put(("notices", name), {"language": language_of(request).code})
        await self._change(request, message("%(name)s gets notices."), edit, name=name)
        await run_in_threadpool(notices.set_address, name, topic.address)
        (result,) = await notices.test(name)
        code = qr_code(topic.app_link, scale=6)
        return self._page(
            request, "ntfy/templates/subscribe.html", topic=topic, name=name, qr=code, problem=result.problem
        )


def _always(_context: PageContext, _subject: object) -> bool:
    return True


EXTENSIONS = Extensions(
    cards=(Card(place=Place.NOTICES, template="ntfy/templates/card.html", read=_always),),
    page_groups=(NtfyPages,),
)
