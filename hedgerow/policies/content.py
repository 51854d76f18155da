"""Rules about content: search terms, pages, files, scores, and the accounts allowed at Google and Microsoft
(`tenants.yaml`). Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from urllib.parse import unquote_plus, unquote_to_bytes, urlsplit

from hedgerow.policies.text.data_files import read_data


@dataclass(frozen=True, slots=True)
class Tenants:
    """Organisations whose accounts are allowed:

    Google's by domain, Microsoft's by domain or id, with the id of our own directory.
    """

    google: tuple[str, ...] = ()
    microsoft: tuple[str, ...] = ()
    directory: str = ""

    def fields_for(self, host: str) -> tuple[tuple[str, str], ...]:
        """Return the header fields that replace the client's own in a request to `host`.

        >>> Tenants(google=("school.example", "club.example")).fields_for("accounts.google.com")
        (('X-GoogApps-Allowed-Domains', 'school.example,club.example'),)
        """
        found = next(
            (service for domain in _host_suffixes(host) if (service := _tenant_services().get(domain)) is not None),
            None,
        )
        if found is None:
            return ()
        tenants = {"google": self.google, "microsoft": self.microsoft}[found[0]]
        if not tenants:
            return ()
        values = {"tenants": ",".join(tenants), "directory": self.directory}
        return tuple((name, text.format(**values)) for name, text in found[1])


def _host_suffixes(host: str) -> list[str]:
    labels = host.split(".")
    return [".".join(labels[index:]) for index in range(len(labels) - 1)]


@cache
def _tenant_services() -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    found = {}
    for service in read_data("tenants.yaml").values():
        for host in service["hosts"]:
            found[str(host)] = (
                str(service["kind"]),
                tuple((str(name), str(text)) for name, text in service["fields"].items()),
            )
    return found


PASS_THROUGH = "pass-through"  # noqa: S105  (no password)
"""`what` of a decision to tunnel a host because a client there refuses our certificate."""

CERTIFICATE_REFUSED = "certificate-refused"
"""`what` of a decision to block a connection whose client refuses our certificate, where the host must not
pass unread.
"""

UNREAD_APP = "unread-app"
"""`what` of the same where somebody in charge is asked to let the host pass unread."""

CLIENT_CERTIFICATE = "client-certificate"
"""`what` of a decision about a host that asks for a certificate of the device's own, which only the device can show."""

TUNNEL_TRAFFIC = "tunnel-traffic"
"""`what` of a decision to block a host that carries nearly all traffic of a device, as a tunnel does."""

LENIENT_LIMIT = 160
"""The limit of a page's words from which on a page is held back for a shorter time, and passes if it cannot be decoded:
that of younger teenagers. From there on, a server that answers no look is open too.
"""

UNCHECKED = "unchecked"
"""`what` of a decision to block a body that could not be scored."""

NO_SCORE_LIMIT = 100
DEFAULT_SCORE_LIMIT = 50
"""The limit of a profile that names none."""

BLOCKED_NAME_CONFIDENCE = 60
"""Confidence in percent from which the profiles of children block a name, and which the pages write into the policy."""

FILE_KINDS = ("executables", "archives", "torrents", "macros")


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """The rule of one scope for the scores, 0 to 100, that a feature's scanner gives bodies.

    `key` is its key of the policy file.

    Bodies with a score above `limit` are blocked if the scores are `enabled`; `NO_SCORE_LIMIT` blocks none. None leaves
    a setting to the wider scope.
    """

    key: str
    enabled: bool | None = None
    limit: int | None = None

    def over(self, wider: ScoreRule) -> ScoreRule:
        """Return this rule, completed by that of a wider scope."""
        enabled = wider.enabled if self.enabled is None else self.enabled
        return ScoreRule(self.key, enabled, wider.limit if self.limit is None else self.limit)


