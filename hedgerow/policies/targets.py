"""Parsing of the items of `allow` and `block`: services, categories, hosts and URL patterns."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable

from hedgerow.blocklists.categories import is_good
from hedgerow.blocklists.names import is_address, is_public_suffix, parse_host, parse_url, split_url, unescape
from hedgerow.blocklists.patterns import compile_set
from hedgerow.blocklists.rules import Origin
from hedgerow.policies.model import Target, TargetKind
from hedgerow.policies.text.suggestions import LONGEST_GUESSED, did_you_mean, guess_list, suggest

ILLEGAL = "illegal"
"""The category that only exceptions in its own lists can open."""

HELP_FIRST = frozenset({"self-harm", "hate"})
"""Categories whose block page begins with helplines, and of which no site is stored, only the topic."""
INTERNET = "internet"
"""Name of the whole internet, for schedules."""


def correctable_topics(categories: Iterable[str]) -> frozenset[str]:
    """Return those of `categories` of which somebody may say that a site is not of them."""
    return frozenset(name for name in categories if name != ILLEGAL and not is_good(name))


def parse_target(
    text: str, services: Collection[str], categories: Collection[str], origin: Origin, others: Collection[str] = ()
) -> Target:
    """Parse one item. Anything but a service or category needs a dot, so that a misspelt name never passes for a host.

    A host covers everything beneath it; `.zone` is a whole top-level domain; `host/path` covers that path and
    everything beneath, with `*` for anything. Raises ValueError with a sentence and a suggestion, which may be one of
    `others`.

    >>> parse_target("https://youtube.com/shorts/", (), (), Origin("x")).name
    'youtube.com/shorts'
    """
    item = text.strip()
    name = item.lower()
    if name in services:
        return Target(TargetKind.SERVICE, name, origin)
    if name in categories:
        return Target(TargetKind.CATEGORY, name, origin)
    if name == INTERNET:
        raise ValueError("the internet is closed by a bedtime or a schedule; `hedgerow pause` closes it now")
    if item[:1] in {"-", "+"}:
        raise ValueError(_begins_with_sign(item))
    if re.fullmatch(r"[\w -]+", item):
        raise ValueError(
            f"unknown name '{item}': no service, category or "
            f"domain.{_hint_for(item, [*services, *categories, *others])}"
        )
    if several := guess_list(item, {*services, *categories, *others}.__contains__):
        raise ValueError(f"'{item}' is not one name.{did_you_mean(several)}")
    location = re.sub(r"^[a-z][a-z+.-]*://", "", item, flags=re.IGNORECASE)
    host_text, slash, path = location.partition("/")
    host = _parse_host_item(host_text, item)
    if not slash or path in {"", "*"}:
        return Target(TargetKind.HOST, host, origin)
    url = parse_url(f"http://{f'[{host}]' if ':' in host else host}/{path}")
    if url is None:
        raise ValueError(f"'{item}' is not a URL")
    _, _, canonical = url.removeprefix("http://").partition("/")
    return Target(TargetKind.URL, f"{host}/{canonical.rstrip('/')}", origin)


def budget_subject(name: str, services: Collection[str], categories: Collection[str]) -> str:
    """Return what minutes are counted for, with its kind as the journal has it. Raises ValueError like `parse_target`.

    >>> budget_subject("roblox", {"roblox"}, ()), budget_subject("games", (), {"games"}), budget_subject("", (), ())
    ('service:roblox', 'category:games', '')
    """
    if not name:
        return ""
    target = parse_target(name, services, categories, Origin("budget", text=name))
    return f"{target.kind.value}:{target.name}"


def check_allowable(target: Target) -> None:
    """Raise ValueError, with a sentence, for a target that neither a policy nor a grant can open."""
    if target.kind is TargetKind.CATEGORY and target.name == ILLEGAL:
        raise ValueError(f"'{ILLEGAL}' cannot be allowed: only its lists decide what it contains")


def check_grantable(target: Target) -> None:
    """Raise ValueError, with a sentence, for a target that no grant can open, nor a button of the pages.

    A grant for a public suffix, such as co.uk or github.io, would open every site beneath it.
    """
    check_allowable(target)
    if target.kind is TargetKind.HOST and is_public_suffix(target.name):
        raise ValueError(f"anybody can have a site beneath {target.name}: name the site itself")


def _begins_with_sign(item: str) -> str:
    """Return the mistake in an item with a sign: dashes without spaces, which YAML reads as text, or a change that only
    profiles can make.

    >>> _begins_with_sign("-roblox -tiktok")
    "'-roblox -tiktok': in a list, a dash needs a space after it, as in - roblox"
    """
    if re.fullmatch(r"-\S+(?: -\S+)+", item):
        return f"'{item}': in a list, a dash needs a space after it, as in - {item.split()[0][1:]}"
    instead = "use `allow` to open what a profile blocks" if item[0] == "-" else "leave it out"
    return f"'{item}': {item[0]} before a name is only for profiles that extend another. Here, {instead}"


def _hint_for(item: str, known: list[str]) -> str:
    """Return a suggestion for an unknown name, or how to write a site."""
    if len(item) > LONGEST_GUESSED:
        return " Write a site as its domain, such as example.org."
    if limited := re.fullmatch(r"(.+?)\s+until\s+(.+)", item):
        return did_you_mean(f"{{what: {limited[1]}, until: {limited[2]}}}")
    if timed := re.fullmatch(r"(.+?)\s+(?:only\s+)?(?:on|at|from|between|after|before|during)\s+.+", item):
        meant = suggest(timed[1], known).removeprefix(" Did you mean ").removesuffix("?")
        if meant or "." in timed[1]:
            example = (
                f'schedules: {{{meant or "site"}: {{only: {meant or timed[1]}, when: {{weekend: "10:00-12:00"}}}}}}'
            )
            return f" Use a schedule, such as {example}"
    several = guess_list(item, set(known).__contains__)
    return did_you_mean(several) or suggest(item, known) or " Write a site as its domain, such as example.org."


def _parse_host_item(text: str, item: str) -> str:
    if re.search(r"[^:\]]:\d+$", text) and text.count(":") == 1:
        raise ValueError(f"'{item}' has a port: rules apply to all ports of a host")
    host = parse_host(text.removeprefix("*.").removeprefix("."))
    if host is None or "*" in text.removeprefix("*."):
        raise ValueError(f"'{item}' is not a domain, such as example.org")
    if "." not in host and not is_address(host) and not text.startswith("."):
        raise ValueError(f"'{item}' is not a domain: write a whole top-level domain as .{host}")
    return host


def comparable_path(url: str) -> str:
    """Return path and query of a URL as `compile_path` compares them: canonical, with doubled slashes, which servers
    ignore, made one.

    >>> comparable_path("https://example.org//a/../shorts/?x=//")
    '/shorts/?x=//'
    """
    found = split_url(url)
    _, _, rest = (unescape(url) if found is None else found[0]).partition("://")[2].partition("/")
    path, mark, query = rest.partition("?")
    path = f"/{path}"
    if "//" in path:
        path = re.sub("/{2,}", "/", path)
    return path + mark + query


type PathTest = Callable[[str], object]
"""A function that is true for the paths and queries of canonical URLs that a rule matches."""


@functools.lru_cache(maxsize=1024)
def compile_path(path: str) -> PathTest:
    """Return the test of a URL's path and query, as `comparable_path` gives them, for a pattern's path, which begins
    with a slash.

    Spellings that servers treat as equal do not evade a rule: case, parameters after a semicolon (RFC 3986, section
    3.3), which many servers drop, an escaped slash, which nginx decodes, and an escaped NUL, at which some servers end
    the path. RE2 runs the test in time linear in the URL, however many stars the pattern has: whoever sends the URL
    chooses it.

    >>> bool(compile_path("/shorts")("/shorts/abc")), bool(compile_path("/shorts")("/shortsighted"))
    (True, False)
    >>> bool(compile_path("/a/shorts")("/a;x/shorts;y=1")), bool(compile_path("/a/shorts")("/a%2Fshorts%00"))
    (True, True)
    """
    body = ".*".join(re.escape(part) for part in path.split("*"))
    body = body[:1] + "(?:%2f)*" + body[1:].replace("/", r"(?:;[^/?]*)?(?:/|%2f)+")
    search = compile_set(["(?s)^" + (body if path.endswith("*") else body + r"(?:$|[/?#&;]|%2f|%00)")])
    first = re.split(r"[/*]", path[1:], maxsplit=1)[0]
    if not first:
        return search
    # Most URLs differ in their first letters, which Python's engine finds out in a tenth of the time.
    begins = re.compile("/(?:%2f)*" + re.escape(first), re.IGNORECASE | re.ASCII).match
    return lambda url: begins(url) is not None and search(url)
