"""The button beside the mistakes of a policy file."""

from __future__ import annotations

from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.features.last_rules.actions import kept_texts, return_to_last_rules


def _can_return(context: PageContext, _subject: object) -> bool | None:
    return True if context.editor.path.absolute() in kept_texts(context.rule_versions) else None


EXTENSIONS = Extensions(
    actions=(return_to_last_rules,),
    cards=(Card(place=Place.POLICY_MISTAKES, template="last_rules/templates/button.html", read=_can_return),),
)
