"""Parts of the quiet hour in the web server of tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hedgerow.features.quiet_hour.hours import QuietHours, quiet_hours
from hedgerow.journal.store import Store


async def _put_in_force() -> None:
    """Do nothing: the server's rules follow its journal."""


def parts(*, store: Store, **_core: Any) -> dict[Any, Any]:
    """Return quiet hours in the server's journal."""
    snapshots: Any = SimpleNamespace(put_in_force=_put_in_force)
    return {quiet_hours: QuietHours(store, snapshots)}
