"""The block page and the proxy's shorter pages, the helplines on them, and the picture in place of a hidden one."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.names import is_beneath
from hedgerow.policies.askable import forbids_access_request
from hedgerow.policies.content import UNCHECKED
from hedgerow.policies.decide import WELCOME_REASONS
from hedgerow.policies.host_facts import Lifelines, Services, connectivity_checks, help_choices
from hedgerow.policies.model import Decision, Privacy, Profile, Reason
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.targets import HELP_FIRST, ILLEGAL
from hedgerow.policies.text.notes import NOTE_LIMIT
from hedgerow.policies.youtube import YOUTUBE_CHOSEN
from hedgerow.proxy.pages.help import page_environment, render_help
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm
from hedgerow.proxy.pages.translations import (
    PAGES,
    PageReader,
    PageTranslation,
    PageTranslations,
    Permission,
    choose_language,
    is_child_of_family,
    is_young,
)
from hedgerow.values import BoundedDict

_SVG = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="200" viewBox="0 0 320 200" lang="{lang}" '
    'direction="{dir}" '
    'style="background:#e4e4e4"><title>{heading}</title><rect width="320" height="200" fill="#e4e4e4"/>'
    '<g font-family="system-ui,sans-serif" text-anchor="middle" fill="#333"><text x="160" y="{top}" '
    'font-size="18" font-weight="bold">'
    "{heading}</text>{lines}</g></svg>"
)
_LINE = Markup('<text x="160" y="{y}" font-size="14">{text}</text>')
_LINE_HEIGHT = 20
_LINE_LENGTH = 42
_MAX_LINES = 6

GREY_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAKCAAAAACY1YFAAAAAD0lEQVR42mN4ggYYBqsAAFPrjoHl85fgAAAAAElFTkSuQmCC"
)
"""A grey picture of 16 × 10 pixels, for programs that show no SVG."""
ASK_PATH = "/.well-known/hedgerow/ask"
REFRESH_SECONDS = 1
_MAX_REFRESHES = 180
_MAX_CACHED_PAGES = 128
"""Rendered pages in the cache, at some 15 kB each."""

_FRAME_HTML = Markup(
    '<!doctype html><html lang="{1}" dir="{2}"><meta name="color-scheme" content="light dark"><title>{0}</title><p>{0}</p>'  # noqa: E501
)
_CSP_NOTHING = "default-src 'none'"
"""Content security policy of a response without style or form.

Unlike the page's, it allows the response to be shown in a frame.
"""

_IDLE_WORKER = """addEventListener("install", () => skipWaiting());
addEventListener("activate", event => event.waitUntil(clients.claim().then(async () => {
  for (const each of await clients.matchAll({type: "window"}))
    if (each.visibilityState === "visible") each.navigate(each.url);
})));
"""
"""A service worker in place of a blocked site's own, which would go on showing the site's pages without asking the
network.

