"""Suggestions for mistakes: the text after "Did you mean". Never used to interpret what was written."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date
from functools import cache

from hedgerow.policies.text.addresses import parse_network
from hedgerow.policies.text.data_files import read_data

LONGEST_GUESSED = 200
"""Characters of a text whose meaning is guessed.

The guesses take more than linear time, and nobody writes a time or a name that long.
"""
_SHORT_WORD = 4  # letters; shorter words must match more closely
_CLOCK = re.compile(
    r"(\d{1,2})(?:[.:h ]*(\d{2}))?h?\s*(?:(am|pm|a\.m\.|p\.m\.)|uhr|heures?|horas?|o'clock)?", re.IGNORECASE
)
_DAYS_AND_TIMES = re.compile(r"((?:[^\W\d]|[ ,&-])*?)\s*(?:from |von |de |desde )?(\d.*)?", re.IGNORECASE | re.DOTALL)
_HALF_DAYS = {"am": 0, "pm": 12}


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?` for a word that is not one of `known`; empty if none is similar.

    >>> (suggest("tik-tok", ["tiktok", "twitch"]), suggest("Kinder", ["people", "devices"]),
    ...  suggest("AI", ["chai", "ai-chat"]))
    (' Did you mean tiktok?', ' Did you mean people?', ' Did you mean ai-chat?')
    """
    if len(word) > LONGEST_GUESSED:
        return ""
    candidates = {_normalised(name): name for name in known}
    plain = _normalised(word)
    near = candidates.get(plain) or next(
        (candidates[each] for each in _synonyms().get(plain, ()) if each in candidates), None
    )
    if near is None:
        found = difflib.get_close_matches(plain, candidates, n=1, cutoff=0.66 if len(plain) <= _SHORT_WORD else 0.6)
        near = candidates[found[0]] if found else None
    return did_you_mean(near)


def did_you_mean(meant: str | None) -> str:
    return f" Did you mean {meant}?" if meant else ""


def with_hint(sentence: object, hint: str) -> str:
    """Join a sentence without a full stop and the question after it, if there is one."""
    return f"{sentence}.{hint}" if hint else str(sentence)


def guess_clock(text: str) -> str | None:
    """Return the time of day that another notation means, as HH:MM; None if it is not one.

    >>> [guess_clock(text) for text in ("8pm", "8:30 PM", "20.30", "21h", "2030", "20 Uhr", "7", "half eight")]
    ['20:00', '20:30', '20:30', '21:00', '20:30', '20:00', '07:00', None]
    """
    match = _CLOCK.fullmatch(text.strip()) if len(text) <= LONGEST_GUESSED else None
    if match is None:
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").replace(".", "").lower()
    if half:
        hour = hour % 12 + _HALF_DAYS[half] if hour <= 12 else 99
    return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else None


def guess_interval(text: str) -> str | None:
    """Return the time span that another notation means; with days before it, as a mapping.

    >>> [guess_interval(text) for text in ("from 8:30pm to 7am", "22 bis 6.30", "mon to fri 14-16", "20:30")]
    ['"20:30-07:00"', '"22:00-06:30"', '{mon-fri: "14:00-16:00"}', None]
    """
    match = _DAYS_AND_TIMES.fullmatch(text.strip()) if len(text) <= LONGEST_GUESSED else None
    if match is None:
        return None
    days, times = match.groups()
    parts = re.split(r"\s*(?:-|–|—|\bto\b|\bbis\b|\buntil\b|\btill\b|\bà\b|\ba\b|\bhasta\b|\baté\b)\s*", times or "")
    clocks = [guess_clock(part) for part in parts]
    if len(clocks) != 2 or None in clocks:
        return None
    stretch = f'"{clocks[0]}-{clocks[1]}"'
    if not days.strip(" -,") or days.strip().lower() in {"from", "von", "de", "desde"}:
        return stretch
    named = guess_days(days)
    return None if named is None else f"{{{named}: {stretch}}}"


def guess_days(text: str) -> str | None:
    """Return the days that another notation means.

    >>> [guess_days(text) for text in ("Schultage", "monday to friday", "lundi", "someday")]
    ['school-days', 'mon-fri', 'mon', None]
    """
    if len(text) > LONGEST_GUESSED:
        return None
    parts = [
        _guess_day(part)
        for part in re.split(r"\s*(?:-|–|\bto\b|\bbis\b|\bà\b|\ba\b)\s*", text.strip(" -,"), flags=re.IGNORECASE)
    ]
    if len(parts) > 2 or None in parts or (len(parts) == 2 and not all(len(part or "") == 3 for part in parts)):
        return _guess_day(text)
    return "-".join(part for part in parts if part)


def _guess_day(text: str) -> str | None:
    plain = _normalised(text)
    days = (
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
        "every-day",
        "school-days",
        "school-nights",
        "weekdays",
        "weekend",
        "holidays",
    )
    if plain.endswith("day") and plain[:3] in days:
        return plain[:3]
    return next((day for day in days if plain == day or day in _synonyms().get(plain, ())), None)


