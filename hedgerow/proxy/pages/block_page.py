"""Which helplines a page shows at once, and which behind "More people who can help": a page that lists fifty is read by nobody."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.policies.decide import IP_ADDRESS, WELCOME_REASONS
from hedgerow.policies.host_facts import INTERNATIONAL, Lifeline, Lifelines, Services, connectivity_checks, is_beneath
from hedgerow.policies.model import Decision, Reason
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.targets import ILLEGAL
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm
from hedgerow.proxy.pages.translations import PAGES, PageReader, PageTranslation, choose_language, load_translations

_FIRST_VIEW = (frozenset({"children"}), frozenset({"children"}), frozenset({"everyone", "suicide"}), frozenset({"abuse"}))
"""The places of the first view: two lines for children, one that listens to whatever it is, one for those whom somebody hurts."""
_REPORT_VIEW = (frozenset({"abuse-images"}), frozenset({"children"}), frozenset({"everyone", "suicide"}))
"""The same for a page about illegal material: the country's hotline stands first."""
_MIN_FIRST_VIEW = 3


@dataclass(frozen=True, slots=True)
class HelplineEntry:
    """A helpline as a page shows it. `dial` and `text_to` are numbers without spaces; `site` is what its link is called."""

    name: str
    phone: str
    dial: str
    text: str
    text_to: str
    chat: str
    url: str
    site: str


def choose_helplines(lifelines: Sequence[Lifeline], to_report: bool = False) -> tuple[tuple[HelplineEntry, ...], tuple[HelplineEntry, ...]]:
    """The three or four that fit a child best, and all others; `lifelines` are a country's and the international ones.

    `to_report`: what was met is illegal, and the first of them is where that can be reported.
    """
    # Sorting is stable: within equals, the order of the file is kept.
    ordered = sorted(lifelines, key=lambda each: not (each.phone or each.text or each.chat))
    local = [each for each in ordered if each.country != INTERNATIONAL]
    first: list[Lifeline] = []
    for purposes in _REPORT_VIEW if to_report else _FIRST_VIEW:
        first += [each for each in (ordered if to_report else local) if each.purpose in purposes and each not in first][:1]
    abroad = [each for each in ordered if each.country == INTERNATIONAL and each.purpose in {"children", "everyone"}]
    if len(first) < _MIN_FIRST_VIEW:
        first += abroad[: _MIN_FIRST_VIEW - len(first)]
    rest = sorted((each for each in ordered if each not in first), key=lambda each: each.country == INTERNATIONAL)
    return tuple(map(_helpline_entry, first)), tuple(map(_helpline_entry, rest))


def _helpline_entry(line: Lifeline) -> HelplineEntry:
    chat = line.chat if line.chat.startswith("https://") else ""
    url = line.url if line.url.startswith(("https://", "http://")) else ""
    site = (urlsplit(url).hostname or "").removeprefix("www.")
    return HelplineEntry(line.name, line.phone, _dial_number(line.phone), line.text, _dial_number(line.text), chat, url, site)


def _dial_number(number: str) -> str:
    return "".join(character for character in number if character.isdigit() or character == "+")


ASK_PATH = "/.well-known/hedgerow/ask"
NOTE_LIMIT = 300
REFRESH_SECONDS = 10
_MAX_REFRESHES = 180
_MAX_CACHED_PAGES = 128
"""Rendered pages that are kept, of some 15 kB each."""

_FRAME_HTML = Markup('<!doctype html><html lang="{1}"><meta name="color-scheme" content="light dark"><title>{0}</title><p>{0}</p>')
_CSP_NOTHING = "default-src 'none'"
"""A content security policy for what has no style and no form; unlike the page's it lets the small answer be shown in its frame."""

_YOUNG_BELOW_AGE = 8
_YOUNG_PROFILE = "child-under-8"
_DEFAULT_READER = PageReader()


