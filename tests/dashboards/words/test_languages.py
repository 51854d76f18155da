"""Languages: complete translations, plural forms, dates, and the choice of a language."""

import gettext
import io
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from zoneinfo import ZoneInfo, available_timezones

import httpx
import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po
from catalogues import COMPLETE, TRANSLATED, messages, missing, updated
from hypothesis import given
from hypothesis import strategies as st
from web_server import NOW, SETUP_CODE
from web_server.household import PAGES, fill

from hedgerow.dashboards.words.languages import language
from hedgerow.policies.host_facts import Services
from hedgerow.policies.text.locales import LANGUAGES, catalogue_path, native_names, parse_po, read_translations
from hedgerow.policies.times.schedule import DAY_NAMES
from hedgerow.proxy.pages.translations import PAGE_CONTEXT, category_titles


def forms(each):
    """Yield pairs of English and translation, one for each plural form."""
    if isinstance(each.id, tuple):
        return [(each.id[min(place, 1)], text) for place, text in enumerate(each.string)]
    return [(each.id, each.string)]


@pytest.mark.parametrize("code", COMPLETE)
def test_every_message_is_translated_and_no_other(code):
    catalogue = updated(code)
    assert missing(catalogue) == []
    said = catalogue_path(code).read_text(encoding="utf-8")
    assert len(re.findall(r"^msgid ", said, re.MULTILINE)) - 1 == len([each for each in messages() if each.id]), (
        "run catalogues"
    )


def test_a_language_is_one_file_and_shows_english_for_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr("hedgerow.policies.text.locales.CATALOGUES_DIR", tmp_path)
    entries = ['msgid ""\nmsgstr ""\n"Plural-Forms: nplurals=2; plural=(n != 1);\\n"']
    entries += [
        'msgctxt "language"\nmsgid "English"\nmsgstr "Nederlands"',
        'msgid "Today"\nmsgstr "Vandaag"',
        'msgid "People"\nmsgstr ""',
    ]
    entries += [
        'msgctxt "block page"\nmsgid "It is bedtime"\nmsgstr "Het is bedtijd"',
        '#, fuzzy\nmsgid "Lists"\nmsgstr "Blok"',
    ]
    (tmp_path / "nl.po").write_text("\n\n".join(entries), encoding="utf-8")
    assert native_names() == {"en": "English", "nl": "Nederlands"}
    translations = read_translations.__wrapped__("nl")
    assert [translations.gettext(text) for text in ("Today", "People", "Lists", "Settings")] == [
        "Vandaag",
        "People",
        "Lists",
        "Settings",
    ]
    assert translations.pgettext("block page", "It is bedtime") == "Het is bedtijd"
    kept = updated("nl")
    assert {each.id for each in kept if each.id} == {
        "English",
        "Today",
        "People",
        "It is bedtime",
        "Lists",
    }, "others add nothing to it"
    assert len(missing(updated("nl", fill=True))) > 500


FORMAL = {
    "de": r"(?<![.!?:“] )(?<!^)\b(?:Sie|Ihnen|Ihre?[nmrs]?)\b",
    "es": r"\b(?:[Uu]sted(?:es)?|Abra|Añada|Elija|Escriba|Ejecute|Introduzca|Pulse|Seleccione|Toque)\b",
}
"""Signs of the formal address, in languages whose pages use the informal one throughout."""


@pytest.mark.parametrize("code", COMPLETE)
def test_translations_use_one_form_of_address_and_say_nothing_twice(code):
    for each in updated(code):
        for _, text in forms(each) if each.id else ():
            assert code not in FORMAL or not re.search(FORMAL[code], text), text
            half = len(text) // 2
            assert len(text) < 10 or text[:half] != text[half:], f"the sentence stands twice: {text}"


POLITE = {
    "es": r"\b[Uu]sted",
    "fr": r"\b[Vv]o(?:us|tre|s)\b",
    "hi": r"(?<!अपने )आप(?:का|की|के|को)? |माँगें|पूछें|करें।",
    "id": r"\bAnda\b",
    "it": r"\b(?:Lei|chieda|provi)\b",
    "pl": r"\b(?:Pan|Pani|Państwo|[Pp]roszę)\b",
    "tr": r"\b[Ss]iz(?:in|e|i|den)?\b|\biste(?:yin|yiniz)\b",
    "uk": r"\b(?:[Вв]ас|[Вв]ам|[Вв]аш\w*|попросіть|[Сс]пробуйте)\b",
}
"""Signs of the polite address, which no child is spoken to with."""


