"""What somebody sees instead of what was blocked: what, why, until when, whom to ask, and who always listens.

A page makes no request to anywhere, needs no script and escapes everything. A frame, an image or a program's request gets a small
answer in its own form. Pure but for `BlockPage.load`, which reads the templates and words of this package.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.policies.lifelines import Lifeline, Lifelines
from hedgerow.policies.model import Decision, Reason
from hedgerow.policies.services import Services

ASK_PATH = "/.well-known/hedgerow/ask"
NOTE_LIMIT = 300

_PAGES = Path(__file__).parent / "pages"
_AT_ONCE, _BEHIND_A_CLICK = 3, 6
_NO_ASKING = frozenset({Reason.BYPASS})
"""Nobody is asked to open a hole in the filter from the page that closed it."""


class Form(Enum):
    """In which form the one who asked can take an answer."""

    PAGE = "page"
    FRAME = "frame"
    DATA = "data"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer, without the framing fields that the connection adds."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def to_bytes(self, *, close: bool = True, head_only: bool = False) -> bytes:
        """The answer in HTTP/1.1."""
        lines = [f"HTTP/1.1 {self.status} {_PHRASES[self.status]}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += ["Connection: close"] if close else []
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if head_only else self.body)


_PHRASES = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 405: "Method Not Allowed", 408: "Request Timeout", 414: "URI Too Long",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip


def form_of(resource: str, accept: str, requested_with: str = "") -> Form:
    """The form that suits a request, by its Sec-Fetch-Dest, Accept and X-Requested-With fields.

    >>> form_of("image", "image/avif,*/*"), form_of("", "text/html,*/*"), form_of("empty", "*/*")
    (<Form.NOTHING: 'nothing'>, <Form.PAGE: 'page'>, <Form.DATA: 'data'>)
    """
    match resource:
        case "document":
            return Form.PAGE
        case "iframe" | "frame" | "embed" | "object":
            return Form.FRAME
        case "empty":
            return Form.DATA
        case "":
            pass
        case _:
            return Form.NOTHING
    if requested_with or ("application/json" in accept and "text/html" not in accept):
        return Form.DATA
    if accept.startswith(("image/", "video/", "audio/", "text/css")):
        return Form.NOTHING
    return Form.PAGE


@dataclass(frozen=True, slots=True)
class _Line:
    """A lifeline as a page shows it."""

    name: str
    phone: str
    dial: str
    chat: str
    url: str
    site: str


class BlockPage:
    """Renders every answer of the proxy that is its own. `titles` and `abouts` explain what a decision names, in people's words."""

    def __init__(
        self,
        template: Template,
        style: str,
        words: Mapping[str, Any],
        lifelines: Sequence[Lifeline],
        timezone: ZoneInfo,
        titles: Mapping[str, str],
        abouts: Mapping[str, str],
    ) -> None:
        self._template = template
        self._style = style
        self._words = words
        # Those for children with a telephone first: a page that lists forty is read by nobody.
        ordered = sorted(lifelines, key=lambda line: (line.purpose != "children", not line.phone))
        self._lines = tuple(_shown(line) for line in ordered[: _AT_ONCE + _BEHIND_A_CLICK])
        self._timezone = timezone
        self._titles = titles
        self._abouts = abouts
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._policy = f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

    @staticmethod
    def load(country: str | None = None, timezone: str = "UTC", language: str = "en") -> BlockPage:
        """The pages of this package, with the lifelines of a country and times as its clocks show them."""
        environment = Environment(loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined)
        categories = builtin_categories()
        titles = {category.name: category.title for category in categories}
        titles |= {service.id: service.title for service in Services.load().by_id.values()}
        return BlockPage(
            environment.get_template("page.html"),
            (_PAGES / "page.css").read_text(encoding="utf-8"),
            yaml.safe_load((_PAGES / f"{language}.yaml").read_text(encoding="utf-8")),
            Lifelines.load().for_country(country),
            ZoneInfo(timezone),
            titles,
            {category.name: category.description for category in categories},
        )

    def blocked(self, decision: Decision, host: str, url: str, now: float, form: Form = Form.PAGE) -> Answer:
        """The answer to a blocked request, in the form that suits the one who asked."""
        match form:
            case Form.PAGE:
                return self._page(403, self._blocked_parts(decision, host, url, now))
            case Form.FRAME:
                heading = self._words_for(decision)[0]
                return self._answer(403, Markup("<!doctype html><title>{0}</title><p>{0}</p>").format(heading), "text/html")
            case Form.DATA:
                return self._answer(403, json.dumps(self._facts(decision, host, now)), "application/json")
            case Form.NOTHING:
                return self._answer(403, "", "text/plain")

    def refused_tunnel(self, decision: Decision, host: str, now: float) -> Answer:
        """The answer to a CONNECT that was blocked: a few words, since browsers show none and programs log them."""
        words = self._words["text"]
        text = words["tunnel"].format(host=host, why=self._words_for(decision)[1])
        if decision.until is not None:
            text += " " + words["until"].format(until=self._until(decision.until, now))
        return self._answer(403, f"{text}\n", "text/plain", (("X-Hedgerow-Reason", decision.reason.value),))

    def told(self, key: str, status: int, link: str = "") -> Answer:
        """One of the short pages around asking: `asked`, `open`, `too-often`, `not-from-here`."""
        words = self._words[key]
        return self._page(status, {"heading": words["heading"], "why": words["why"], "link": link})

    def error(self, status: int, message: str) -> Answer:
        """The answer to what is no proper request or cannot be served."""
        return self._answer(status, f"Hedgerow: {message}.\n", "text/plain")

    def _blocked_parts(self, decision: Decision, host: str, url: str, now: float) -> dict[str, Any]:
        labels, (heading, why) = self._words["labels"], self._words_for(decision)
        facts = [(labels["address"], host)]
        if decision.rule is not None:
            facts.append((labels["rule"], _rule_name(decision)))
        until = self._words["until"]["none"] if decision.until is None else self._until(decision.until, now)
        facts.append((labels["until"], until))
        ask = None if decision.reason in _NO_ASKING else {"path": ASK_PATH, "url": url, "note_limit": NOTE_LIMIT}
        about = self._abouts.get(decision.what, "") if decision.reason is Reason.CATEGORY else ""
        return {"heading": heading, "why": why, "about": about, "facts": facts, "ask": ask}

    def _page(self, status: int, parts: dict[str, Any]) -> Answer:
        common: dict[str, Any] = {"words": self._words, "style": Markup(self._style)}  # noqa: S704  our own file
        common |= {"lifelines": self._lines[:_AT_ONCE], "more_lifelines": self._lines[_AT_ONCE:]}
        empty = {"about": "", "facts": (), "ask": None, "link": ""}
        return self._answer(status, self._template.render(**(empty | common | parts)), "text/html")

    def _answer(self, status: int, body: str, kind: str, extra: tuple[tuple[str, str], ...] = ()) -> Answer:
        headers = (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", self._policy if kind == "text/html" else "default-src 'none'"),
            # Not no-referrer: then the browser would send `Origin: null` with the form, and the ask would look forged.
            ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            *extra,
        )
        return Answer(status, headers, body.encode())

    def _facts(self, decision: Decision, host: str, now: float) -> dict[str, Any]:
        heading, why = self._words_for(decision)
        until = None if decision.until is None else self._until(decision.until, now)
        return {
            "error": "blocked", "host": host, "reason": decision.reason.value, "what": decision.what,
            "message": f"{heading}. {why}", "until": until, "until_timestamp": decision.until,
        }  # fmt: skip

    def _words_for(self, decision: Decision) -> tuple[str, str]:
        words = self._words["reasons"].get(decision.reason.value, self._words["reasons"]["default"])
        title = self._titles.get(decision.what, decision.what)
        return words["heading"].format(title=title), words["why"].format(title=title)

    def _until(self, until: float, now: float) -> str:
        then, today = (datetime.fromtimestamp(instant, self._timezone) for instant in (until, now))
        if then.second or then.microsecond:
            then = then.replace(second=0, microsecond=0) + timedelta(minutes=1)
        time, days = f"{then:%H:%M}", (then.date() - today.date()).days
        words = self._words["until"]
        if days == 0:
            return str(words["time"].format(time=time))
        if days == 1:
            return str(words["tomorrow"].format(time=time))
        day = self._words["days"][then.weekday()] if days < 7 else f"{then:%Y-%m-%d}"
        return str(words["day"].format(day=day, time=time))


def _rule_name(decision: Decision) -> str:
    """Where the rule is written, without the folders of this machine, which are nobody's business."""
    rule = decision.rule
    assert rule is not None
    name = rule.source.rsplit("/", 1)[-1]
    if rule.line is None:
        return f"{name}: {rule.text}" if rule.text else name
    # Not the text of the line: it may hold other rules too, and whose they are.
    place = f"{name}, line {rule.line}"
    return f"{place}: {decision.what}" if decision.reason is Reason.RULE else place


def _shown(line: Lifeline) -> _Line:
    dial = "".join(character for character in line.phone if character.isdigit() or character == "+")
    chat = line.chat if line.chat.startswith("https://") else ""
    url = line.url if line.url.startswith(("https://", "http://")) else ""
    site = (urlsplit(url).hostname or "").removeprefix("www.")
    return _Line(line.name, line.phone, dial, chat, url, site)
