"""Wishes in the web server of tests."""

from __future__ import annotations

from typing import Any

from hedgerow.features.wishes.answers import Wishes, wishes_of


async def _put_in_force() -> None:
    """Do nothing: the server's rules follow its journal."""


def parts(*, store: Any, control: Any, time: Any, editor: Any, notify: Any, clock: Any, **_core: Any) -> dict[Any, Any]:
    """Return wishes in the server's journal."""
    wishes = Wishes(
        store=store,
        control=control,
        times=time,
        editor=editor,
        put_in_force=_put_in_force,
        notify=notify,
        clock=clock,
    )
    return {wishes_of: wishes}
