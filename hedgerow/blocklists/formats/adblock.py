"""Ad blockers' lists (Adblock Plus, AdGuard, uBlock Origin):

`||host^`, paths, regular expressions, `@@` exceptions and modifiers.

Source of the language: https://adguard.com/kb/general/ad-filtering/create-own-filters/. Cosmetic rules are for browsers
and counted as ignored. A rule with a modifier that is not honoured is left out, and a problem names the modifier: a
rule is never applied more widely than its author meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hedgerow.blocklists.formats.line_parser import NOT_A_HOST, PUBLIC_SUFFIX, SINGLE_LABEL, ListFormat
from hedgerow.blocklists.formats.regex import TOO_WIDE
from hedgerow.blocklists.names import HOST, load_public_suffixes, parse_host
from hedgerow.blocklists.patterns import BadRegex, compile_regex, literal_fragments, matches_nearly_everything
from hedgerow.blocklists.rule_modifiers import NO_MODIFIERS, RuleModifiers, UnsupportedModifier, parse_modifiers
from hedgerow.blocklists.rules import ParsedLines, PatternKind, Problem, UrlRule

_COSMETIC = re.compile(r"#[@?$%]{0,3}#|\$\$|\$@\$|#@?\$\??#")
_COSMETIC_MODIFIERS = frozenset(
    {"generichide", "ghide", "elemhide", "ehide", "specifichide", "shide", "jsinject", "content"}
)
_HOST_RULE = re.compile(r"\|\|([^/^*|$:]*[^/^*|$:.])(?:\^\|?|\||\^\*)?")
_WILD_HOST = re.compile(r"\|\|([\w.-]*+\*[\w.*-]*+)\^\|?")
_ANCHORED = re.compile(r"\|\|([^/^*|$:?]+)([/^:?].*)")
_WITH_SCHEME = re.compile(r"\|?https?://([^/^*|$:?]+)([/^:?].*)", re.IGNORECASE)
_FIRST_MODIFIER = re.compile(r"\$~?+[\w-]++(?=[=,]|\Z)")
_NEXT_MODIFIER = re.compile(r",\s*+~?+[\w-]++")
_ENDING = re.compile(r"\|*(?:://)?\*?\.?([^/*^|:]+)[/^|][/*^|]*|\|*(?:://)?\*?\.([^/*^|:.]+)\*?")
_SHORTEST = 4
"""Letters and digits that a pattern without a host must have, or it would match nearly everything.