def guess_amount(text: str) -> str | None:
    """Return the amount of time that another notation means.

    >>> [guess_amount(text) for text in ("2 hours", "1,5h", "90 minutes", "1:30", "3 Stunden", "1 hour 30 min", "long")]
    ['2h', '1.5h', '90m', '1h30m', '3h', '1h30m', None]
    """
    if len(text) > LONGEST_GUESSED:
        return None
    words = text.strip().lower()
    if clock := re.fullmatch(r"(\d{1,2}):(\d{2})", words):
        return f"{int(clock[1])}h{clock[2]}m"
    match = re.fullmatch(
        r"(?:(\d+(?:[.,]\d)?)\s*(?:h\w*|st\w*|uur|hrs?))?\s*(?:and|und|et|y|e)?\s*(?:(\d+)\s*(?:m\w*)?)?", words
    )
    if match is None or match[1] is match[2] is None:
        return None
    return (f"{match[1].replace(',', '.')}h" if match[1] else "") + (f"{match[2]}m" if match[2] else "")


def guess_mac(text: str) -> str | None:
    """Return the MAC address that another notation means.

    >>> [guess_mac(text) for text in ("AABBCCDDEEFF", "aabb.ccdd.eeff", "aa bb cc dd ee ff", "aa:bb:cc:dd:ee")]
    ['aa:bb:cc:dd:ee:ff', 'aa:bb:cc:dd:ee:ff', 'aa:bb:cc:dd:ee:ff', None]
    """
    digits = re.sub(r"[\s.:-]", "", text).lower()
    return ":".join(re.findall("..", digits)) if re.fullmatch(r"[0-9a-f]{12}", digits) else None


def guess_network(text: str) -> str | None:
    """Return the IPv4 address or network that another notation means.

    >>> guess_network("192.168.1.*"), guess_network("10.0.*.*"), guess_network("192,168,1,9"), guess_network("home")
    ('192.168.1.0/24', '10.0.0.0/16', '192.168.1.9', None)
    """
    parts = re.split(r"[.,]", text.strip())
    named = [part for part in parts if part != "*"]
    if len(parts) != 4 or parts[: len(named)] != named or not all(re.fullmatch(r"\d{1,3}", part) for part in named):
        return None
    meant = ".".join([*named, *["0"] * (4 - len(named))]) + (f"/{8 * len(named)}" if len(named) < 4 else "")
    return meant if meant != text and parse_network(meant) is not None else None


def guess_date(text: str) -> str | None:
    """Return the date that another notation means, if it is unambiguous.

    >>> [guess_date(text) for text in ("24.12.2026", "24/12/2026", "12/24/2026", "4/5/2026", "2026/12/24",
    ...  "24.12.26 18:00")]
    ['2026-12-24', '2026-12-24', '2026-12-24', None, '2026-12-24', '2026-12-24 18:00']
    """
    match = re.fullmatch(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[ T]+(\d{1,2}:\d{2}))?", text.strip())
    if match is None:
        return None
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    if first > 31:
        found = [(first, second, third)]
    else:
        year = third + 2000 if third < 100 else third
        readings = [(year, second, first)] + ([(year, first, second)] if match[2] == "/" else [])
        found = [each for each in dict.fromkeys(readings) if each[1] <= 12]
    try:
        return f"{date(*found[0])}{f' {match[5]}' if match[5] else ''}" if len(found) == 1 else None
    except ValueError:
        return None


def guess_list(text: str, is_known: Callable[[str], bool]) -> str | None:
    """Return the list that a text with several known names should be.

    >>> guess_list("TikTok, Roblox and x", {"tiktok", "roblox", "x"}.__contains__)
    '[tiktok, roblox, x]'
    """
    if len(text) > LONGEST_GUESSED:
        return None
    for separator in (r"\s*[,;&+/]\s*|\s+(?:and|und|et|y|e)\s+", r"\s+"):
        names = [name.lower() for name in re.split(separator, text.strip()) if name]
        if len(names) > 1 and all(map(is_known, names)):
            return f"[{', '.join(names)}]"
    return None


def _normalised(word: str) -> str:
    """Return a word in lower case without accents, with hyphens between its parts.

    >>> _normalised("Âge"), _normalised("Safe_Search ")
    ('age', 'safe-search')
    """
    letters = "".join(
        sign for sign in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(sign)
    )
    return re.sub(r"[\s_-]+", "-", letters.strip())


@cache
def _synonyms() -> dict[str, tuple[str, ...]]:
    """Return the keys and names that each common synonym may stand for, all normalised."""
    meant: dict[str, list[str]] = {}
    for ours, others in read_data("spoken.yaml").items():
        for other in others:
            meant.setdefault(_normalised(str(other)), []).append(_normalised(ours))
    return {other: tuple(ours) for other, ours in meant.items()}
