"""Languages of the interface, countries, and suggestions for misspelt countries and time zones."""

from __future__ import annotations

import re
from functools import cache
from zoneinfo import available_timezones

from hedgerow.policies.text.catalogues import native_names
from hedgerow.policies.text.suggestions import did_you_mean, suggest

LANGUAGES = native_names()
"""Native names of the languages by BCP 47 tag: English, and every language with a catalogue. `pt` is European Portuguese."""

_RIGHT_TO_LEFT = frozenset({"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})

# ISO 3166-1 alpha-2.
_COUNTRY_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL
CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU
GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC
MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT
PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA
UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRY_CODES.split())

_COMMON_NAMES = {"uk": "GB", "el": "GR", "en": "GB", "usa": "US", "england": "GB", "america": "US", "scotland": "GB", "wales": "GB"}
_MAX_SUGGESTED_ZONES = 4


def text_direction(language: str) -> str:
    """Return the value of the HTML attribute `dir` for a language.

    >>> text_direction("ar"), text_direction("pt-BR")
    ('rtl', 'ltr')
    """
    return "rtl" if language.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"


def meant_country(text: str) -> str | None:
    """Return the code of a country from its name in a language of the pages, or None.

    >>> meant_country("Deutschland"), meant_country("UK"), meant_country("France"), meant_country("Narnia")
    ('DE', 'GB', 'FR', None)
    """
    return _COMMON_NAMES.get(text.casefold()) or _country_names().get(text.casefold())


def suggest_timezone(text: str) -> str:
    """Return ` Did you mean …?` for an unknown time zone: by its city, its country, or similar spelling; empty if nothing is near.

    >>> suggest_timezone("lisbon"), suggest_timezone("Germany").endswith(" Did you mean Europe/Berlin?"), suggest_timezone("GMT+1")
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
    country = meant_country(text)
    of_country = [zone for zone in sorted(_time_zones_of(country)) if zone in zones] if country else []
    return did_you_mean(" or ".join(of_country)) if 0 < len(of_country) <= _MAX_SUGGESTED_ZONES else suggest(text, zones)


@cache
def _country_names() -> dict[str, str]:
    from babel import Locale  # larger than this package, and needed for mistakes only

    locales = ("pt_PT" if code == "pt" else code.replace("-", "_") for code in LANGUAGES)
    return {name.casefold(): code for each in locales for code, name in Locale.parse(each).territories.items() if len(code) == 2}


def _time_zones_of(country: str) -> tuple[str, ...]:
    from babel.core import get_global

    # Büsingen is a village, whose zone would make Germany ambiguous.
    return tuple(zone for zone in get_global("territory_zones").get(country, ()) if zone != "Europe/Busingen")
