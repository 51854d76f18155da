"""What somebody sees instead of what was blocked: what, why, until when, whom to ask, and who always listens.

A page makes no request to anywhere, needs no script and escapes everything. A frame, an image or a program's request gets a small
answer in its own form, and a script one that says nothing. Pure but for `BlockPage.load`, which reads the templates and words of this
package.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.policies.decide import IP_ADDRESS, WELCOMED
from hedgerow.policies.lifelines import Lifeline, Lifelines
from hedgerow.policies.model import Decision, Reason
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.services import Services
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.times.activity import connectivity_checks, is_beneath
from hedgerow.proxy.pages.answer import Answer, Form
from hedgerow.proxy.pages.help_lines import Line, choose_lines
from hedgerow.proxy.pages.wording import PAGES, Reader, Wording, choose_language, load_wordings

ASK_PATH = "/.well-known/hedgerow/ask"
NOTE_LIMIT = 300
LOOK_AGAIN_S = 10
_MOST_LOOKS = 180
_MOST_MADE = 128
"""Rendered pages that are kept, of some 15 kB each."""

_SMALL = Markup('<!doctype html><html lang="{1}"><meta name="color-scheme" content="light dark"><title>{0}</title><p>{0}</p>')
_NOTHING = "default-src 'none'"
"""A content security policy for what has no style and no form; unlike the page's it lets the small answer be shown in its frame."""

_YOUNG_UNTIL = 8
_YOUNG_PROFILE = "child-under-8"
_ANYBODY = Reader()