class BlockPage:
    """Renders every answer of the proxy that is its own, for whoever reads it.

    `abouts` explain categories in people's words (English ones). `ages` are those of the people whom the policy names. `portal` is the
    page on which a café's guest begins, empty where nobody knows how devices reach it.
    """

    def __init__(
        self,
        environment: Environment,
        style: str,
        wordings: Mapping[str, PageTranslation],
        lifelines: Sequence[Lifeline],
        abouts: Mapping[str, str],
        ages: Mapping[str, int],
        conduct: str = "",
        portal: str = "",
    ) -> None:
        self._template = environment.get_template("page.html")
        self._style = Markup(style)  # noqa: S704  our own file
        self._translations = wordings
        self._abouts = abouts
        self._ages = ages
        self._conduct = conduct
        self._portal = portal
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._policy = f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        # No address holds what nobody can guess.
        self._placeholder = secrets.token_hex(16)
        self._ticket_hole = secrets.token_hex(16)
        self._page_cache: dict[tuple[Decision, str, str, PageReader], tuple[tuple[tuple[str, str], ...], tuple[bytes, ...]]] = {}
        # The same on every page, and the longest part of it: made once.
        self._helplines = _render_care(environment, wordings, *choose_helplines(lifelines))
        self._report_helplines = _render_care(environment, wordings, *choose_helplines(lifelines, to_report=True))

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
            load_translations(titles, ZoneInfo(timezone)),
            Lifelines.load().for_country(country),
            {category.name: category.description for category in categories},
            ages or {},
            conduct,
            portal,
        )

    def reader_of(self, ruleset: Ruleset, accept_language: str) -> PageReader:
        """Who reads: small children get a page of their own, by their age or by the profile of the device."""
        age = self._ages.get(ruleset.person or "")
        young = age < _YOUNG_BELOW_AGE if age is not None else ruleset.profile == _YOUNG_PROFILE
        return PageReader(choose_language(accept_language), young)

    def blocked(
        self,
        decision: Decision,
        host: str,
        url: str,
        now: float,
        form: ResponseForm = ResponseForm.PAGE,
        reader: PageReader = _DEFAULT_READER,
        ticket: str = "",
    ) -> ProxyResponse:
        """The answer to a blocked request, in the form that suits the one who asked. A page's form holds the `ticket`."""
        translation = self._translations[reader.language]
        if self._leads_to_portal(decision, host, form):
            return self._answer(302, "", "text/plain", (("Location", self._portal),))
        match form:
            case ResponseForm.PAGE:
                return self._blocked_page(decision, host, url, now, reader, ticket)
            case ResponseForm.FRAME:
                heading = translation.reason(decision, young=reader.young)[0]
                return self._answer(403, _FRAME_HTML.format(heading, reader.language), "text/html", policy=f"{_CSP_NOTHING}; sandbox")
            case ResponseForm.SCRIPT:
                return self.closed()
            case ResponseForm.DATA:
                return self._answer(403, json.dumps(_json_facts(translation, decision, host, now), ensure_ascii=False), "application/json")
            case ResponseForm.NOTHING:
                return self._answer(403, "", "text/plain")

    def _leads_to_portal(self, decision: Decision, host: str, form: ResponseForm) -> bool:
        """Phones and laptops show a page of the network's own if what they ask leads elsewhere (RFC 8952)."""
        if not self._portal or decision.reason not in WELCOME_REASONS:
            return False
        is_check = is_beneath(host, connectivity_checks())
        return is_check or (decision.reason is Reason.NO_SESSION and form is ResponseForm.PAGE)

    def refused_tunnel(self, decision: Decision, host: str, now: float, reader: PageReader = _DEFAULT_READER) -> ProxyResponse:
        """The answer to a CONNECT that was blocked: a few words, since browsers show none and programs log them."""
        translation = self._translations[reader.language]
        words = translation.words["text"]
        text = words["tunnel"].format(host=host, why=translation.reason(decision)[1])
        if decision.until is not None:
            text += " " + words["until"].format(until=translation.until(decision.until, now))
        return self._answer(403, f"{text}\n", "text/plain", (("X-Hedgerow-Reason", decision.reason.value),))

    def short_page(self, key: str, status: int, link: str = "", reader: PageReader = _DEFAULT_READER) -> ProxyResponse:
        """One of the short pages, by the key of its words: `asked`, `open`, `too-often`, `not-from-here`, or what failed."""
        words = self._translations[reader.language].words
        own = (words["young"].get(key) if reader.young else None) or words[key]
        label = own.get("link", "")
        return self._page(status, reader, {"heading": own["heading"], "why": own["why"], "link": link, "link_label": label})

    def closed(self) -> ProxyResponse:
        """All that a script is told: it may be any site's, and what is blocked and why tells who is there."""
        return self.error(403, "blocked")

    def waiting(self, url: str, times: int, reader: PageReader = _DEFAULT_READER, ticket: str = "") -> ProxyResponse:
        """That the question was sent; the page looks by itself, half an hour long, whether somebody has opened `url`.

        `times`: how often it has looked. Browsers obey the field without any script.
        """
        answer = self.short_page("asked", 200, reader=reader)
        if times >= _MAX_REFRESHES:
            return answer
        again = f"{ASK_PATH}?{urlencode({'url': url, 'times': times + 1, 'ticket': ticket})}"
        return replace(answer, headers=(*answer.headers, ("Refresh", f"{REFRESH_SECONDS}; url={again}")))

    def error(self, status: int, message: str) -> ProxyResponse:
        """The answer to what is no proper request or cannot be served."""
        return self._answer(status, f"Hedgerow: {message}.\n", "text/plain")

    def _blocked_page(self, decision: Decision, host: str, url: str, now: float, reader: PageReader, ticket: str) -> ProxyResponse:
        """The page is the same for every address of a host, but for the address and the ticket: it is rendered once, with holes in it."""
        until = "" if decision.until is None else self._translations[reader.language].until(decision.until, now)
        key = (decision, host, until, reader)
        cached = self._page_cache.get(key)
        if cached is None:
            page = self._page(403, reader, self._blocked_parts(decision, host, self._placeholder, now, reader))
            cached = (page.headers, tuple(page.body.split(self._placeholder.encode())))
            if len(self._page_cache) >= _MAX_CACHED_PAGES:
                self._page_cache.clear()
            self._page_cache[key] = cached
        headers, pieces = cached
        body = str(escape(url)).encode().join(pieces)
        return ProxyResponse(403, headers, body.replace(self._ticket_hole.encode(), str(escape(ticket)).encode()))

    def _blocked_parts(self, decision: Decision, host: str, url: str, now: float, reader: PageReader) -> dict[str, Any]:
        translation = self._translations[reader.language]
        heading, why = translation.reason(decision)
        facts = _page_facts(translation, decision, host, now)
        ask = (
            None
            if forbids_access_request(decision)
            else {"path": ASK_PATH, "url": url, "ticket": self._ticket_hole, "note_limit": NOTE_LIMIT}
        )
        about = self._abouts.get(decision.what, "") if decision.reason is Reason.CATEGORY and reader.language == "en" else ""
        parts = {"heading": heading, "why": why, "about": about, "facts": facts, "ask": ask}
        if decision.reason is Reason.CONDUCT:
            parts |= {"conduct": self._conduct, "accept": {"path": ASK_PATH, "url": url, "ticket": self._ticket_hole}}
        if decision.what == ILLEGAL and not reader.young:
            parts["care"] = self._report_helplines[reader]
        if reader.young:
            simple, sentence = translation.reason(decision, young=True)
            until = decision.until
            opens = "" if until is None else translation.words["young"]["until"].format(until=translation.until(until, now))
            parts |= {"heading": simple, "why": sentence, "opens": opens, "full_why": why}
        return parts

    def _page(self, status: int, reader: PageReader, parts: dict[str, Any]) -> ProxyResponse:
        words = self._translations[reader.language].words
        common = {"words": words, "style": self._style, "care": self._helplines[reader], "young": reader.young}
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
    ) -> ProxyResponse:  # fmt: skip
        headers = (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", policy or (self._policy if kind == "text/html" else _CSP_NOTHING)),
            # Not no-referrer: then the browser would send `Origin: null` with the form, and the ask would look forged.
            ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            # So that a page of the same site that opens this one in a window cannot read it there.
            *((("Cross-Origin-Opener-Policy", "same-origin"),) if kind == "text/html" else ()),
            *extra,
        )
        return ProxyResponse(status, headers, body.encode())


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def _page_facts(translation: PageTranslation, decision: Decision, host: str, now: float) -> list[tuple[str, str]]:
    labels = translation.words["labels"]
    facts = [(labels["address"], host)]
    if detail := translation.detail(decision):
        facts.append((labels["why"], detail))
    if rule := _rule_words(decision):
        facts.append((labels["rule"], rule))
    if decision.note:
        facts.append((labels["note"], decision.note))
    if decision.until is not None:
        facts.append((labels["until"], translation.until(decision.until, now)))
    elif decision.reason not in {Reason.CONDUCT, Reason.NO_SESSION}:  # the sentence says what ends these
        ends = "pause" if decision.reason is Reason.PAUSE else "none"
        facts.append((labels["until"], translation.words["until"][ends]))
    return facts


