"""The block page: what it says, that it escapes everything, and that it asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.block_page import ASK_PATH, Answer, BlockPage, Form, form_of

NOW = 1_790_000_000.0  # Monday, 21 September 2026, 15:13:20 in Lisbon
PAGE = BlockPage.load("PT", "Europe/Lisbon")


def decision(reason: Reason = Reason.RULE, what: str = "", until: float | None = None, rule: Origin | None = None) -> Decision:
    return Decision(Verdict.BLOCK, reason, what, rule, until)


def page(given: Decision, host: str = "games.example", url: str = "https://games.example/") -> str:
    return PAGE.blocked(given, host, url, NOW).body.decode()


class Reader(HTMLParser):
    """Collects elements and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data


@pytest.mark.parametrize("reason", [each for each in Reason if each not in {Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION}])
def test_every_reason_is_explained_in_words(reason: Reason) -> None:
    text = Reader(page(decision(reason, "gambling"))).text
    assert "games.example" in text
    assert "Somebody to talk to" in text
    assert not re.search(r"\{\w*\}|None|undefined", text)


def test_what_why_and_until_when() -> None:
    rule = Origin("/home/ana/hedgerow.yaml", 12, "block: [gambling]")
    text = Reader(page(decision(Reason.CATEGORY, "gambling", NOW + 3600, rule))).text
    assert "It is on a list of sites about “Gambling”" in text
    assert "Casinos" in text
    assert "16:14" in text
    assert "hedgerow.yaml, line 12" in text
    assert "/home" not in text


@pytest.mark.parametrize(
    ("until", "text"),
    [
        (NOW + 60, "15:15"),  # rounded up: at 15:14 it would still be closed
        (NOW + 24 * 3600, "tomorrow, 15:14"),
        (NOW + 3 * 24 * 3600, "Thursday, 15:14"),
        (NOW + 30 * 24 * 3600, "2026-10-21, 15:14"),
        (None, "Until somebody changes the rule"),
    ],
)
def test_until_as_the_clock_on_the_wall_shows_it(until: float | None, text: str) -> None:
    assert text in Reader(page(decision(Reason.BEDTIME, "bedtime", until))).text


def test_lifelines_of_the_country_with_telephone_and_link() -> None:
    elements = Reader(page(decision())).elements
    links = [attributes.get("href") or "" for tag, attributes in elements if tag == "a"]
    assert "tel:116111" in links
    assert any(link.startswith("https://") for link in links)


def test_nothing_is_asked_of_anybody() -> None:
    elements = Reader(page(decision())).elements
    assert not {tag for tag, _ in elements} & {"script", "img", "link", "iframe", "object", "base"}
    assert not any(name.startswith("on") or name in {"src", "srcset", "style"} for _, attributes in elements for name in attributes)


def test_the_content_security_policy_allows_the_one_style_only() -> None:
    answer = PAGE.blocked(decision(), "a.example", "https://a.example/", NOW)
    policy = dict(answer.headers)["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'")
    assert dict(answer.headers)["Cache-Control"] == "no-store"


def test_the_form_asks_for_the_page_that_was_blocked() -> None:
    elements = Reader(page(decision(), url='https://games.example/?a="b"&c=<d>')).elements
    form = next(attributes for tag, attributes in elements if tag == "form")
    assert (form["method"], form["action"]) == ("post", ASK_PATH)
    assert next(a for tag, a in elements if tag == "input")["value"] == 'https://games.example/?a="b"&c=<d>'


def test_nobody_is_asked_to_open_a_hole_in_the_filter() -> None:
    assert "<form" not in page(decision(Reason.BYPASS, "bypass"))


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_everything_is_escaped(host: str, what: str, rule: str) -> None:
    hostile = f'"><script>{host}</script>'
    found = Reader(page(decision(Reason.SERVICE, f"<b>{what}", rule=Origin("x", 1, f"<i>{rule}")), hostile, hostile))
    assert not {tag for tag, _ in found.elements} & {"script", "b", "i"}


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_refused_connect_cannot_be_made_to_carry_fields(host: str, what: str) -> None:
    head, _, text = PAGE.refused_tunnel(decision(Reason.CATEGORY, what), host, NOW).to_bytes().partition(b"\r\n\r\n")
    assert [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]] == [
        b"Content-Length", b"Content-Type", b"Cache-Control", b"Content-Security-Policy", b"Referrer-Policy", b"X-Content-Type-Options",
        b"X-Hedgerow-Reason", b"Connection",
    ]  # fmt: skip
    assert f"Content-Length: {len(text)}".encode() in head


def test_a_program_gets_facts() -> None:
    answer = PAGE.blocked(decision(Reason.BUDGET, "games", NOW + 60), "games.example", "https://games.example/", NOW, Form.DATA)
    assert json.loads(answer.body) == {
        "error": "blocked", "host": "games.example", "reason": "budget", "what": "games", "until": "15:15", "until_timestamp": NOW + 60,
        "message": "Today’s time is used up. The screen time for today is spent.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "accept", "form"),
    [
        ("document", "text/html", Form.PAGE),
        ("", "", Form.PAGE),
        ("", "text/html,application/xhtml+xml,*/*;q=0.8", Form.PAGE),
        ("", "image/png,*/*", Form.NOTHING),
        ("script", "*/*", Form.NOTHING),
        ("iframe", "text/html", Form.FRAME),
        ("empty", "*/*", Form.DATA),
        ("", "application/json", Form.DATA),
    ],
)
def test_forms(resource: str, accept: str, form: Form) -> None:
    assert form_of(resource, accept) is form


def test_small_forms_are_small() -> None:
    sizes = {form: len(PAGE.blocked(decision(), "a.example", "https://a.example/", NOW, form).body) for form in Form}
    assert sizes[Form.NOTHING] == 0
    assert sizes[Form.FRAME] < 200
    assert sizes[Form.DATA] < 400
    assert sizes[Form.PAGE] < 12_000


def test_all_reasons_that_block_have_words() -> None:
    from hedgerow.proxy import block_page

    words = yaml.safe_load((block_page._PAGES / "en.yaml").read_text(encoding="utf-8"))
    blocking = {reason.value for reason in Reason} - {"lifeline", "grant", "exception"}
    assert set(words["reasons"]) == blocking


def test_an_answer_for_head_has_its_length_and_no_body() -> None:
    raw = Answer(403, (("X", "y"),), b"body").to_bytes(head_only=True)
    assert raw.endswith(b"\r\n\r\n")
    assert b"Content-Length: 4" in raw
