"""The block page: its words, its escaping, and its independence of other hosts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import cast

import pytest
import yaml
from catalogues import page_messages
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.content import FILE_KINDS
from hedgerow.policies.decide import HIDDEN_HOST, IP_ADDRESS
from hedgerow.policies.host_facts import INTERNATIONAL, HelpChoices, Lifelines, help_choices
from hedgerow.policies.model import Decision, Device, DeviceId, Privacy, Reason, Verdict
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.policies.text.locales import LANGUAGES, read_translations
from hedgerow.proxy.pages.block_page import ASK_PATH, BlockPage
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm, response_form
from hedgerow.proxy.pages.translations import PAGES, PageReader, choose_language, page_words

NOW = 1_790_000_000.0  # Monday, 21 September 2026, 15:13:20 in Lisbon
PAGE = BlockPage("PT", "Europe/Lisbon")


def decision(
    reason: Reason = Reason.RULE, what: str = "", until: float | None = None, rule: Origin | None = None
) -> Decision:
    return Decision(Verdict.BLOCK, reason, what, rule, until)


def page(given: Decision, host: str = "games.example", url: str = "https://games.example/") -> str:
    return PAGE.blocked(given, host, url, NOW).body.decode()


class Text(HTMLParser):
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


@pytest.mark.parametrize(
    "reason", [each for each in Reason if each not in {Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION}]
)
def test_every_reason_is_explained_in_words(reason: Reason) -> None:
    text = Text(page(decision(reason, "gambling"))).text
    assert "games.example" in text
    assert "Somebody to talk to" in text
    assert not re.search(r"\{\w*\}|None|undefined", text)


def test_the_page_says_what_why_and_until_when() -> None:
    rule = Origin("/home/ana/hedgerow.yaml", 12, "block: [gambling]")
    text = Text(page(decision(Reason.CATEGORY, "gambling", NOW + 3600, rule))).text
    assert "It is on a list of sites about “Gambling”" in text
    assert "Casinos" in text
    assert "16:14" in text
    assert "hedgerow.yaml" not in text
    assert "block: [" not in text


def test_the_note_of_a_rule_is_shown() -> None:
    noted = replace(decision(Reason.SERVICE, "roblox", NOW + 60), note="we agreed on a <b>break</b>")
    for language, label in {
        "en": "Note",
        "de": "Notiz",
        "fr": "Note",
        "es": "Nota",
        "pt": "Nota",
        "pt-BR": "Observação",
    }.items():
        answer = PAGE.blocked(noted, "roblox.com", "http://roblox.com/", NOW, ResponseForm.PAGE, PageReader(language))
        assert f"<dt>{label}</dt><dd>we agreed on a &lt;b&gt;break&lt;/b&gt;</dd>" in answer.body.decode()
    assert "<dt>Note" not in page(replace(noted, note=""))


@pytest.mark.parametrize(
    ("until", "text"),
    [
        (NOW + 60, "15:15"),  # rounded up: at 15:14 it would still be closed
        (NOW + 24 * 3600, "tomorrow, 15:14"),
        (NOW + 3 * 24 * 3600, "Thursday, 15:14"),
        (NOW + 30 * 24 * 3600, "2026-10-21, 15:14"),
    ],
)
def test_the_end_is_shown_as_wall_clock_time(until: float | None, text: str) -> None:
    assert text in Text(page(decision(Reason.BEDTIME, "bedtime", until))).text


def test_a_pause_without_end() -> None:
    paused = decision(Reason.PAUSE, "pause", None, Origin("pause by ana"))
    for language, end in {
        "en": "somebody ends the pause",
        "de": "jemand die Pause beendet",
        "pt": "alguém terminar a pausa",
        "pt-BR": "alguém encerrar a pausa",
    }.items():
        short_page = Text(
            PAGE.blocked(paused, "a.example", "", NOW, ResponseForm.PAGE, PageReader(language)).body.decode()
        ).text
        assert end in short_page
        assert "pause by" not in short_page, "in words of the language"


def test_the_score_of_a_page_and_the_kind_of_a_file_are_shown() -> None:
    assert (
        "Its words score 210; pages that score more than 100 are blocked"
        in Text(page(decision(Reason.PAGE, "210 of 100"))).text
    )
    assert "too long to be checked" in Text(page(decision(Reason.PAGE, "too long to be weighed"))).text
    for kind in FILE_KINDS:
        given = [
            PAGE.blocked(
                decision(Reason.FILE, kind), "a.example", "", NOW, ResponseForm.PAGE, PageReader(each)
            ).body.decode()
            for each in LANGUAGES
        ]
        assert all(kind not in Text(each).text.lower().split() for each in given[1:]), "in words of the language"
        assert len(set(given)) == len(LANGUAGES)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            decision(
                Reason.RULE,
                "games.example/play",
                None,
                Origin("/etc/hedgerow.yaml", 12, "mia: {block: [games.example]}"),
            ),
            "games.example/play",
        ),
        (decision(Reason.CATEGORY, "gambling", None, Origin("betting list", text="games.example")), "games.example"),
        (decision(Reason.CATEGORY, "gambling", None, Origin("betting list: urls.txt", 12, "||games.example^")), None),
        (decision(Reason.SCHEDULE, "school", None, Origin("hedgerow.yaml", 12, "school: {}")), None),
        (decision(Reason.PAUSE, "pause", None, Origin("pause by ana")), None),
    ],
    ids=["rule", "listed domain", "listed URL", "schedule", "pause"],
)
def test_a_rule_is_named_by_its_words_and_not_by_its_place(given: Decision, words: str | None) -> None:
    labels = {"en": "Rule", "de": "Regel", "fr": "Règle", "es": "Regla", "pt": "Regra", "pt-BR": "Regra"}
    assert labels.keys() <= LANGUAGES.keys()
    for language, label in labels.items():
        html = PAGE.blocked(given, "a.example", "", NOW, ResponseForm.PAGE, PageReader(language)).body.decode()
        assert (f"<dt>{label}</dt><dd>{words}</dd>" in html) is (words is not None)
        assert f"<dt>{label}</dt>" not in html or words is not None
        text = Text(html).text
        assert not re.search(r"hedgerow\.yaml|urls\.txt|\b12\b|mia", text)


def test_french_punctuation_follows_no_break_spaces() -> None:
    translations = read_translations("fr")
    french = [translations.pgettext(context, text) for context, text in page_messages()]
    assert [text for text in french if re.search(r" [?!;»]|« ", text)] == []


def test_lifelines_of_the_country_with_telephone_and_link() -> None:
    elements = Text(page(decision())).elements
    links = [attributes.get("href") or "" for tag, attributes in elements if tag == "a"]
    assert "tel:116111" in links
    assert any(link.startswith("https://") for link in links)


def test_the_page_loads_nothing() -> None:
    elements = Text(page(decision())).elements
    assert not {tag for tag, _ in elements} & {"script", "img", "link", "iframe", "object", "base"}
    assert not any(
        name.startswith("on") or name in {"src", "srcset", "style"} for _, attributes in elements for name in attributes
    )


def test_the_content_security_policy_allows_the_one_style_only() -> None:
    answer = PAGE.blocked(decision(), "a.example", "https://a.example/", NOW)
    policy = dict(answer.headers)["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'")
    assert dict(answer.headers)["Cache-Control"] == "no-store"


def test_the_form_asks_for_the_page_that_was_blocked() -> None:
    elements = Text(page(decision(), url='https://games.example/?a="b"&c=<d>')).elements
    form = next(attributes for tag, attributes in elements if tag == "form")
    assert (form["method"], form["action"]) == ("post", ASK_PATH)
    assert next(a for tag, a in elements if tag == "input")["value"] == 'https://games.example/?a="b"&c=<d>'


def test_no_access_request_for_ways_round_the_filter() -> None:
    assert "<form" not in page(decision(Reason.BYPASS, "bypass"))


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_everything_is_escaped(host: str, what: str, rule: str) -> None:
    hostile = f'"><script>{host}</script>'
    found = Text(page(decision(Reason.SERVICE, f"<b>{what}", rule=Origin("x", 1, f"<i>{rule}")), hostile, hostile))
    assert not {tag for tag, _ in found.elements} & {"script", "b", "i"}


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_refused_connect_cannot_be_injected_with_fields(host: str, what: str) -> None:
    head, _, text = PAGE.refused_tunnel(decision(Reason.CATEGORY, what), host, NOW).to_bytes().partition(b"\r\n\r\n")
    assert [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]] == [
        b"Content-Length",
        b"Content-Type",
        b"Cache-Control",
        b"Content-Security-Policy",
        b"Referrer-Policy",
        b"X-Content-Type-Options",
        b"X-Hedgerow-Reason",
        b"Connection",
    ]
    assert f"Content-Length: {len(text)}".encode() in head


def test_a_program_gets_json() -> None:
    answer = PAGE.blocked(
        decision(Reason.BUDGET, "games", NOW + 60), "games.example", "https://games.example/", NOW, ResponseForm.DATA
    )
    assert json.loads(answer.body) == {
        "error": "blocked",
        "host": "games.example",
        "reason": "budget",
        "what": "games",
        "until": "15:15",
        "until_timestamp": NOW + 60,
        "message": "Today’s time is used up. There is no screen time left for today.",
    }


@pytest.mark.parametrize(
    ("resource", "accept", "form"),
    [
        ("document", "text/html", ResponseForm.PAGE),
        ("", "", ResponseForm.PAGE),
        ("", "text/html,application/xhtml+xml,*/*;q=0.8", ResponseForm.PAGE),
        ("", "image/png,*/*", ResponseForm.NOTHING),
        ("script", "*/*", ResponseForm.NOTHING),
        ("iframe", "text/html", ResponseForm.FRAME),
        ("empty", "*/*", ResponseForm.SCRIPT),
        ("", "application/json", ResponseForm.DATA),
        ("serviceworker", "*/*", ResponseForm.WORKER),
    ],
)
def test_forms(resource: str, accept: str, form: ResponseForm) -> None:
    assert response_form(resource, accept) is form


def test_a_service_worker_is_replaced_by_one_that_does_nothing() -> None:
    answer = PAGE.blocked(decision(), "a.example", "https://a.example/worker.js", NOW, ResponseForm.WORKER)
    headers = dict(answer.headers)
    assert (answer.status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8"), (
        "browsers keep the old one otherwise"
    )
    assert headers["Service-Worker-Allowed"] == "/", "whatever part of the site it was for"
    assert b"fetch" not in answer.body, "a handler would be asked in place of the network"
    assert b"a.example" not in answer.body, "any script of the site can read it"


def test_small_forms_are_small() -> None:
    sizes = {
        form: len(PAGE.blocked(decision(), "a.example", "https://a.example/", NOW, form).body) for form in ResponseForm
    }
    assert sizes[ResponseForm.NOTHING] == 0
    assert sizes[ResponseForm.FRAME] < 200
    assert sizes[ResponseForm.DATA] < 400
    in_german = PAGE.blocked(
        decision(), "a.example", "https://a.example/", NOW, ResponseForm.FRAME, PageReader("de")
    ).body.decode()
    assert '<html lang="de" dir="ltr">' in in_german, "it is read out as German"
    assert '<meta name="color-scheme" content="light dark">' in in_german, "no white hole in a dark page"
    assert sizes[ResponseForm.PAGE] < 24_000


def test_all_reasons_that_block_have_words() -> None:
    words = yaml.safe_load((PAGES / "en.yaml").read_text(encoding="utf-8"))
    blocking = {reason.value for reason in Reason} - {"lifeline", "grant", "exception"}
    assert set(words["reasons"]) >= blocking | {IP_ADDRESS, HIDDEN_HOST}


# Who reads.


def test_a_language_without_a_catalogue_is_english() -> None:
    """A running worker goes on after its package was replaced."""
    html = PAGE.blocked(decision(), "a.example", "https://a.example/", NOW, reader=PageReader("xx")).body.decode()
    assert "This site is not open here" in html
    assert '<html lang="en" dir="ltr">' in html


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ("Diese Seite ist hier gesperrt", "Glücksspiel", "16:14 Uhr", "Jemand zum Reden", "Um Freigabe bitten")),
        ("fr", ("Ce site est bloqué ici", "Jeux d’argent", "16:14", "Quelqu’un à qui parler", "Demander l’accès")),
        ("es", ("Este sitio está bloqueado aquí", "Apuestas", "16:14", "Alguien con quien hablar", "Pedir acceso")),
        (
            "pt",
            (
                "Este site está bloqueado aqui",
                "Jogos a dinheiro e apostas",
                "16:14",
                "Alguém com quem falar",
                "Pedir acesso",
            ),
        ),
        (
            "pt-BR",
            (
                "Este site está bloqueado aqui",
                "Apostas e jogos de azar",
                "16:14",
                "Alguém para conversar",
                "Pedir acesso",
            ),
        ),
    ],
)
def test_the_page_in_other_languages(language: str, words: tuple[str, ...]) -> None:
    given = decision(Reason.CATEGORY, "gambling", NOW + 3600)
    html = PAGE.blocked(
        given, "games.example", "https://games.example/", NOW, reader=PageReader(language)
    ).body.decode()
    text = Text(html).text
    assert all(each in text for each in words)
    assert f'<html lang="{language}" dir="ltr">' in html
    assert "Casinos" not in text  # there is no translation of it
    short_page = PAGE.short_page("asked", 200, reader=PageReader(language)).body.decode()
    assert "Your question" not in short_page


@pytest.mark.parametrize(
    ("field", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("nl,es;q=0.1", "es"),
        ("en;q=0.1, pt-BR", "pt-BR"),
        ("PT-br", "pt-BR"),
        ("pt-BR-x-lan", "pt-BR"),
        ("pt", "pt"),
        ("pt-PT", "pt"),
        ("pt-AO", "pt"),
        ("pt-PT, pt-BR;q=0.9", "pt"),
        ("es-419, pt-BR;q=0.9", "es"),
        ("fr;q=0, en", "en"),
        ("*", "en"),
        ("DE", "de"),
        ("zh-Hans-CN, ja", "en"),
        ("fr;q=0.5,de;q=0.5", "fr"),
        ("de;q=oops, fr", "fr"),
        (",,;;==", "en"),
        ("x" * 100_000, "en"),
    ],
)
def test_choose_language(field: str, language: str) -> None:
    assert choose_language(field) == language


@given(st.text(max_size=200))
def test_any_accept_language_has_an_answer(field: str) -> None:
    assert choose_language(field) in LANGUAGES


def test_a_small_child_reads_few_words() -> None:
    given = decision(Reason.BEDTIME, "bedtime", NOW + 3600, Origin("hedgerow.yaml", 12))
    html = PAGE.blocked(
        given, "games.example", "https://games.example/", NOW, reader=PageReader("en", young=True)
    ).body.decode()
    before, _, after = html.partition('<details class="grown">')
    shown = Text(before.partition('<section class="care"')[0]).text
    assert "Good night!" in shown
    assert "It opens again: 16:14." in shown
    assert "Ask a grown-up" in shown
    assert len(shown.split()) < 40
    assert "games.example" not in shown
    assert "games.example" in Text(after).text  # for the grown-up beside them
    assert "hedgerow.yaml" not in Text(after).text
    assert "tel:116111" in before


@pytest.mark.parametrize(
    ("person", "profile", "reader"),
    [
        ("mia", "child-8-12", PageReader("fr", young=True)),
        ("tom", "child-under-8", PageReader("fr", is_family=True)),
        (None, "child-under-8", PageReader("fr", young=True)),
        (None, "child-8-12", PageReader("fr")),
        ("ana", "adult", PageReader("fr")),
        ("lea", "child-8-12", PageReader("fr", is_family=True)),
        ("lea", "child-under-8", PageReader("fr", young=True)),
        ("max", "adult", PageReader("fr")),
        ("eva", "teen-16-17", PageReader("fr", is_family=True)),
    ],
)
def test_reader_of(person: str | None, profile: str, reader: PageReader) -> None:
    policy = parse_policy(b"", None)
    page = BlockPage(ages={"mia": 7, "tom": 8, "ana": 40, "max": 16, "eva": 18}, profiles=policy.profiles)
    ruleset = Rulesets(policy, (), (), cast(Catalogue, Nothing())).ruleset(Device(DeviceId("x"), "adult"), NOW)
    assert page.reader_of(replace(ruleset, person=person, profile=profile), "fr") == reader
    at_a_seat = replace(ruleset, person=person, profile=profile, session="a-session")
    assert page.reader_of(at_a_seat, "fr") == PageReader("fr", reader.young), "its café is not a family"


def test_the_page_of_a_child_knows_what_is_recorded_and_no_other_does() -> None:
    policy = parse_policy(b"", None)
    page = BlockPage(profiles=policy.profiles)
    ruleset = Rulesets(policy, (), (), cast(Catalogue, Nothing())).ruleset(Device(DeviceId("x"), "adult"), NOW)
    for person, profile, privacy, recorded in (
        ("lea", "child-8-12", Privacy.DOMAIN, Privacy.DOMAIN),
        ("lea", "child-under-8", Privacy.FULL, Privacy.FULL),
        ("lea", "child-8-12", Privacy.CATEGORY, None),
        ("ana", "adult", Privacy.FULL, None),
        (None, "child-8-12", Privacy.DOMAIN, None),
    ):
        read = replace(ruleset, person=person, profile=profile, privacy=privacy)
        assert page.reader_of(read, "fr").recorded is recorded
        assert page.reader_of(replace(read, session="a-session"), "fr").recorded is None


OFFICE = re.compile(r"\brules?\b|in charge|this network|somebody", re.IGNORECASE)


@pytest.mark.parametrize("reason", [Reason.PAUSE, Reason.SCHEDULE, Reason.RULE, Reason.SEARCH, Reason.CATEGORY])
def test_a_child_of_a_family_reads_who_closed_it(reason: Reason) -> None:
    reader = PageReader(is_family=True)
    given = decision(reason, {Reason.RULE: "bet365.com", Reason.CATEGORY: "adult"}.get(reason, ""))
    pages = [PAGE.blocked(given, "bet365.com", "https://bet365.com/", NOW, reader=reader)]
    pages += [PAGE.short_page(key, 200, reader=reader) for key in ("asked", "denied")]
    for each in pages:
        shown = Text(each.body.decode().partition('<section class="care"')[0]).text
        assert not OFFICE.search(shown), shown
        assert "arents" in shown
        assert "Pornography" not in shown
    neutral = PAGE.blocked(given, "bet365.com", "https://bet365.com/", NOW)
    assert "arents" not in Text(neutral.body.decode()).text


def test_without_an_end_a_bedtime_ends_once_the_clock_is_right() -> None:
    for reader in (PageReader(), PageReader(is_family=True)):
        for reason in (Reason.BEDTIME, Reason.SCHEDULE, Reason.BUDGET):
            given = decision(reason, "first")
            html = PAGE.blocked(given, "a.example", "", NOW, reader=reader).body.decode()
            assert "the clock is right" not in Text(html).text
            html = PAGE.blocked(replace(given, by_wrong_clock=True), "a.example", "", NOW, reader=reader).body.decode()
            assert "Untilthe clock is right" in Text(html).text


class Nothing:
    """A catalogue that knows nothing."""

    categories = ()
    listed = frozenset[str]()


# Lifelines.


def help_of(country: str | None) -> HelpChoices:
    return help_choices(Lifelines.load().for_country(country))


@pytest.mark.parametrize(
    ("country", "first"),
    [
        ("GB", ["Childline", "Runaway Helpline (Missing People)", "Samaritans", "NSPCC helpline"]),
        ("DE", ["Nummer gegen Kummer", "krisenchat", "TelefonSeelsorge", "Hilfe-Telefon Sexueller Missbrauch"]),
        (
            "US",
            [
                "Boys Town National Hotline",
                "Teen Line",
                "988 Suicide & Crisis Lifeline",
                "Childhelp National Child Abuse Hotline",
            ],
        ),
        ("PT", ["SOS-Criança (Instituto de Apoio à Criança)", "SNS 24", "APAV"]),
        (None, ["Child Helpline International", "Insafe: helplines for young people online", "Find A Helpline"]),
    ],
)
def test_helplines_for_children_come_first(country: str | None, first: list[str]) -> None:
    assert [line.name for line in help_of(country).talk] == first


@pytest.mark.parametrize(
    ("country", "first"),
    [
        ("GB", ["CEOP Safety Centre", "Report Harmful Content", "Internet Watch Foundation", "Report Remove"]),
        ("DE", ["internet-beschwerdestelle.de", "jugendschutz.net"]),
        ("NO", ["Kripos: tips om seksuell utnyttelse av barn på internett", "Slettmeg"]),
        (None, ["INHOPE: report abuse images in any country", "Take It Down: have your own pictures removed"]),
    ],
)
def test_people_who_approach_children_are_reported_first(country: str | None, first: list[str]) -> None:
    assert [line.name for line in help_of(country).report][: len(first)] == first


@pytest.mark.parametrize(
    ("country", "number"),
    [
        ("GB", "999"),
        ("PT", "112"),
        ("US", "911"),
        ("AU", "000"),
        ("JP", "110"),
        ("UA", "102"),
        ("TR", "112"),
        ("BR", "190"),
        (None, None),
    ],
)
def test_the_emergency_number_is_that_of_the_country(country: str | None, number: str | None) -> None:
    assert [line.phone for line in help_of(country).emergency] == ([number] if number else [])
    html = BlockPage(country).blocked(decision(), "a.example", "https://a.example/", NOW).body.decode()
    assert f'class="emergency" href="tel:{number}"' in html if number else "Call the police of your country" in html


def test_112_stands_where_it_is_true() -> None:
    """In all countries of the European Union, and nowhere as a guess."""
    union = set(re.findall("..", "atbebghrcyczdkeefifrdegrhuieitlvltlumtnlplptrosksiese"))
    numbers = {line.country: line.phone for line in Lifelines.load().all if "emergency" in line.kinds}
    assert {country for country in union if numbers.get(country) != "112"} == set()
    assert "int" not in numbers


def test_every_country_has_all_three_kinds_of_help() -> None:
    for country in {each.country for each in Lifelines.load().all} - {INTERNATIONAL}:
        choices, everything = help_of(country), Lifelines.load().for_country(country)
        assert 3 <= len(choices.talk) <= 4, country
        assert 2 <= len(choices.report) <= 4, country
        assert len(choices.emergency) <= 1, country
        assert {*choices.talk, *choices.more, *choices.emergency} == set(everything)
        assert not [
            line for line in choices.talk if line.purpose in {"own-thoughts", "missing", "grooming", "abuse-images"}
        ]
        html = BlockPage(country).blocked(decision(), "a.example", "https://a.example/", NOW).body.decode()
        assert len(html) < 48_000


@pytest.mark.parametrize("reader", [PageReader(), PageReader("en", young=True), PageReader("de")])
@pytest.mark.parametrize(
    "reason", [Reason.RULE, Reason.PAUSE, Reason.BEDTIME, Reason.BYPASS, Reason.BUDGET, Reason.NO_SESSION]
)
def test_the_button_for_worries_is_on_every_page_at_every_age(reader: PageReader, reason: Reason) -> None:
    words = page_words(reader.language)
    worry = words["young"]["worry"] if reader.young else words["worry"]
    for page in (
        PAGE.blocked(decision(reason), "a.example", "", NOW, reader=reader),
        PAGE.short_page("busy", 503, reader=reader),
    ):
        text = Text(page.body.decode()).text
        assert words["worry"]["button"] in text
        assert all(worry[choice] in text for choice in ("talk", "report", "danger"))


def test_a_helpline_with_text_messages_has_a_link() -> None:
    html = BlockPage("GB").blocked(decision(), "a.example", "https://a.example/", NOW).body.decode()
    assert 'href="sms:85258"' in html


def test_a_response_to_head_has_a_length_and_no_body() -> None:
    raw = ProxyResponse(403, (("X", "y"),), b"body").to_bytes(head_only=True)
    assert raw.endswith(b"\r\n\r\n")
    assert b"Content-Length: 4" in raw


@pytest.mark.parametrize(("country", "hotline"), [("GB", "iwf.org.uk"), ("PT", ""), (None, "")])
def test_illegal_material_is_reported_not_asked_for(country: str | None, hotline: str) -> None:
    given = Decision(Verdict.BLOCK, Reason.CATEGORY, "illegal")
    text = BlockPage(country).blocked(given, "x.example", "https://x.example/secret", NOW).body.decode()
    assert "<form" not in text
    assert "secret" not in text
    opened = text.partition('<details class="worry" open>')[2].partition('<details class="kind-of-help" open>')[2]
    assert all(line.url in opened for line in help_of(country).report)
    assert hotline in opened


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "pt", "ar"])
@pytest.mark.parametrize(("topic", "young"), [("self-harm", True), ("self-harm", False), ("hate", False)])
def test_help_comes_first_and_the_reason_second(language: str, topic: str, young: bool) -> None:
    page, reader = BlockPage("GB"), PageReader(language, young)
    given = Decision(Verdict.BLOCK, Reason.CATEGORY, topic)
    html, usual = (
        page.blocked(each, "x.example", "https://x.example/", NOW, reader=reader).body.decode()
        for each in (given, decision())
    )
    assert html.count('id="care"') == html.count('id="what"') == html.count("<h1") == 1
    assert html.index('<h1 id="care"') < html.index("tel:") < html.index('<h2 id="what"')
    assert usual.index('<h1 id="what"') < usual.index('<h2 id="care"')


def test_a_cached_page_has_the_url_of_the_request() -> None:
    page, reader = BlockPage("GB"), PageReader()
    decision = Decision(Verdict.BLOCK, Reason.CATEGORY, "adult")
    first, second = (
        page.blocked(decision, "a.example", f"http://a.example/{path}", NOW, reader=reader)
        for path in ("one", 'two?"><b>')
    )
    assert b"http://a.example/one" in first.body
    assert b"http://a.example/one" not in second.body
    assert b"http://a.example/two?&#34;&gt;&lt;b&gt;" in second.body
    other = page.blocked(decision, "b.example", "http://b.example/", NOW, reader=reader)
    assert b"b.example" in other.body
    assert b"a.example" not in other.body


@pytest.mark.parametrize(
    ("reason", "label"), [(Reason.BUDGET, "Ask for more minutes"), (Reason.BEDTIME, "Ask for a later bedtime")]
)
def test_a_child_whose_time_is_over_is_led_to_its_own_page(reason: Reason, label: str) -> None:
    portal = "http://192.168.1.2:8053/device"
    closed = Decision(Verdict.BLOCK, reason, reason.value)
    for reader, is_child in (
        (PageReader("en", young=True), True),
        (PageReader("en", is_family=True), True),
        (PageReader("en"), False),
    ):
        for page, leads in ((BlockPage(portal=portal), is_child), (BlockPage(), False)):
            html = page.blocked(closed, "a.example", "http://a.example/", NOW, reader=reader).body.decode()
            assert (f'<a class="button" href="{portal}">{label}</a>' in html) is leads
            assert (f'<a href="{portal}#advice">If something is wrong</a>' in html) is leads