class BlockPage:
    """Renders every answer of the proxy that is its own, for whoever reads it.

    `abouts` explain categories in people's words (English ones). `ages` are those of the people whom the policy names. `portal` is the
    page on which a café's guest begins, empty where nobody knows how devices reach it.
    """

    def __init__(
        self,
        environment: Environment,
        style: str,
        wordings: Mapping[str, Wording],
        lifelines: Sequence[Lifeline],
        abouts: Mapping[str, str],
        ages: Mapping[str, int],
        conduct: str = "",
        portal: str = "",
    ) -> None:
        self._template = environment.get_template("page.html")
        self._style = Markup(style)  # noqa: S704  our own file
        self._wordings = wordings
        self._abouts = abouts
        self._ages = ages
        self._conduct = conduct
        self._portal = portal
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._policy = f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        # No address holds what nobody can guess.
        self._hole = secrets.token_hex(16)
        self._ticket_hole = secrets.token_hex(16)
        self._made: dict[tuple[Decision, str, str, Reader], tuple[tuple[tuple[str, str], ...], tuple[bytes, ...]]] = {}
        # The same on every page, and the longest part of it: made once.
        self._care = _render_care(environment, wordings, *choose_lines(lifelines))
        self._care_of_illegal = _render_care(environment, wordings, *choose_lines(lifelines, to_report=True))

    @staticmethod
    def load(
        country: str | None = None, timezone: str = "UTC", ages: Mapping[str, int] | None = None, conduct: str = "",
        portal: str = "",
    ) -> BlockPage:  # fmt: skip
        """The pages of this package, with the lifelines of a country and times as its clocks show them."""
        categories = builtin_categories()
        titles = {category.name: category.title for category in categories}
        titles |= {service.id: service.title for service in Services.load().by_id.values()}
        return BlockPage(
            _environment(),
            (PAGES / "page.css").read_text(encoding="utf-8"),
            load_wordings(titles, ZoneInfo(timezone)),
            Lifelines.load().for_country(country),
            {category.name: category.description for category in categories},
            ages or {},
            conduct,
            portal,
        )

    def reader_of(self, ruleset: Ruleset, accept_language: str) -> Reader:
        """Who reads: small children get a page of their own, by their age or by the profile of the device."""
        age = self._ages.get(ruleset.person or "")
        young = age < _YOUNG_UNTIL if age is not None else ruleset.profile == _YOUNG_PROFILE
        return Reader(choose_language(accept_language), young)

    def blocked(
        self, decision: Decision, host: str, url: str, now: float, form: Form = Form.PAGE, reader: Reader = _ANYBODY, ticket: str = ""
    ) -> Answer:
        """The answer to a blocked request, in the form that suits the one who asked. A page's form holds the `ticket`."""
        wording = self._wordings[reader.language]
        if self._leads_to_portal(decision, host, form):
            return self._answer(302, "", "text/plain", (("Location", self._portal),))
        match form:
            case Form.PAGE:
                return self._blocked_page(decision, host, url, now, reader, ticket)
            case Form.FRAME:
                heading = wording.reason(decision, young=reader.young)[0]
                return self._answer(403, _SMALL.format(heading, reader.language), "text/html", policy=f"{_NOTHING}; sandbox")
            case Form.SCRIPT:
                return self.closed()
            case Form.DATA:
                return self._answer(403, json.dumps(_facts(wording, decision, host, now), ensure_ascii=False), "application/json")
            case Form.NOTHING:
                return self._answer(403, "", "text/plain")

    def _leads_to_portal(self, decision: Decision, host: str, form: Form) -> bool:
        """Phones and laptops show a page of the network's own if what they ask leads elsewhere (RFC 8952)."""
        if not self._portal or decision.reason not in WELCOMED:
            return False
        is_check = is_beneath(host, connectivity_checks())
        return is_check or (decision.reason is Reason.NO_SESSION and form is Form.PAGE)

    def refused_tunnel(self, decision: Decision, host: str, now: float, reader: Reader = _ANYBODY) -> Answer:
        """The answer to a CONNECT that was blocked: a few words, since browsers show none and programs log them."""
        wording = self._wordings[reader.language]
        words = wording.words["text"]
        text = words["tunnel"].format(host=host, why=wording.reason(decision)[1])
        if decision.until is not None:
            text += " " + words["until"].format(until=wording.until(decision.until, now))
        return self._answer(403, f"{text}\n", "text/plain", (("X-Hedgerow-Reason", decision.reason.value),))

    def told(self, key: str, status: int, link: str = "", reader: Reader = _ANYBODY) -> Answer:
        """One of the short pages, by the key of its words: `asked`, `open`, `too-often`, `not-from-here`, or what failed."""
        words = self._wordings[reader.language].words
        own = (words["young"].get(key) if reader.young else None) or words[key]
        label = own.get("link", "")
        return self._page(status, reader, {"heading": own["heading"], "why": own["why"], "link": link, "link_label": label})

    def closed(self) -> Answer:
        """All that a script is told: it may be any site's, and what is blocked and why tells who is there."""
        return self.error(403, "blocked")

    def waiting(self, url: str, times: int, reader: Reader = _ANYBODY, ticket: str = "") -> Answer:
        """That the question was sent; the page looks by itself, half an hour long, whether somebody has opened `url`.

        `times`: how often it has looked. Browsers obey the field without any script.
        """
        answer = self.told("asked", 200, reader=reader)
        if times >= _MOST_LOOKS:
            return answer
        again = f"{ASK_PATH}?{urlencode({'url': url, 'times': times + 1, 'ticket': ticket})}"
        return replace(answer, headers=(*answer.headers, ("Refresh", f"{LOOK_AGAIN_S}; url={again}")))

    def error(self, status: int, message: str) -> Answer:
        """The answer to what is no proper request or cannot be served."""
        return self._answer(status, f"Hedgerow: {message}.\n", "text/plain")

    def _blocked_page(self, decision: Decision, host: str, url: str, now: float, reader: Reader, ticket: str) -> Answer:
        """The page is the same for every address of a host, but for the address and the ticket: it is rendered once, with holes in it."""
        until = "" if decision.until is None else self._wordings[reader.language].until(decision.until, now)
        key = (decision, host, until, reader)
        made = self._made.get(key)
        if made is None:
            page = self._page(403, reader, self._blocked_parts(decision, host, self._hole, now, reader))
            made = (page.headers, tuple(page.body.split(self._hole.encode())))
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            self._made[key] = made
        headers, pieces = made
        body = str(escape(url)).encode().join(pieces)
        return Answer(403, headers, body.replace(self._ticket_hole.encode(), str(escape(ticket)).encode()))

    def _blocked_parts(self, decision: Decision, host: str, url: str, now: float, reader: Reader) -> dict[str, Any]:
        wording = self._wordings[reader.language]
        heading, why = wording.reason(decision)
        facts = _facts_for_people(wording, decision, host, now)
        ask = (
            None if is_closed_to_asking(decision) else {"path": ASK_PATH, "url": url, "ticket": self._ticket_hole, "note_limit": NOTE_LIMIT}
        )
        about = self._abouts.get(decision.what, "") if decision.reason is Reason.CATEGORY and reader.language == "en" else ""
        parts = {"heading": heading, "why": why, "about": about, "facts": facts, "ask": ask}
        if decision.reason is Reason.CONDUCT:
            parts |= {"conduct": self._conduct, "accept": {"path": ASK_PATH, "url": url, "ticket": self._ticket_hole}}
        if decision.what == ILLEGAL and not reader.young:
            parts["care"] = self._care_of_illegal[reader]
        if reader.young:
            simple, sentence = wording.reason(decision, young=True)
            until = decision.until
            opens = "" if until is None else wording.words["young"]["until"].format(until=wording.until(until, now))
            parts |= {"heading": simple, "why": sentence, "opens": opens, "full_why": why}
        return parts

    def _page(self, status: int, reader: Reader, parts: dict[str, Any]) -> Answer:
        words = self._wordings[reader.language].words
        common = {"words": words, "style": self._style, "care": self._care[reader], "young": reader.young}
        empty = {
            "about": "",
            "facts": (),
            "ask": None,
            "link": "",
            "link_label": "",
            "opens": "",
            "full_why": "",
            "conduct": "",
            "accept": None,
        }
        return self._answer(status, self._template.render({**empty, **common, **parts}), "text/html")

    def _answer(
        self, status: int, body: str, kind: str, extra: tuple[tuple[str, str], ...] = (), policy: str | None = None
    ) -> Answer:  # fmt: skip
        headers = (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", policy or (self._policy if kind == "text/html" else _NOTHING)),
            # Not no-referrer: then the browser would send `Origin: null` with the form, and the ask would look forged.
            ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            # So that a page of the same site that opens this one in a window cannot read it there.
            *((("Cross-Origin-Opener-Policy", "same-origin"),) if kind == "text/html" else ()),
            *extra,
        )
        return Answer(status, headers, body.encode())


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def _facts_for_people(wording: Wording, decision: Decision, host: str, now: float) -> list[tuple[str, str]]:
    labels = wording.words["labels"]
    facts = [(labels["address"], host)]
    if detail := wording.detail(decision):
        facts.append((labels["why"], detail))
    if decision.rule is not None and decision.reason is not Reason.PAUSE:  # a pause is written nowhere
        facts.append((labels["rule"], _rule_name(decision, labels["line"])))
    if decision.note:
        facts.append((labels["note"], decision.note))
    if decision.until is not None:
        facts.append((labels["until"], wording.until(decision.until, now)))
    elif decision.reason not in {Reason.CONDUCT, Reason.NO_SESSION}:  # the sentence says what ends these
        ends = "pause" if decision.reason is Reason.PAUSE else "none"
        facts.append((labels["until"], wording.words["until"][ends]))
    return facts


