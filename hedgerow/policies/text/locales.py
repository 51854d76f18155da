"""Languages of the interface and their message catalogues; countries; suggestions for misspelt countries and time
zones.

A catalogue is a GNU gettext `.po` file next to the pages, which have most of the messages. It is read without compiling
and without Babel, which workers do not load. A language is available as soon as its file is there.
"""

from __future__ import annotations

import gettext
import io
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from zoneinfo import available_timezones

from hedgerow.policies.text.suggestions import did_you_mean, suggest

CATALOGUES_DIR = Path(__file__).parents[2] / "dashboards" / "words"
SOURCE_LANGUAGE, SOURCE_NAME = "en", "English"
NAME_CONTEXT = "language"
"""Context of the message `English`, whose translation is the language's own name for itself."""

_NATIVE_NAME = re.compile(
    f'^msgctxt "{NAME_CONTEXT}"\nmsgid "{SOURCE_NAME}"\nmsgstr "([^"\n]+)"$'.encode(), re.MULTILINE
)
_STRING = re.compile(r'^(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?)?[ \t]*"(.*)"[ \t\r]*$', re.MULTILINE)
_FUZZY = re.compile(r"^#,.*\bfuzzy\b", re.MULTILINE)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_MO_MAGIC = 0x950412DE

_RIGHT_TO_LEFT = frozenset({"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})

# ISO 3166-1 alpha-2.
_COUNTRY_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD
CF CG CH CI CK CL
CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN
GP GQ GR GS GT GU
GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
LT LU LV LY MA MC
MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK
PL PM PN PR PS PT
PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
TR TT TV TW TZ UA
UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRY_CODES.split())

_COMMON_NAMES = {
    "uk": "GB",
    "el": "GR",
    "en": "GB",
    "usa": "US",
    "england": "GB",
    "america": "US",
    "scotland": "GB",
    "wales": "GB",
}
_MAX_SUGGESTED_ZONES = 4


def message(text: str) -> str:
    """Mark a text for translation. It is translated where it is shown."""
    return text


def catalogue_path(code: str) -> Path:
    """Return the path of a catalogue, named after the locale: `pt_BR.po` for `pt-BR`."""
    return CATALOGUES_DIR / f"{code.replace('-', '_')}.po"


def native_names() -> dict[str, str]:
    """Return the languages by BCP 47 tag with their own names, English first, then in the order of their names."""
    named = {(code := path.stem.replace("_", "-")): _native_name(path) or code for path in CATALOGUES_DIR.glob("*.po")}
    return {SOURCE_LANGUAGE: SOURCE_NAME} | dict(sorted(named.items(), key=lambda item: item[1].casefold()))


def _native_name(path: Path) -> str:
    match = _NATIVE_NAME.search(path.read_bytes())
    return match[1].decode() if match else ""


LANGUAGES = native_names()
"""Native names of the languages by BCP 47 tag:

English, and every language with a catalogue. `pt` is European Portuguese.
"""


@cache
def read_translations(code: str) -> gettext.NullTranslations:
    """Return the translations of a language; its missing messages stay English. Raises `OSError`."""
    if code == SOURCE_LANGUAGE:
        return gettext.NullTranslations()
    return gettext.GNUTranslations(io.BytesIO(_compiled(parse_po(catalogue_path(code).read_text(encoding="utf-8")))))


def parse_po(text: str) -> dict[str, str]:
    r"""Return the translated messages of a catalogue, with keys and values as in a `.mo` file.

    Fuzzy and incomplete ones are left out.

    >>> parse_po('msgctxt "page"\nmsgid "Yes"\nmsgstr ""\n"J"\n"a"\n\nmsgid "No"\nmsgstr ""\n')
    {'page\x04Yes': 'Ja'}
    """
    return dict(pair for block in re.split(r"\n[ \t\r]*\n", text) if not _FUZZY.search(block) for pair in _entry(block))


def _entry(block: str) -> Iterator[tuple[str, str]]:
    fields: dict[str, str] = {}
    keyword = ""
    for named, value in _STRING.findall(block):
        keyword = named or keyword
        fields[keyword] = fields.get(keyword, "") + _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), value)
    strings = [value for name, value in fields.items() if name.startswith("msgstr")]
    if "msgid" in fields and strings and all(strings):
        context = f"{fields['msgctxt']}\x04" if "msgctxt" in fields else ""
        plural = f"\0{fields['msgid_plural']}" if "msgid_plural" in fields else ""
        yield f"{context}{fields['msgid']}{plural}", "\0".join(strings)