@pytest.mark.parametrize("code", POLITE)
def test_the_block_page_speaks_to_children_as_one_does(code):
    said = [text for each in updated(code) if each.id and each.context == PAGE_CONTEXT for _, text in forms(each)]
    assert len(said) > 50
    assert [text for text in said if re.search(POLITE[code], text)] == []


DAY_TITLES = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
_MARKS = {".": ".", "।": ".", "?": "?", "؟": "?", ":": ":", "…": "…", "!": "!"}
_UNITS = r"\b(?:min|h)$"  # German writes a point after them
_MARKED_OTHERWISE = {"Off you go.", "What to tell the children"}
"""Messages whose translation is an exclamation or a question where the English one is not."""


def end(text):
    """Return the mark at the end of a text, the same for all scripts, or nothing."""
    return _MARKS.get(re.sub(r"(?:</?\w+[^>]*>|[\s”“\"»«’)\]\u200f])+$", "", text)[-1:], "")


@pytest.mark.parametrize("code", TRANSLATED)
def test_translations_begin_and_end_as_the_message_does(code):
    """With a capital or not, and with the same mark: a label is no sentence, and the beginning of a sentence is none
    either. Names of days have no capital in most languages, nouns have one in German.
    """
    for each in updated(code):
        for text, translation in forms(each) if each.id and each.id not in _MARKED_OTHERWISE else ():
            if not translation:
                continue
            assert end(text) == end(translation) or re.search(_UNITS, text), translation
            if text[0].isupper() and text not in DAY_TITLES:
                assert not translation[0].islower(), translation


def runs(text):
    """Return the six consecutive words that a text has, without its tags, values, commands and addresses."""
    words = re.findall(r"[^\W\d_]{2,}", re.sub(r"<code>.*?</code>|<[^>]+>|%\(\w+\)s|\S+[:/]\S+", " ", text).casefold())
    return {tuple(words[at : at + 6]) for at in range(len(words) - 5)}


@pytest.mark.parametrize("code", TRANSLATED)
def test_no_translation_has_a_sentence_in_english(code):
    english = {run for each in messages() if each.id for text, _ in forms(each) for run in runs(text)}
    for each in updated(code):
        for _, text in forms(each) if each.id else ():
            assert not runs(text) & english, text


@pytest.mark.parametrize(
    ("code", "of_a_chore", "since_when", "heading", "button"),
    [
        ("de", "Für", "Seit", "Pause", "Pause"),
        ("fr", "Pour", "Depuis", "Pause", "Pause"),
        ("es", "Para", "Desde hace", "Pausa", "Pausar"),
        ("pt", "Para", "Há", "Pausa", "Pausar"),
        ("pt-BR", "Para", "Há", "Pausa", "Pausar"),
    ],
)
def test_words_with_two_meanings_have_two_translations(code, of_a_chore, since_when, heading, button):
    translations = language(code).translations
    assert translations.pgettext("chore", "For") == of_a_chore
    assert translations.pgettext("duration", "For") == since_when
    assert (translations.pgettext("noun", "Pause"), translations.gettext("Pause")) == (heading, button)


_LETTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")) | st.sampled_from('\n\t"\\')


@given(
    st.dictionaries(st.text(_LETTERS, min_size=1, max_size=20), st.text(_LETTERS, min_size=1), max_size=5),
    st.text(_LETTERS, max_size=9),
)
def test_catalogues_are_read_as_babel_writes_them(texts, context):
    catalogue = Catalog(locale="de", fuzzy=False)
    for key, text in texts.items():
        catalogue.add(key, text, context=context or None)
    written = io.BytesIO()
    write_po(written, catalogue)
    found = parse_po(written.getvalue().decode())
    found.pop("")
    assert found == {f"{context}\x04{key}" if context else key: text for key, text in texts.items()}


@pytest.mark.parametrize("code", TRANSLATED)
def test_translations_have_the_same_values_and_tags(code):
    for each in updated(code):
        for english, text in forms(each) if each.id else ():
            for pattern in (r"%\(\w+\)s", r"<[^>]+>", r"\{\w+\}"):
                names = re.findall(pattern, english)
                # A menu's entries may be named in other words, values and the rest of the tags may not.
                kept = [name for name in re.findall(pattern, text) if name not in {"<i>", "</i>"}]
                assert not text or sorted(kept) == sorted(name for name in names if name not in {"<i>", "</i>"}), (
                    english,
                    text,
                )
            if "<" not in english:
                assert '"' not in text, text  # it may stand in an attribute
                assert "<" not in text, text


