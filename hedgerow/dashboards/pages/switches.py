"""The switches of a person's page: each opens or closes one service or topic."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Form, Path, Request
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.household import find_person
from hedgerow.dashboards.edits.rules import switch_edits
from hedgerow.dashboards.pages.context import PageGroup, principal_of, redirect_to
from hedgerow.dashboards.pages.openings import Opening, ask_before, tell_obstacle
from hedgerow.dashboards.pages.people import person_path
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.policies.model import GrantDuration

type PersonName = Annotated[str, Path(max_length=60)]
type FormText = Annotated[str, Form(max_length=300)]


class SwitchPages(PageGroup):
    """The form of the switches."""

    @post("/people/{name}/switch", MANAGE)
    async def switch(
        self, request: Request, name: PersonName, close: FormText = "", open: FormText = "",
        how_long: Annotated[GrantDuration, Form(alias="for")] = GrantDuration.GOOD,
    ) -> Response:  # fmt: skip
        """Open or close a service or topic. A rule of the person's own is written only where the profile differs.

        A dangerous one can be opened for an hour or until midnight too, which is a permission rather than a rule.
        """
        policy, item, wanted = self._context.policy(), close or open, bool(open)
        find_person(policy, name)
        access = self._context.control.person_access(name).subjects.get(item)
        if access is None:
            raise InvalidInput("There is no service or topic '%(item)s'.", item=item)
        if wanted and (question := await ask_before(self._context, request, Opening(item, name))) is not None:
            return question
        if wanted and how_long is not GrantDuration.GOOD:
            ends = how_long.end(self._context.clock(), labels.zone(policy.network.timezone))
            await self._context.control.give(item, principal_of(request).name, person=name, ends=ends)
            obstacle = await tell_obstacle(self._context, request, Opening(item, name), how_long)
            return obstacle or _back(name, item, wanted, "done")
        edits = switch_edits(policy, name, item, allows=wanted, by_default=self._context.control.is_open_by_default(name, item))
        text = message("Open %(what)s for %(name)s") if wanted else message("Block %(what)s for %(name)s")
        change = await self._change(request, text, *edits, name=name, what=title_of(item, language_of(request)))
        if change is None and access.standing.is_open is not wanted:
            return _back(name, item, wanted)  # another rule decides, and the page names it
        return _back(name, item, wanted, str(change.id) if change else "0")


def _back(name: str, item: str, wanted: bool, saved: str = "") -> Response:
    query = {"saved": saved} if saved else {}
    return redirect_to(f"{person_path(name)}?{urlencode({**query, 'switch': item, 'to': 'open' if wanted else 'closed'})}#switch-{item}")
