"""The devices that forward, in the web server of tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hedgerow.features.tethering.watch import TetheringWatch, watch_of
from hedgerow.policies.model import Policy


def parts(*, policy: Callable[[], Policy], clock: Callable[[], float], **_core: object) -> dict[Any, Any]:
    """Return the watch, by the function that makes the feature's own. Each of its reports counts."""
    watch = TetheringWatch(policy, notify=lambda _notices: None, clock=clock)
    for ago in (1.0, 0.0):
        watch.note("02:00:00:00:77:0a", clock() - ago)
    return {watch_of: watch}
