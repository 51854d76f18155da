"""Pictures on the pages: a card in the settings, and its switch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from hedgerow.dashboards.edits.yaml_text import put
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_after_save
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.words.languages import message
from hedgerow.features.pictures.scanner import KEY, is_installed
from hedgerow.policies.effective_users import are_scored


class PicturePages(PageGroup):
    """The switch of the card."""

    @post("/settings/pictures", MANAGE)
    async def switch(self, request: Request, on: Annotated[bool, Form()]) -> Response:
        """Judge pictures for everybody, or for nobody but those for whom the policy says so."""
        rules = self._context.policy().household.content.scores
        has_limit = any(rule.key == KEY and rule.limit is not None for rule in rules)
        path = (KEY, "enabled") if has_limit else (KEY,)
        state = _state(self._context, None)
        hidden = (
            message("Explicit pictures are hidden.")
            if state.can_judge and state.is_trusted
            else message("It is saved that explicit pictures are hidden, but it does not work yet.")
        )
        text = hidden if on else message("All pictures are shown.")
        change = await self._change(request, text, put(path, on))
        return redirect_after_save("/settings", change)


@dataclass(frozen=True, slots=True)
class _State:
    """State of the judgement: the policy wants it, it can be done, and a device trusts the certificate."""

    is_on: bool
    can_judge: bool
    is_trusted: bool


def _state(context: PageContext, _place: object) -> _State:
    policy = context.policy()
    return _State(are_scored(policy, KEY), is_installed(), any(device.trusts_ca for device in policy.devices.values()))


EXTENSIONS = Extensions(
    cards=(Card(place=Place.SETTINGS, template="pictures/templates/settings.html", read=_state),),
    page_groups=(PicturePages,),
)