@pytest.mark.parametrize(
    ("code", "count", "said"),
    [
        ("en", 0, "0 lists"),
        ("en", 1, "1 list"),
        ("de", 0, "0 Listen"),
        ("de", 1, "1 Liste"),
        ("fr", 0, "0 liste"),
        ("fr", 1, "1 liste"),
        ("fr", 2, "2 listes"),
        ("es", 1, "1 lista"),
        ("es", 12000, "12.000 listas"),
        ("pt", 0, "0 listas"),
        ("pt-BR", 0, "0 lista"),
        ("pt-BR", 1, "1 lista"),
        ("pt-BR", 2, "2 listas"),
        ("de", 12000, "12.000 Listen"),
    ],
)
def test_plural_forms_and_numbers(code, count, said):
    assert language(code).ngettext("%(count)s list", "%(count)s lists", count) == said


@pytest.mark.parametrize(
    ("code", "today", "this_year", "earlier", "ago"),
    [
        ("en", "21:26", "3 Feb 09:05", "3 Feb 2025", "3 hours ago"),
        ("de", "21:26", "3. Feb. 09:05", "3. Feb. 2025", "vor 3 Stunden"),
        ("fr", "21:26", "3 févr. 09:05", "3 févr. 2025", "il y a 3 heures"),
        ("es", "21:26", "3 feb 9:05", "3 feb 2025", "hace 3 horas"),
        ("pt", "21:26", "3/02 09:05", "3/02/2025", "há 3 horas"),
        ("pt-BR", "21:26", "3 de fev. 09:05", "3 de fev. de 2025", "há 3 horas"),
    ],
)
def test_dates_times_and_durations_are_those_of_the_language(code, today, this_year, earlier, ago):
    reader, where = language(code), ZoneInfo("Europe/Lisbon")
    assert reader.clock(NOW, NOW, where) == today
    assert reader.clock(datetime(2026, 2, 3, 9, 5, tzinfo=UTC).timestamp(), NOW, where) == this_year
    assert reader.clock(datetime(2025, 2, 3, 9, 5, tzinfo=UTC).timestamp(), NOW, where) == earlier
    assert reader.ago(3 * 3600) == ago


def browser(web, **headers):
    return httpx.Client(
        base_url=web.url, trust_env=False, timeout=30, headers={"origin": web.url} | headers, verify=False
    )