One less is enough between separators, as in `/ads/` and `://ads.`.
"""


class _Line(NamedTuple):
    """A line with a network rule. `body` is the pattern without `@@` and modifiers."""

    text: str
    number: int
    body: str
    exception: bool
    options: str
    conditions: RuleModifiers


def is_header(line: str) -> bool:
    return line.lower().startswith(("[adblock", "[adguard", "[ublock"))


def _is_typical(line: str) -> bool:
    return line.startswith(("||", "@@", "|http", "/")) or "##" in line or "#@#" in line or line.endswith("^")


def _is_comment(line: str) -> bool:
    return line.startswith("!") or is_header(line) or (line.startswith("#") and _COSMETIC.match(line) is None)


def _parse(lines: Sequence[str], first: int, source: str) -> ParsedLines:
    parsed = ParsedLines()
    add, matches = parsed.hosts.append, HOST.fullmatch
    for number, raw in enumerate(lines, first):
        line = raw.strip()
        # The common line: ||name^ with a canonical name that can be neither an address nor one label.
        if (
            line[:2] == "||"
            and line[-1] == "^"
            and matches(name := line[2:-1])
            and name[-1] >= "a"
            and "." in name
            and len(name) < 254
        ):
            add(name)
        else:
            _parse_other(line, number, source, parsed)
    return parsed


def _parse_other(line: str, number: int, source: str, parsed: ParsedLines) -> None:
    if not line or _is_comment(line):
        parsed.ignored["comments"] += 1
    elif _COSMETIC.search(line):
        parsed.ignored["cosmetic rules"] += 1
    else:
        _parse_network_rule(line, number, source, parsed)


def _parse_network_rule(line: str, number: int, source: str, parsed: ParsedLines) -> None:
    body, options = _split_modifiers(line.removeprefix("@@"))
    try:
        conditions = parse_modifiers(options)
    except UnsupportedModifier as modifier:
        if str(modifier) in _COSMETIC_MODIFIERS:
            parsed.ignored["cosmetic rules"] += 1
        else:
            parsed.problems.append(
                Problem(source, number, line.find("$") + 1, f"modifier not honoured: ${modifier}", line[:200])
            )
        return
    if line.startswith("@@") and "dnsrewrite" in options:
        # It would lift rewrites only, never a block.
        parsed.problems.append(
            Problem(
                source, number, line.find("$") + 1, "modifier not honoured: $dnsrewrite of an exception", line[:200]
            )
        )
        return
    problem = _add(_Line(line, number, body, line.startswith("@@"), options, conditions), parsed)
    if problem is not None:
        parsed.problems.append(Problem(source, number, 1, problem, line[:200]))


def _split_modifiers(body: str) -> tuple[str, str]:
    if "$" not in body or (len(body) > 2 and body[0] == body[-1] == "/"):
        return body, ""
    if body[0] == "/" and (end := body.rfind("/$")) > 0 and _find_modifiers(body[end + 1 :]) == 0:
        return body[: end + 1], body[end + 2 :].rstrip(",")
    start = _find_modifiers(body)
    return (body, "") if start < 0 else (body[:start], body[start + 1 :].rstrip(","))


def _find_modifiers(body: str) -> int:
    """Return the place of the first `$` with nothing but modifiers behind it, -1 if there is none.

    Linear: a comma is tried once.

    From the second modifier on, a value ends the search, for it may hold commas.

    >>> _find_modifiers("/ad$x!$script,domain=a.example"), _find_modifiers("/ad$script,!")
    (6, -1)
    """
    tried, comma = set[int](), -1
    for first in _FIRST_MODIFIER.finditer(body):
        at = first.end()
        if body.startswith("=", at):
            if comma < at:
                comma = body.find(",", at) % (len(body) + 1)
            at = comma
        while at < len(body) - 1 and at not in tried:
            tried.add(at)
            following = _NEXT_MODIFIER.match(body, at)
            if following is None:
                break
            at = following.end()
            if body.startswith("=", at):
                return first.start()
        if at >= len(body) - 1 and not body[at : at + 1].strip(","):
            return first.start()
    return -1


def _add(line: _Line, parsed: ParsedLines) -> str | None:
    """Add a rule. Return the problem with it, or None."""
    body = line.body
    if len(body) > 2 and body[0] == body[-1] == "/":
        return _add_regex(line, parsed)
    whole = _HOST_RULE.fullmatch(body)
    host = parse_host(whole[1]) if whole else _bare_host(body)
    if host is not None:
        return _add_host(host, line, parsed)
    if whole:
        return NOT_A_HOST
    wild = _WILD_HOST.fullmatch(body)
    if wild and line.conditions == NO_MODIFIERS:
        return _add_wild_host(wild[1].lower(), line, parsed)
    return _add_url_rule(line, parsed)


def _bare_host(body: str) -> str | None:
    """Return a name without any pattern, as in lists for DNS. `ads.js` is not a name but a piece of a URL."""
    name = body.lower()
    if HOST.fullmatch(name) and "." in name and name.rpartition(".")[2] in load_public_suffixes().registries:
        return parse_host(name)
    return None


def _add_host(host: str, line: _Line, parsed: ParsedLines) -> str | None:
    if "." not in host and ":" not in host:
        return SINGLE_LABEL
    conditions = line.conditions
    if conditions.badfilter or not conditions.applies_to_whole_host:
        if host in load_public_suffixes().registries and not line.exception:
            return PUBLIC_SUFFIX
        parsed.urls.append(UrlRule(f"||{host}^", host, line.number, line.text[:1000], line.exception, line.options))
    elif line.exception:
        parsed.excepted.append(host)
    else:
        parsed.hosts.append(host)
        parsed.important += [host] if conditions.important else []
    return None


def _add_regex(line: _Line, parsed: ParsedLines) -> str | None:
    pattern, is_confined = line.body[1:-1], _is_confined(line.conditions)
    rule = UrlRule(pattern, "", line.number, line.text[:1000], line.exception, line.options, PatternKind.REGEX)
    is_vague = not is_confined and not any(len(run) >= _SHORTEST for run in literal_fragments(rule))
    if is_vague and not line.options and ("^" in pattern or "$" in pattern) and "/" not in pattern:
        # Nearly always from a list for DNS, whose patterns are about names: against a whole URL they mean something
        # else.
        rule = replace(rule, kind=PatternKind.HOST_REGEX)
    try:
        compile_regex(pattern)
        if not is_confined and matches_nearly_everything(rule):
            return TOO_WIDE
    except BadRegex as reason:
        return str(reason)
    parsed.urls.append(rule)
    return None


def _is_confined(conditions: RuleModifiers) -> bool:
    """Return whether a rule is limited to some sites, so that its pattern may be vague."""
    return bool(conditions.initiators.wanted or conditions.targets.wanted)


def _add_wild_host(name: str, line: _Line, parsed: ParsedLines) -> str | None:
    telling = name.replace("*", "").strip(".")
    if sum(map(str.isalnum, telling)) < _SHORTEST or telling in load_public_suffixes().registries:
        return "too short: it would match nearly every name"
    pattern = r"(?:^|\.)" + ".*".join(map(re.escape, name.split("*"))) + "$"
    parsed.urls.append(UrlRule(pattern, "", line.number, line.text[:1000], line.exception, "", PatternKind.HOST_REGEX))
    return None


def _add_url_rule(line: _Line, parsed: ParsedLines) -> str | None:
    anchored = _ANCHORED.fullmatch(line.body) or _WITH_SCHEME.fullmatch(line.body)
    host = parse_host(anchored[1]) if anchored else ""
    if host is None:
        return NOT_A_HOST
    if len(line.body.split()) > 1:
        return "a space, which no URL has"
    pattern = f"||{host}{anchored[2]}" if anchored and line.body.startswith("||") else line.body
    if host in load_public_suffixes().registries and not line.exception:
        return PUBLIC_SUFFIX
    rule = UrlRule(pattern, host, line.number, line.text[:1000], line.exception, line.options)
    problem = None if host or _is_confined(line.conditions) else _breadth_problem(rule)
    if problem is None:
        parsed.urls.append(rule)
    return problem


def _breadth_problem(rule: UrlRule) -> str | None:
    """Return the problem of a pattern without a host that would match nearly everything, or all sites under a public
    suffix.
    """
    telling = re.sub(r"https?:|www\.", "", rule.pattern.lower())
    letters = sum(character.isalnum() for character in telling)
    if letters < _SHORTEST and (letters < _SHORTEST - 1 or len(telling.strip("*|")) < _SHORTEST + 1):
        return "too short: it would match nearly every URL"
    if matches_nearly_everything(rule):
        return "too wide: it would match nearly every URL"
    ending = _ENDING.fullmatch(telling)
    return (
        PUBLIC_SUFFIX if ending and (ending[1] or ending[2]).strip(".") in load_public_suffixes().registries else None
    )


FORMAT = ListFormat("adblock", _parse, _is_typical, _is_comment)