def _compiled(messages: Mapping[str, str]) -> bytes:
    """Return the messages in the format of `.mo` files (GNU gettext manual, section 10.3), without a hash table."""
    keys, values = ([text.encode() for text in texts] for texts in (messages.keys(), messages.values()))
    tables_size, place = 2 * 8 * len(keys), 28 + 2 * 8 * len(keys)
    index, strings = bytearray(), bytearray()
    for text in (*keys, *values):
        index += struct.pack("<2I", len(text), place + len(strings))
        strings += text + b"\0"
    head = struct.pack("<7I", _MO_MAGIC, 0, len(keys), 28, 28 + tables_size // 2, 0, 0)
    return head + bytes(index) + bytes(strings)


def text_direction(language: str) -> str:
    """Return the value of the HTML attribute `dir` for a language.

    >>> text_direction("ar"), text_direction("pt-BR")
    ('rtl', 'ltr')
    """
    return "rtl" if language.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"


def guess_country(text: str) -> str | None:
    """Return the code of a country from its name in a language of the pages, or None.

    >>> guess_country("Deutschland"), guess_country("UK"), guess_country("France"), guess_country("Narnia")
    ('DE', 'GB', 'FR', None)
    """
    return _COMMON_NAMES.get(text.casefold()) or _country_names().get(text.casefold())


def suggest_timezone(text: str) -> str:
    """Return ` Did you mean …?` for an unknown time zone: by its city, its country, or similar spelling; empty if
    nothing is near.

    >>> (suggest_timezone("lisbon"), suggest_timezone("Germany").endswith(" Did you mean Europe/Berlin?"),
    ...  suggest_timezone("GMT+1"))
    (' Did you mean Europe/Lisbon?', True, '')
    """
    # Etc/GMT+1 is an hour behind Greenwich, not ahead, and has no summer time.
    zones = {zone for zone in available_timezones() if not zone.startswith("Etc/")}
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in sorted(zones)}
    city = cities.get(text.rpartition("/")[2].casefold().replace(" ", "_"))
    if city is not None:
        return did_you_mean(city)
    if re.fullmatch(r"(gmt|utc)?\s*[+-]?\d+(:\d+)?", text, re.IGNORECASE):
        return ""
    country = guess_country(text)
    of_country = [zone for zone in sorted(time_zones_of(country)) if zone in zones] if country else []
    return (
        did_you_mean(" or ".join(of_country)) if 0 < len(of_country) <= _MAX_SUGGESTED_ZONES else suggest(text, zones)
    )


@cache
def _country_names() -> dict[str, str]:
    from babel import Locale  # larger than this package, and needed for mistakes only

    locales = ("pt_PT" if code == "pt" else code.replace("-", "_") for code in LANGUAGES)
    return {
        name.casefold(): code
        for each in locales
        for code, name in Locale.parse(each).territories.items()
        if len(code) == 2
    }


def time_zones_of(country: str) -> tuple[str, ...]:
    """Return the time zones of a country by its ISO 3166 code."""
    from babel.core import get_global

    # Büsingen is a village, whose zone would make Germany ambiguous.
    return tuple(zone for zone in get_global("territory_zones").get(country, ()) if zone != "Europe/Busingen")
