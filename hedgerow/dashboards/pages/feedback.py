"""Feedback after an action: a sentence with what was done and until when, and the form that undoes it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

_KEPT = 200


@dataclass(frozen=True, slots=True)
class Feedback:
    """A sentence about an action. `undo` is the path of the form that undoes it, with its `fields`; or empty."""

    text: str
    undo: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


class LatestFeedback:
    """The sentences about the latest actions, in memory, by the tokens in the addresses of the pages that say them."""

    def __init__(self) -> None:
        self._said: dict[str, Feedback] = {}

    def path(self, path: str, said: Feedback) -> str:
        """Return the address of a page that says a sentence. `path` may have a query, but no fragment."""
        token = secrets.token_urlsafe(6)
        self._said[token] = said
        if len(self._said) > _KEPT:
            del self._said[next(iter(self._said))]
        return f"{path}{'&' if '?' in path else '?'}done={token}"

    def get(self, token: str) -> Feedback | None:
        """Return what a page with this token says, or None if that is not known any more."""
        return self._said.get(token)