Browsers look for a new version whenever a page of the site is opened. This one handles no requests, so pages come from
the network again, and the one that was just opened is loaded anew. What the site has stored stays, and its own worker
returns after the block.
"""

_NO_PARTS = {
    **dict.fromkeys(("about", "advice", "link", "link_label", "opens", "full_why", "conduct", "service", "said"), ""),
    "facts": (),
    "ask": None,
    "accept": None,
    "help_first": False,
}
"""The parts that a page may do without."""

_MORE_THAN_COUNTS = frozenset({Privacy.DOMAIN, Privacy.FULL})
_DEFAULT_READER = PageReader()


def placeholder_svg(heading: str, why: str, lang: str, direction: str) -> str:
    """Return a grey picture that says why another is not shown. It has no script and loads nothing.

    >>> "<title>a &lt; b</title>" in placeholder_svg("a < b", "", "en", "ltr")
    True
    """
    wrapped = textwrap.wrap(why, _LINE_LENGTH)[:_MAX_LINES]
    top = 100 - len(wrapped) * _LINE_HEIGHT // 2
    lines = Markup("").join(
        _LINE.format(y=top + (at + 1) * _LINE_HEIGHT + 4, text=text) for at, text in enumerate(wrapped)
    )
    return str(_SVG.format(heading=heading, lines=lines, top=top, lang=lang, dir=direction))


class BlockPage:
    """Renderer of the proxy's own responses for a reader, with the templates and translations of this package.

    The helplines are those of `country`, and times are shown in `timezone`. `ages` has the ages of the people in the
    policy, and `profiles` its profiles. `conduct` is a café's code of conduct. `portal` is the URL of the device's own
    page, on which a café's guest begins and a device without a name learns how to get one, or '' if devices cannot
    reach it.
    """

    def __init__(
        self,
        country: str | None = None,
        timezone: str = "UTC",
        ages: Mapping[str, int] | None = None,
        conduct: str = "",
        portal: str = "",
        profiles: Mapping[str, Profile] | None = None,
    ) -> None:
        style = (PAGES / "page.css").read_text(encoding="utf-8")
        categories, lifelines = builtin_categories(), Lifelines.load().for_country(country)
        titles = {category.name: category.title for category in categories}
        titles |= {service.id: service.title for service in Services.load().by_id.values()}
        self._template = page_environment().get_template("page.html")
        self._style = Markup(style)  # noqa: S704  our own file
        self._translations = PageTranslations(titles, ZoneInfo(timezone))
        self._abouts = {category.name: category.description for category in categories}  # in English
        self._ages, self._profiles = ages or {}, profiles or {}
        self._conduct = conduct
        self._portal = portal
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._policy = f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"  # noqa: E501
        # Random, so that no URL contains them.
        self._url_placeholder, self._ticket_placeholder = secrets.token_hex(16), secrets.token_hex(16)
        self._page_cache = BoundedDict[
            tuple[Decision, str, str, PageReader], tuple[tuple[tuple[str, str], ...], tuple[bytes, ...]]
        ](_MAX_CACHED_PAGES)
        self._help = help_choices(lifelines)
        self._help_cache: dict[tuple[PageReader, bool, bool], Markup] = {}

    def reader_of(self, ruleset: Ruleset, accept_language: str) -> PageReader:
        """The reader of a page. Small children, by their age or by the device's profile, get simpler words, and other
        children of the family its words.
        """
        age = self._ages.get(ruleset.person or "")
        young = is_young(age, ruleset.profile)
        profile = self._profiles.get(ruleset.profile)
        is_child = is_child_of_family(ruleset.person, profile, at_seat=bool(ruleset.session))
        recorded = ruleset.privacy if is_child and ruleset.privacy in _MORE_THAN_COUNTS else None
        return PageReader(
            choose_language(accept_language), young, is_child and not young, ruleset.may_be_a_childs, recorded
        )

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
        """The response to a blocked request, in a form that suits the client.

        A page holds the `ticket` in its forms.
        """
        translation = self._translations[reader]
        if self._leads_to_portal(decision, host, form):
            return self._answer(302, "", "text/plain", (("Location", self._portal),))
        match form:
            case ResponseForm.PAGE:
                return self._blocked_page(decision, host, url, now, reader, ticket)
            case ResponseForm.FRAME:
                heading = translation.reason(decision, young=reader.young)[0]
                frame = _FRAME_HTML.format(heading, translation.words["lang"], translation.words["dir"])
                return self._answer(403, frame, "text/html", policy=f"{_CSP_NOTHING}; sandbox")
            case ResponseForm.SCRIPT:
                return self.closed()
            case ResponseForm.WORKER:
                return self._answer(200, _IDLE_WORKER, "text/javascript", (("Service-Worker-Allowed", "/"),))
            case ResponseForm.DATA:
                return self._answer(
                    403,
                    json.dumps(_json_facts(translation, decision, host, now), ensure_ascii=False),
                    "application/json",
                )
            case ResponseForm.NOTHING:
                return self._answer(403, "", "text/plain")

    def hidden_picture(self, decision: Decision, accept: str, reader: PageReader = _DEFAULT_READER) -> ProxyResponse:
        """The response in place of a picture: one with the reason for browsers, which accept SVG, and a plain one for
        other programs.
        """
        if "image/svg+xml" not in accept:
            return replace(self._answer(403, "", "image/png"), body=GREY_PNG)
        translation = self._translations[reader]
        heading, why = translation.reason(decision, young=reader.young)
        if decision.what == UNCHECKED:
            why = translation.detail(decision)
        picture = placeholder_svg(heading, why, translation.words["lang"], translation.words["dir"])
        return self._answer(403, picture, "image/svg+xml")

    def _leads_to_portal(self, decision: Decision, host: str, form: ResponseForm) -> bool:
        """True if a guest's device is redirected to the portal, as captive portals do (RFC 8952)."""
        if not self._portal or decision.reason not in WELCOME_REASONS:
            return False
        is_check = is_beneath(host, connectivity_checks())
        return is_check or (decision.reason is Reason.NO_SESSION and form is ResponseForm.PAGE)

    def refused_tunnel(self, decision: Decision, host: str, now: float) -> ProxyResponse:
        """The response to a blocked CONNECT: a sentence, which programs log and browsers do not show."""
        translation = self._translations[_DEFAULT_READER]
        words = translation.words["text"]
        text = words["tunnel"].format(host=host, why=translation.reason(decision)[1])
        if decision.until is not None:
            text += " " + words["until"].format(until=translation.until(decision.until, now))
        return self._answer(403, f"{text}\n", "text/plain", (("X-Hedgerow-Reason", decision.reason.value),))

    def short_page(
        self,
        key: str,
        status: int,
        link: str = "",
        reader: PageReader = _DEFAULT_READER,
        permission: Permission | None = None,
        said: str = "",
    ) -> ProxyResponse:
        """A short page, by its key in the translations:

        `asked`, `denied`, `open`, `too-often`, `not-from-here`, or a failure.

        With a `permission`, its heading says what is open, and until when. `said` is what a person said to the reader.
        """
        translation = self._translations[reader]
        words = translation.words
        own = (words["young"].get(key) if reader.young else None) or words[key]
        label = own.get("link", "")
        heading = own["heading"] if permission is None else translation.opened(permission)
        parts = {"heading": heading, "why": own["why"], "said": said, "link": link, "link_label": label}
        return self._page(status, reader, parts)

    def closed(self) -> ProxyResponse:
        """The response to a script, without a reason: a script of any site could tell from that who uses the device."""
        return self.error(403, "blocked")

    def waiting(self, url: str, times: int, reader: PageReader = _DEFAULT_READER, ticket: str = "") -> ProxyResponse:
        """The page after a request for access. It reloads itself for half an hour (Refresh field) until `url` is open.

        `times` is the number of reloads so far.
        """
        answer = self.short_page("asked", 200, reader=reader)
        if times >= _MAX_REFRESHES:
            return answer
        again = f"{ASK_PATH}?{urlencode({'url': url, 'times': times + 1, 'ticket': ticket})}"
        return replace(answer, headers=(*answer.headers, ("Refresh", f"{REFRESH_SECONDS}; url={again}")))

    def error(self, status: int, message: str) -> ProxyResponse:
        """A message for programs: the request is malformed or cannot be served."""
        return self._answer(status, f"Hedgerow: {message}.\n", "text/plain")

    def _blocked_page(
        self, decision: Decision, host: str, url: str, now: float, reader: PageReader, ticket: str
    ) -> ProxyResponse:
        """The page, rendered once per host and decision, with placeholders for the URL and the ticket."""
        until = "" if decision.until is None else self._translations[reader].until(decision.until, now)
        key = (decision, host, until, reader)
        cached = self._page_cache.get(key)
        if cached is None:
            page = self._page(403, reader, self._blocked_parts(decision, host, self._url_placeholder, now, reader))
            cached = self._page_cache[key] = page.headers, tuple(page.body.split(self._url_placeholder.encode()))
        headers, pieces = cached
        body = str(escape(url)).encode().join(pieces)
        return ProxyResponse(
            403, headers, body.replace(self._ticket_placeholder.encode(), str(escape(ticket)).encode())
        )

    def _blocked_parts(self, decision: Decision, host: str, url: str, now: float, reader: PageReader) -> dict[str, Any]:
        translation = self._translations[reader]
        heading, why = translation.reason(decision)
        facts = _page_facts(translation, decision, host, now)
        ask = (
            None
            if forbids_access_request(decision)
            else {"path": ASK_PATH, "url": url, "ticket": self._ticket_placeholder, "note_limit": NOTE_LIMIT}
        )
        about = (
            self._abouts.get(decision.what, "")
            if decision.reason is Reason.CATEGORY and reader.language == "en" and not reader.is_family
            else ""
        )
        parts: dict[str, Any] = {
            "heading": heading,
            "why": why,
            "about": about,
            "facts": facts,
            "ask": ask,
            "service": translation.title(decision.what) if decision.what in Services.load().by_id else "",
        }
        if decision.reason is Reason.CONDUCT:
            parts |= {
                "conduct": self._conduct,
                "accept": {"path": ASK_PATH, "url": url, "ticket": self._ticket_placeholder},
            }
        if (decision.reason is Reason.UNNAMED or reader.is_unnamed) and self._portal:
            parts |= {"link": self._portal, "link_label": translation.words["unnamed"]["link"]}
        elif (reader.is_family or reader.young) and self._portal and (label := _wish_label(translation, decision)):
            parts |= {"link": self._portal, "link_label": label}
        if (reader.is_family or reader.young) and self._portal:
            parts["advice"] = f"{self._portal}#advice"
        if decision.what == ILLEGAL and not reader.young:
            parts["care"] = self._help_section(reader, to_report=True)
        elif decision.what in HELP_FIRST:
            parts |= {"care": self._help_section(reader, is_first=True), "help_first": True}
        if reader.young:
            simple, sentence = translation.reason(decision, young=True)
            until = decision.until
            opens = (
                "" if until is None else translation.words["young"]["until"].format(until=translation.until(until, now))
            )
            parts |= {"heading": simple, "why": sentence, "opens": opens, "full_why": why}
        return parts

    def _page(self, status: int, reader: PageReader, parts: dict[str, Any]) -> ProxyResponse:
        words = self._translations[reader].words
        recorded = "" if reader.recorded is None else words["recorded"][reader.recorded.value]
        common = {"words": words, "style": self._style, "care": self._help_section(reader), "young": reader.young}
        common["recorded"] = recorded
        return self._answer(status, self._template.render({**_NO_PARTS, **common, **parts}), "text/html")

    def _help_section(self, reader: PageReader, *, to_report: bool = False, is_first: bool = False) -> Markup:
        """The section with helplines, the longest part of every page, rendered once for every kind of reader."""
        key = (reader, to_report, is_first)
        if key not in self._help_cache:
            words = self._translations[reader].words
            self._help_cache[key] = render_help(
                words, self._help, young=reader.young, to_report=to_report, is_first=is_first
            )
        return self._help_cache[key]

    def _answer(
        self, status: int, body: str, kind: str, extra: tuple[tuple[str, str], ...] = (), policy: str | None = None
    ) -> ProxyResponse:
        headers = (
            ("Content-Type", kind if kind == "image/png" else f"{kind}; charset=utf-8"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", policy or (self._policy if kind == "text/html" else _CSP_NOTHING)),
            # Not no-referrer: the browser would then send `Origin: null` with the form, which looks forged.
            ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            # A page of the same site that opens this one in a window must not read it there.
            *((("Cross-Origin-Opener-Policy", "same-origin"),) if kind == "text/html" else ()),
            *extra,
        )
        return ProxyResponse(status, headers, body.encode())


def _wish_label(translation: PageTranslation, decision: Decision) -> str:
    """Return the words of the link to the child's own page where it can ask for time, or nothing."""
    label: str = translation.words["wishes"].get(decision.reason.value, "")
    return label


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
    elif decision.reason not in {Reason.CONDUCT, Reason.NO_SESSION}:  # their sentences say what ends them
        ends = "clock" if decision.by_wrong_clock else "pause" if decision.reason is Reason.PAUSE else "none"
        facts.append((labels["until"], translation.words["until"][ends]))
    return facts


def _json_facts(translation: PageTranslation, decision: Decision, host: str, now: float) -> dict[str, Any]:
    heading, why = translation.reason(decision)
    until = None if decision.until is None else translation.until(decision.until, now)
    return {
        "error": "blocked",
        "host": host,
        "reason": decision.reason.value,
        "what": decision.what,
        "message": f"{heading}. {why}",
        "until": until,
        "until_timestamp": decision.until,
    }


def _rule_words(decision: Decision) -> str:
    """The words of the rule that blocks, where they say more than the reason.

    Its place is for admins, who find it with `explain`.
    """
    if decision.reason is Reason.RULE:
        return "" if decision.what == YOUTUBE_CHOSEN else decision.what
    # A whole line of a file may hold other rules too, and the people they are about.
    return decision.rule.text if decision.rule is not None and decision.rule.line is None else ""
