"""Ad blockers' lists (Adblock Plus, AdGuard, uBlock Origin): `||host^`, paths, and `@@` exceptions.

Source of the language: https://adguard.com/kb/general/ad-filtering/create-own-filters/. Cosmetic rules are for browsers and
counted as ignored. A rule with a modifier that is not honoured here, or a regular expression, is a problem and left out:
it is never applied more widely than its author meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hedgerow.blocklists.names import HOST, load_public_suffixes, parse_host
from hedgerow.blocklists.rules import Parsed, Problem, UrlRule

_COSMETIC = re.compile(r"#[@?$%]{0,3}#|\$\$|#@?\$\??#")
_HOST_RULE = re.compile(r"\|\|([^/^*|$:]+)\^?\|?")
_ANCHORED = re.compile(r"\|\|([^/^*|$:?]+)([/^:?].*)")
_WITH_SCHEME = re.compile(r"\|?https?://([^/^*|$:?]+)([/^:?].*)", re.IGNORECASE)
_MODIFIERS = re.compile(r"\$((?:~?[\w-]+(?:=[^,]*)?)(?:,~?[\w-]+(?:=.*)?)*)$")
_SHORTEST = 4
"""A pattern without a host must hold at least so many letters and digits, or it would match nearly everything."""


def is_header(line: str) -> bool:
    return line.lower().startswith(("[adblock", "[adguard", "[ublock"))


def is_typical(line: str) -> bool:
    return line.startswith(("||", "@@", "|http", "/")) or "##" in line or "#@#" in line or line.endswith("^")


def is_comment(line: str) -> bool:
    return line.startswith("!") or is_header(line) or (line.startswith("#") and _COSMETIC.match(line) is None)


def parse(lines: Sequence[str], first: int, source: str) -> Parsed:
    """Reads lines of which the first has the number `first`."""
    parsed = Parsed()
    add, matches = parsed.hosts.append, HOST.fullmatch
    for number, raw in enumerate(lines, first):
        line = raw.strip()
        # The common line: ||name^ with a canonical name that can be neither an address nor one label.
        if line[:2] == "||" and line[-1] == "^" and matches(name := line[2:-1]) and name[-1] >= "a" and "." in name:
            add(name)
        else:
            _parse_other(line, number, source, parsed)
    return parsed


def _parse_other(line: str, number: int, source: str, parsed: Parsed) -> None:
    if not line or is_comment(line):
        parsed.ignored["comments"] += 1
        return
    if _COSMETIC.search(line):
        parsed.ignored["cosmetic rules"] += 1
        return
    body = line.removeprefix("@@")
    problem = _unsupported(body)
    if problem is not None:
        parsed.problems.append(Problem(source, number, 1, problem, line[:200]))
        return
    _parse_network_rule(body, line, number, source, parsed)


def _unsupported(body: str) -> str | None:
    """Why a network rule cannot be honoured, None if it can."""
    modifiers = _MODIFIERS.search(body)
    if len(body) > 2 and body.startswith("/") and (body.endswith("/") or (modifiers and body[: modifiers.start()].endswith("/"))):
        return "regular expressions are not supported"
    if modifiers is None:
        return "a $ that begins no modifier" if "$" in body else None
    first = re.split(r"[,=]", modifiers[1], maxsplit=1)[0].removeprefix("~")
    return f"modifier not supported: ${first}"


def _parse_network_rule(body: str, line: str, number: int, source: str, parsed: Parsed) -> None:
    exception = line.startswith("@@")
    whole = _HOST_RULE.fullmatch(body)
    host = parse_host(whole[1]) if whole else _bare_host(body)
    if host is not None:
        if "." not in host and ":" not in host:
            message = "a single label would block a whole top-level domain"
            parsed.problems.append(Problem(source, number, 1, message, line[:200]))
        else:
            (parsed.excepted if exception else parsed.hosts).append(host)
    elif whole:
        parsed.problems.append(Problem(source, number, 3, "not a host name", line[:200]))
    else:
        _add_url_rule(body, exception, line, number, source, parsed)


def _bare_host(body: str) -> str | None:
    """A name that stands alone, as in lists for DNS; `ads.js` is no name, but a piece of a URL."""
    name = body.lower()
    if HOST.fullmatch(name) and "." in name and name.rpartition(".")[2] in load_public_suffixes().registries:
        return parse_host(name)
    return None


def _add_url_rule(body: str, exception: bool, line: str, number: int, source: str, parsed: Parsed) -> None:
    anchored = _ANCHORED.fullmatch(body) or _WITH_SCHEME.fullmatch(body)
    host = parse_host(anchored[1]) if anchored else ""
    if host is None:
        parsed.problems.append(Problem(source, number, 3, "not a host name", line[:200]))
        return
    pattern = f"||{host}{anchored[2]}" if anchored and body.startswith("||") else body
    problem = None if host else _too_wide(pattern.lower())
    if problem is not None:
        parsed.problems.append(Problem(source, number, 1, problem, line[:200]))
        return
    parsed.urls.append(UrlRule(pattern, host, number, line[:1000], exception))


def _too_wide(pattern: str) -> str | None:
    """What is wrong with a pattern without a host that would match nearly everything, or all sites under a public suffix."""
    telling = re.sub(r"https?:|www\.", "", pattern)
    if sum(character.isalnum() for character in telling) < _SHORTEST:
        return "too short: it would match nearly every URL"
    if telling.strip("|*^./:") in load_public_suffixes().registries:
        return "a public suffix, under which strangers have their sites"
    return None