@dataclass(frozen=True, slots=True)
class ContentRules:
    """The content rules of one scope; None leaves a setting to the wider scope.

    A `page_limit` of 0 turns off the scanning of pages.

    `youtube_only`: the channels and videos of YouTube that are open, as `youtube.parse_youtube_item` returns them;
    empty for all of it. `everywhere`: pages of all hosts are scanned if the device trusts the CA, not only those that
    are decrypted for another reason. `scores` are the rules for the scanners of features. `name_block` and `name_mark`
    are the confidences in percent from which an unlisted host that looks like a blocked category by its name is
    blocked, or only marked in the log; 0 for never.
    """

    pass_through: bool | None = None
    page_limit: int | None = None
    everywhere: bool | None = None
    searches: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None
    tenants: Tenants | None = None
    youtube_only: tuple[str, ...] | None = None
    scores: tuple[ScoreRule, ...] = ()
    name_block: int | None = None
    name_mark: int | None = None

    def over(self, wider: ContentRules) -> ContentRules:
        """Return these rules, completed by those of a wider scope; blocked searches add up."""
        own = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}
        scores = {each.key: each for each in wider.scores}
        scores |= {each.key: each.over(scores.get(each.key, each)) for each in self.scores}
        searches = tuple(dict.fromkeys((*self.searches, *wider.searches)))
        return replace(wider, **own | {"searches": searches, "scores": tuple(scores.values())})

    @property
    def passes_through(self) -> bool:
        """True if a host is tunnelled for a while after a client refused our certificate for it."""
        return self.pass_through is not False

    @property
    def opens_pages(self) -> bool:
        return bool(self.page_limit) and bool(self.everywhere)

    @property
    def score_limits(self) -> dict[str, int]:
        """The score above which a body is blocked, by the key of each rule that blocks any."""
        limits = {
            each.key: DEFAULT_SCORE_LIMIT if each.limit is None else each.limit for each in self.scores if each.enabled
        }
        return {key: limit for key, limit in limits.items() if limit < NO_SCORE_LIMIT}

    @property
    def opens_everything(self) -> bool:
        """The HTTPS of every host is decrypted to check its responses."""
        return self.opens_pages or bool(self.score_limits)

    @property
    def judges_names(self) -> bool:
        return bool(self.name_block or self.name_mark)

    def blocks_name(self, confidence: int) -> bool:
        return bool(self.name_block) and confidence >= (self.name_block or 0)

    def marks_name(self, confidence: int) -> bool:
        return bool(self.name_mark) and confidence >= (self.name_mark or 0)


def combine_scopes(scopes: Sequence[ContentRules]) -> ContentRules:
    """Combine the rules of `scopes`, the nearest first.

    >>> combine_scopes([ContentRules(searches=("a",)), ContentRules(page_limit=100, searches=("b",))]).searches
    ('a', 'b')
    """
    found = ContentRules()
    for scope in scopes:
        found = found.over(scope)
    return found


def plain_words(text: str) -> str:
    """Return text in the form that is compared: lower case without accents, single spaces between and around words.

    >>> plain_words("Où  est-ce?")
    ' ou est ce '
    """
    letters = "".join(
        each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each)
    )
    return " " + " ".join("".join(each if each.isalnum() else " " for each in letters).split()) + " "


def search_words(url: str, parameter: str) -> str:
    """Return the plain words of a search, from the engine's parameter of a URL; empty if there are none.

    >>> search_words("https://a.example/?q=O%C3%B9&q=est-ce", "q")
    ' ou est ce '
    """
    parts = urlsplit(url).query.split("&")
    words = " ".join(_parameter_value(part) for part in parts if parameter_name(part) == parameter)
    return plain_words(words) if words else ""


def parameter_name(part: str) -> str:
    """Return the name of a parameter of a query or a form as engines read it: some strip spaces around it.

    >>> parameter_name("+%71=cats")
    'q'
    """
    return unquote_plus(part.partition("=")[0]).strip()


def _parameter_value(part: str) -> str:
    """Return the value of a parameter. What is not UTF-8 is also read as Latin-1."""
    value = unquote_to_bytes(part.partition("=")[2].replace("+", " ").encode("utf-8", "surrogateescape"))
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"{value.decode('utf-8', 'replace')} {value.decode('latin-1')}"


def blocked_search_term(words: str, terms: Sequence[str]) -> str | None:
    """Return the first of `terms` that a search contains as whole words.

    >>> blocked_search_term(plain_words("how to buy a Vape-Pen"), ["vape pen"])
    'vape pen'
    """
    return next((term for term in terms if plain_words(term) in words), None) if words else None


def is_about_self_harm(words: str) -> bool:
    """Return whether a search is about self-harm, so that helplines are offered. Such a search is never stored."""
    return bool(words) and any(term in words for term in _self_harm_terms())


@cache
def _self_harm_terms() -> tuple[str, ...]:
    return tuple(plain_words(str(term)) for terms in read_data("helpline_searches.yaml").values() for term in terms)
