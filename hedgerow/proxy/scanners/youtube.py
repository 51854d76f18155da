"""Check of pages and calls of YouTube where only chosen channels and videos are open."""

from __future__ import annotations

from typing import ClassVar, Self
from urllib.parse import urlsplit

from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.policies.youtube import YOUTUBE_CHOSEN, ResponseCheck, YouTubeAccess, access_to, is_youtube
from hedgerow.proxy.scanners.decoding import ExcessiveExpansion
from hedgerow.proxy.scanners.scanner import Head, Outcome, Scanner, ScanRules

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a response. A page with its film's data has about 1.5 MB."""

_CLOSED = Decision(Verdict.BLOCK, Reason.RULE, YOUTUBE_CHOSEN)


class YouTubeScanner(Scanner):
    """Scanner that holds a response back until it is known to be of a chosen channel or video."""

    unchecked: ClassVar[Decision] = _CLOSED
    unreadable = _CLOSED
    checks_streams = True

    def __init__(self, url: str, chosen: tuple[str, ...]) -> None:
        self.is_done = False
        self._check = ResponseCheck(url, chosen)
        self._length = 0

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | Decision | None:
        chosen = rules.content.youtube_only
        if (
            not chosen
            or not is_youtube(urlsplit(head.url).hostname or "")
            or access_to(head.url, chosen) is not YouTubeAccess.VERIFY
        ):
            return None
        return cls(head.url, chosen)

    def feed(self, data: bytes) -> Outcome:
        self._length += len(data)
        if self._length > MAX_BODY:
            raise ExcessiveExpansion
        self._check.feed(data)
        return None

    def release(self) -> Decision | None:
        return None if self._check.is_chosen else _CLOSED

    def end(self) -> Outcome:
        return self.release()
