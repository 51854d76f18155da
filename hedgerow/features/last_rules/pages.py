"""The button next to the mistakes of a policy file."""

from __future__ import annotations

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.words.languages import message
from hedgerow.features.last_rules.actions import kept_texts, return_to_last_rules


def _can_return(context: PageContext, _subject: object) -> bool | None:
    return True if context.editor.path.absolute() in kept_texts(context.rule_versions) else None


class LastRulesPages(PageGroup):
    """The button's form."""

    @form(return_to_last_rules)
    async def put_back(self, request: Request, caller: Caller) -> Response:
        context, loaded = self._context, self._context.control.status().policy_loaded
        await return_to_last_rules.run(context, caller)
        (change, *_) = await run_in_threadpool(context.editor.store.latest)
        text = (
            message("The file has the rules of %(time)s again.")
            if loaded
            else message("The file has the rules again that are in force.")
        )
        return self._done(request, text, f"/changes/{change.id}/undo", path="/", ends=loaded)


EXTENSIONS = Extensions(
    page_groups=(LastRulesPages,),
    actions=(return_to_last_rules,),
    cards=(Card(place=Place.POLICY_MISTAKES, template="last_rules/templates/button.html", read=_can_return),),
)
