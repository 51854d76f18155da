"""Wishes of children: more minutes, a later bedtime, or another rule, and what a parent says to them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hedgerow.features.contract import Feature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hedgerow.dashboards.extensions import Extensions
    from hedgerow.dashboards.push import NoticeButton
    from hedgerow.dashboards.words.languages import Language
    from hedgerow.journal.store import Store


def _extensions() -> Extensions:
    from hedgerow.features.wishes.pages import EXTENSIONS

    return EXTENSIONS


def _notice_buttons(store: Store, key: str, reader: Language) -> Sequence[NoticeButton]:
    if " wish " not in key:
        return ()
    from hedgerow.features.wishes.buttons import buttons_of

    return buttons_of(store, key, reader, time.time())


FEATURE = Feature(
    name="wishes",
    summary="Children ask for minutes, a later bedtime or another rule, and a parent answers with one tap",
    extensions=_extensions,
    notice_buttons=_notice_buttons,
    commands={"wishes": "commands:app"},
)
