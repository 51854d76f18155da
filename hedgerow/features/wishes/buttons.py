"""Buttons of a notice about a wish, which answer it by one tap."""

from __future__ import annotations

import re

from hedgerow.dashboards.push import NoticeButton
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.features.wishes.records import WishKind, WishState, WishStore, is_openable
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.journal.store import Store


def buttons_of(store: Store, key: str, reader: Language, now: float) -> list[NoticeButton]:
    """Return the buttons of a notice about an open wish: yes, less, no with a reason, and to talk about it.

    Browsers show the first two or three.
    """
    found = re.search(r" wish ([0-9]{1,18})$", key)
    if found is None:
        return []
    try:
        wish = WishStore(store).wish(int(found[1]))
    except NoSuchEntry:
        return []
    if wish.state is not WishState.OPEN or wish.has_lapsed(now):
        return []
    path, why = f"/wishes/{wish.id}", reader.gettext(wish.ready_no)
    buttons = []
    if wish.kind is not WishKind.RULE:
        buttons.append(NoticeButton(reader.gettext(message("Yes")), f"{path}/grant", {}))
    elif is_openable(wish.subject):
        buttons.append(NoticeButton(reader.gettext(message("Open from now on")), f"{path}/grant", {}))
        week = reader.ngettext("For %(count)s day", "For %(count)s days", 7)
        buttons.append(NoticeButton(week, f"{path}/grant", {"days": "7"}))
    for count in wish.fewer[-1:]:
        title = reader.gettext(message("Only %(count)s min"), count=count)
        buttons.append(NoticeButton(title, f"{path}/grant", {"minutes": str(count)}))
    no = reader.gettext(message("No: %(what)s"), what=why)
    talk = reader.gettext(message("Let’s talk about it"))
    return [*buttons, NoticeButton(no, f"{path}/deny", {"why": why}), NoticeButton(talk, f"{path}/talk", {})]