def test_the_browsers_language_applies_until_one_is_chosen(web):
    with browser(web, **{"accept-language": "nl,fr;q=0.8,de;q=0.5"}) as person:
        page = person.get("/settings")
        assert '<html lang="fr" dir="ltr">' in page.text
        assert page.headers["content-language"] == "fr"
        answer = person.post("/language", data={"language": "de", "back": "/settings"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/settings")
        assert all(flag in answer.headers["set-cookie"].lower() for flag in ("httponly", "samesite=strict"))
        assert "Einstellungen" in person.get("/settings").text
        person.post("/language", data={"language": "", "back": "/settings"})
        assert "Réglages" in person.get("/settings").text
        assert person.post("/language", data={"language": "xx", "back": "//evil.example"}).headers["location"] == "/"


def test_readers_in_brazil_and_in_portugal_get_different_catalogues(web):
    brazil, portugal = ("pt-BR", "Configurações", "Definições"), ("pt", "Definições", "Configurações")
    for field, (code, said, other) in {
        "pt-BR,pt;q=0.9,en;q=0.8": brazil,
        "pt-PT,pt;q=0.9": portugal,
        "pt": portugal,
    }.items():
        with browser(web, **{"accept-language": field}) as person:
            page = person.get("/settings")
            assert page.headers["content-language"] == code
            assert f'<html lang="{code}" dir="ltr">' in page.text
            assert said in page.text
            assert other not in page.text
            person.post("/language", data={"language": "pt-BR", "back": "/settings"})
            assert "Configurações" in person.get("/settings").text, "the cookie decides"


def test_refusals_and_changes_are_translated(web):
    with browser(web, **{"accept-language": "es"}) as person:
        refused = person.post("/people", data={"name": "zoe", "age": "300"})
        assert (refused.status_code, "Escribe la edad en años." in refused.text) == (422, True)
        person.post("/people", data={"name": "zoe", "age": "3"})
        assert "zoe: añadido." in person.get("/changes").text
        assert person.get("/api/v1/changes").json()[0]["summary"] == "zoe: añadido."
        problem = person.delete("/api/v1/people/nobody")
        assert problem.json()["detail"] == "The policy has no person called 'nobody'.", (
            "scripts are answered in English"
        )


class Marked(gettext.NullTranslations):
    """Puts brackets around every translated text."""

    def gettext(self, message):
        return f"⟦{message}⟧"

    def pgettext(self, context, message):
        return self.gettext(message)

    def ngettext(self, msgid1, msgid2, n):
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


class Unmarked(HTMLParser):
    """Collects texts that were not translated, except names and data, which are in `bdi` and similar tags."""

    DATA = frozenset({"bdi", "code", "option", "time", "pre", "script", "svg", "textarea"})

    def __init__(self, page):
        super().__init__()
        self.found, self._inside, self._depth = [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag in self.DATA:
            self._inside.append(tag)
        for name, value in attrs:
            if (
                name in {"aria-label", "title", "placeholder", "alt"}
                and re.search(r"[^\W\d_]{3}", value or "")
                and "⟦" not in value
            ):
                self.found.append(value)

    def handle_endtag(self, tag):
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data):
        outside = ""
        for part in re.split(r"([⟦⟧])", data):
            if part in "⟦⟧":
                self._depth += {"⟦": 1, "⟧": -1}.get(part, 0)
            elif not self._depth:
                outside += part
        if not self._inside and re.search(r"[^\W\d_]{3}", outside):
            self.found.append(outside.strip())


def test_every_text_of_the_pages_is_in_the_catalogue(web, monkeypatch):
    fill(web)
    marked = language("de")
    monkeypatch.setattr(marked, "translations", Marked())
    days = [marked.day(day, width) for day in range(7) for width in ("wide", "abbreviated")]
    services = [service.title for service in Services.load().by_id.values()]
    words = (
        "Hedgerow mia tom Ana Europe Lisbon Android Windows Mac Linux Firefox Debian Ubuntu Fedora CSV homework und"
        " example org games"
    )
    words += (
        " https list txt vor Stunden Tagen Tage Minuten ana@mail.example smtp.mail.example ntfy:// mother admin"
        " scratch.mit.edu"
    )
    words += " " + " ".join(zone.replace("_", " ").replace("/", " ") for zone in available_timezones())
    data = {
        *days,
        *LANGUAGES.values(),
        *services,
        *category_titles("de").values(),
        *DAY_NAMES,
        "SHA-256",
        *words.split(),
    }
    pattern = "|".join(sorted((re.escape(word) for word in data), key=len, reverse=True))
    with browser(web, **{"accept-language": "de"}) as person:
        person.post("/start/password", data={"name": "ana", "password": "four words and more", "code": SETUP_CODE})
        person.post("/people", data={"name": "zoe", "age": "3"})
        for path in (*PAGES, "/nowhere"):
            page = person.get(path)
            # words of the block page
            own = re.sub(r'<section class="care".*?</section>|<a href="#care">.*?</a>', "", page.text, flags=re.DOTALL)
            left = [text for text in Unmarked(own).found if re.search(r"[^\W\d_]{3}", re.sub(pattern, "", text))]
            assert left == [], path


OTHER_WORDS = {
    "de": {"Theke": r"Tresen", "Benachrichtigung": r"\bMitteilung(?:en)?\b", "Regeldatei": r"\bPolicy\b"},
    "fr": {"poste": r"\b(?:une|la) place (?:libre|occupée|d’un café)|^Places?$", "coupon": r"^Bons?\b|\bbons pour\b"},
    "es": {"puerta de enlace": r"pasarela", "reglas": r"\b[Pp]olítica\b"},
    "pt": {"site": r"\b[Ss]ítios?\b", "cifrado": r"[Ee]ncriptad"},
    "pt-BR": {"dispositivo": r"[Aa]parelho", "vale": r"[Vv]oucher"},
    "ar": {"الفلتر": r"مرشّح"},
}
"""For each language the word that its pages use for a thing, and the other one that they do not use beside it."""


@pytest.mark.parametrize("code", OTHER_WORDS)
def test_one_word_for_one_thing(code):
    """Also within a language, a reader takes two words for two things: what it is called on one page, it is called on
    all.
    """
    texts = [text for each in updated(code) if each.id for _, text in forms(each)]
    for word, other in OTHER_WORDS[code].items():
        assert any(word in text for text in texts), word
        assert [text for text in texts if re.search(other, text)] == [], word
