"""Methods for the caches of their own objects."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakMethod


def weakly[*Given, Found](method: Callable[[*Given], Found]) -> Callable[[*Given], Found]:
    """The method, without keeping its object alive.

    An object that keeps a cache over its own method is in a cycle. With the files that it has mapped it would stay, when nobody uses
    it any more, until the collector looks at everything, which is seldom.
    """
    reference = WeakMethod(method)

    def call(*given: *Given) -> Found:
        found = reference()
        assert found is not None, "only its object keeps the cache"
        return found(*given)

    return call