def _facts(wording: Wording, decision: Decision, host: str, now: float) -> dict[str, Any]:
    heading, why = wording.reason(decision)
    until = None if decision.until is None else wording.until(decision.until, now)
    return {
        "error": "blocked", "host": host, "reason": decision.reason.value, "what": decision.what,
        "message": f"{heading}. {why}", "until": until, "until_timestamp": decision.until,
    }  # fmt: skip


def is_closed_to_asking(decision: Decision) -> bool:
    """Nobody is asked to open a hole in the filter from the page that closed it; a bare address may be somebody's own server.

    Nor is illegal material asked for: a request would write down where it is. And a café's guest begins at the counter or by a voucher,
    and accepts a code of conduct.
    """
    is_a_way_round = decision.reason is Reason.BYPASS and decision.what != IP_ADDRESS
    return is_a_way_round or decision.what == ILLEGAL or decision.reason in WELCOMED


def _render_care(
    environment: Environment, wordings: Mapping[str, Wording], first: Sequence[Line], more: Sequence[Line]
) -> dict[Reader, Markup]:
    """Who helps, for every kind of reader."""
    care = environment.get_template("care.html")
    return {
        Reader(language, young): Markup(care.render(words=wording.words, young=young, first=first, more=more))  # noqa: S704  escaped there
        for language, wording in wordings.items()
        for young in (False, True)
    }


def _rule_name(decision: Decision, line: str) -> str:
    """Where the rule is written (`line` is what a line is called), without the folders of this machine, which are nobody's business."""
    rule = decision.rule
    assert rule is not None
    name = rule.source.rsplit("/", 1)[-1]
    if rule.line is None:
        return f"{name}: {rule.text}" if rule.text else name
    # Not the text of the line: it may hold other rules too, and whose they are.
    place = f"{name}, {line.format(line=rule.line)}"
    return f"{place}: {decision.what}" if decision.reason is Reason.RULE else place