def _json_facts(translation: PageTranslation, decision: Decision, host: str, now: float) -> dict[str, Any]:
    heading, why = translation.reason(decision)
    until = None if decision.until is None else translation.until(decision.until, now)
    return {
        "error": "blocked", "host": host, "reason": decision.reason.value, "what": decision.what,
        "message": f"{heading}. {why}", "until": until, "until_timestamp": decision.until,
    }  # fmt: skip


def forbids_access_request(decision: Decision) -> bool:
    """Nobody is asked to open a hole in the filter from the page that closed it; a bare address may be somebody's own server.

    Nor is illegal material asked for: a request would write down where it is. And a café's guest begins at the counter or by a voucher,
    and accepts a code of conduct.
    """
    is_a_way_round = decision.reason is Reason.BYPASS and decision.what != IP_ADDRESS
    return is_a_way_round or decision.what == ILLEGAL or decision.reason in WELCOME_REASONS


def _render_care(
    environment: Environment, wordings: Mapping[str, PageTranslation], first: Sequence[HelplineEntry], more: Sequence[HelplineEntry]
) -> dict[PageReader, Markup]:
    """Who helps, for every kind of reader."""
    care = environment.get_template("care.html")
    return {
        PageReader(language, young): Markup(care.render(words=translation.words, young=young, first=first, more=more))  # noqa: S704  escaped there
        for language, translation in wordings.items()
        for young in (False, True)
    }


def _rule_words(decision: Decision) -> str:
    """The words of the rule that blocks, where they say more than the reason. Its place is for admins, who find it with `explain`."""
    if decision.reason is Reason.RULE:
        return decision.what
    # A whole line of a file may hold other rules too, and the people they are about.
    return decision.rule.text if decision.rule is not None and decision.rule.line is None else ""
