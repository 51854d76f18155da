"""The contract between a body scan and its scanners. Pure.

A new check is one module with a subclass of `Scanner`, and its class in the tuple `SCANNERS` of `body.py`. A feature
adds one that scores whole bodies as a `ScoringScanner`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import ClassVar, Literal, Protocol, Self

from hedgerow.client_classes import ClassedClient
from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.scanners.launcher import StartProgram
from hedgerow.proxy.scanners.topics import ListedTopics
from hedgerow.proxy.scanners.visible_text import Markup
from hedgerow.values import value_dataclass

_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "", "*/*", "unknown/unknown", "application/unknown"})
"""Types of pages, and those for which browsers sniff whether it is one (WHATWG's MIME Sniffing Standard, section 7)."""

_MESSAGES = frozenset(
    {
        "application/json",
        "application/ndjson",
        "application/x-ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/json-lines",
        "application/json-seq",
        "application/x-json-stream",
        "application/connect+proto",
        "application/protobuf",
        "application/x-protobuf",
    }
)
"""Types that programs read message by message, and that no browser saves as a file or shows as a page."""

XML_SUFFIXES = ("/xml", "+xml")
_SCRIPTS = frozenset({"application/javascript", "application/x-javascript", "application/ecmascript"})
_MEDIA = ("text/", "image/", "audio/", "video/", "font/", "application/javascript")


class PendingWork(Enum):
    PENDING = "pending"


PENDING = PendingWork.PENDING
"""A scanner's outcome where the rest of its work must run in a process that can be killed:

`Scanner.work` is called there.
"""

type Outcome = Decision | Literal[PendingWork.PENDING] | None


_USUAL = 100  # characters of the fields by which kinds of bodies are kept


@dataclass(frozen=True, slots=True)
class BodyKind:
    """Facts that follow from a body's type, disposition and destination.

    `types` are the media types, in lower case and without parameters. `is_saved`: the browser saves the body as a file,
    whatever its type is. `may_be_page`: a browser may show it as a page. `is_stream`: it is a sequence of messages,
    which must not be held back. `is_media`: no archive comes under such a type. `markup` is the language of a page.
    """

    types: tuple[str, ...]
    is_saved: bool
    may_be_page: bool
    is_stream: bool
    is_media: bool
    markup: Markup


@lru_cache(256)
def body_kind(content_type: str, disposition: str, is_document: bool, is_image: bool) -> BodyKind:
    """Return the kind of a body. Most responses are of few kinds."""
    types = tuple([each.partition(";")[0].strip() for each in content_type.lower().split(",")])
    is_saved = "attachment" in disposition.lower()
    is_shown = is_document and not is_saved
    may_be_page = not is_image and any(
        each in _PAGE_TYPES or "/" not in each or (is_shown and _is_text(each)) for each in types
    )
    are_messages = all(
        each in _MESSAGES or each.startswith("application/grpc") or each.endswith("+json") for each in types
    )
    is_stream = not is_shown and (types == ("text/event-stream",) or (not is_saved and are_messages))
    is_media = not is_saved and all(each.startswith(_MEDIA) or each.endswith(XML_SUFFIXES) for each in types)
    markup = _markup_of(types[0]) if len(set(map(_markup_of, types))) == 1 else Markup.TEXT
    return BodyKind(types, is_saved, may_be_page, is_stream, is_media, markup)


def _is_text(kind: str) -> bool:
    """Return whether browsers show documents of a type as text, or as XML."""
    return kind.startswith("text/") or kind in _MESSAGES or kind in _SCRIPTS or kind.endswith((*XML_SUFFIXES, "+json"))


def _markup_of(kind: str) -> Markup:
    if kind.endswith(XML_SUFFIXES):
        return Markup.XML
    if kind == "text/html":
        return Markup.HTML
    return Markup.SNIFFED if kind in _PAGE_TYPES or "/" not in kind else Markup.TEXT


@value_dataclass(frozen=True, slots=True)
class Head:
    """The fields of a response's head that scanners read, and what its request says: its URL, and whether a browser
    shows the body.

    `is_document`: as a page of its own. `is_image`: as a picture, whatever its type is.

    >>> Head("https://a.example/", "Text/HTML; charset=utf-8, image/png").kind.types
    ('text/html', 'image/png')
    """

    url: str
    content_type: str = ""
    disposition: str = ""
    encoding: str = ""
    is_document: bool = False
    rating: str = ""
    is_image: bool = False
    pics_label: str = ""

    @property
    def kind(self) -> BodyKind:
        """The kind of the body. Of several types, some browsers take the first, others the last."""
        kind, disposition = self.content_type, self.disposition
        look = body_kind if len(kind) + len(disposition) <= _USUAL else body_kind.__wrapped__
        return look(kind, disposition, self.is_document, self.is_image)


@value_dataclass(frozen=True, slots=True)
class ScanRules:
    """The rules of one ruleset about bodies.

    `phrase_lists` are files with the times of their last changes; see `words.list_versions`.

    `topics` are the categories whose pages are blocked where they are recognised. With `labels_only`, as for well-known
    hosts, only what a page declares counts. `listed` are the lists in force, and `scoring` the scanners of features.
    """

    content: ContentRules
    phrase_lists: tuple[tuple[str, int], ...] = ()
    topics: tuple[str, ...] = ()
    labels_only: bool = False
    listed: ListedTopics | None = field(default=None, compare=False)
    scoring: tuple[type[Scanner], ...] = ()


class Scanner(Protocol):
    """One check of one body, which gets the bytes behind the content codings. Subclass it explicitly.

    A step (`feed`, `end`) takes a few milliseconds for 64 KiB at most. A scanner whose check takes longer returns
    PENDING.
    """

    unchecked: ClassVar[Decision] = Decision(Verdict.BLOCK, Reason.PAGE, "too long to be weighed")
    """The decision on a body that could not be checked, since it takes too much memory or time."""

    unreadable: Decision | None = None
    """The decision on a body that cannot be decoded, if it does not pass, until the scanner is done."""

    checks_streams: ClassVar[bool] = False
    """The check applies to sequences of messages too, and holds them back."""

    wants_whole: bool = False
    """The bytes so far show that the check takes long and needs the whole body: it is collected, and
    checked in one go.
    """

    is_done: bool
    """No further byte can change the outcome."""

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | Decision | None:
        """Return a scanner for a response with this head, its decision if the head suffices, or None if the check does
        not apply.
        """

    def feed(self, data: bytes) -> Outcome:
        """Scan the next bytes.

        Return a decision to block, PENDING, or None. Raise `decoding.ExcessiveExpansion` where it is too much.
        """

    def release(self) -> Decision | None:
        """Return the decision on the bytes so far, because the rest cannot be held back for longer."""
        return None

    def end(self) -> Outcome:
        """Return the decision on the whole body."""
        return None

    def work(self) -> Outcome:
        """Finish the pending work of the last step. This may take long, so it is called in a worker process only."""
        return None


class CollectedBody(Protocol):
    """A body that a feature collects and scores whole, with the interface of a `workers.ScanJob`."""

    refusal: Decision | None
    is_done: bool
    is_busy: bool

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        """Take the next bytes, or the last."""

    def release(self) -> None:
        """Decide on the bytes so far, because the rest cannot be held back for longer."""

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the body is not busy any more."""


class BodyQueue(Protocol):
    """The bodies that a feature scores, and what scores them."""

    def start(self) -> None:
        """Prepare for bodies that will come."""

    def begin(self, client: ClassedClient, head: Head, rules: ScanRules, unchecked: Decision) -> CollectedBody:
        """Return a new body of a client. `unchecked` is the decision if it cannot be scored."""

    def close(self) -> None:
        """End. Unfinished bodies stay busy: their connections have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringScanner:
    """A scanner of a feature, which scores whole bodies.

    `queue` makes its queue, which calls its first argument with each outcome, and starts programs by the second.

    `key` is its key of the policy: `ContentRules.score_limits` has the limit by it. `counter` is the metric that counts
    outcomes: shown, hidden or unchecked. Bodies of hosts for which `is_exempt` returns True are not scored, nor those
    that their pages load.
    """

    key: str
    kind: type[Scanner]
    queue: Callable[[Callable[[str], None], StartProgram], BodyQueue]
    counter: str
    is_exempt: Callable[[str], bool]
