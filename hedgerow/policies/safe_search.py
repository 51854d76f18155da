"""Search engines and their safe modes: one table (`safe_search.yaml`) for DNS and proxy. Pure.

`decide` judges whether safe search is on for somebody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit, urlunsplit

from hedgerow.blocklists.names import parse_url
from hedgerow.policies.content import parameter_name
from hedgerow.policies.model import SafeSearch
from hedgerow.policies.text.data_files import read_data

_SLASHES = re.compile("(?:/|%2f)+")
_AFTER_NAMES = re.compile(r"%00.*|;[^/]*|(?<=[^/])\.[a-z]+(?=/|$)")
"""Parts of a path that servers may ignore: everything after a NUL, parameters, and file name extensions."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PictureSearch:
    """Single pictures by search words, which an engine serves at `path` of other `hosts` too.

    Its safe mode does not reach them.
    """

    engine: str
    hosts: tuple[str, ...]
    path: str
    words: str

    def matches(self, url: str) -> bool:
        """Return whether a URL asks for a picture by words.

        >>> SearchEngines.load().pictures_of("th.bing.com").matches("https://th.bing.com/th?q=cats")
        True
        >>> SearchEngines.load().pictures_of("th.bing.com").matches("https://th.bing.com/th?id=OIP.1")
        False
        """
        parts = urlsplit(parse_url(url) or url)
        path, shortened = _spellings(parts.path)
        if self.path not in (path, path.rstrip("/"), shortened):
            return False
        return any(
            parameter_name(part).lower() == self.words and part.partition("=")[2] for part in parts.query.split("&")
        )


@dataclass(frozen=True, slots=True)
class AiAnswers:
    """Answers that an engine's language model writes: how to recognise requests for them, and how to search without
    them.

    `paths` cover those below them. `query` holds the values of parameters that request an answer. `hosts` are hosts
    in addition to the engine's own. `parameters` switch the answers off in a search on one of `searches`, unless it has
    one of the parameters `unless`.
    """

    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    query: Mapping[str, frozenset[str]] = field(default_factory=dict)
    searches: frozenset[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
    unless: frozenset[str] = frozenset()

    def matches(self, url: str) -> bool:
        """Return whether a URL of one of the engine's hosts requests an answer, in any spelling that servers accept.

        >>> google = SearchEngines.load().by_id["google"].ai
        >>> (google.matches("https://www.google.com/search?q=cats&ud%6d=50"),
        ...  google.matches("https://www.google.com/search?q=cats&udm=2"))
        (True, False)
        """
        parts = urlsplit(parse_url(url) or url)
        if any(path == each or path.startswith(f"{each}/") for path in _spellings(parts.path) for each in self.paths):
            return True
        return any(
            _plain_value(part) in self.query.get(parameter_name(part).lower(), ())
            for part in parts.query.split("&")
            if self.query
        )

    def switch_off(self, url: str, words: str) -> str:
        """Return the URL with the parameters that switch answers off, if it is a search by the parameter `words`."""
        parts = urlsplit(url)
        names = {parameter_name(part) for part in parts.query.split("&")}
        is_concerned = self.parameters and words in names and not names & self.unless
        paths = {path.rstrip("/") or "/" for path in _spellings(urlsplit(parse_url(url) or url).path)}
        if not is_concerned or not self.searches & paths:
            return url
        return urlunsplit(parts._replace(query=_changed_query(parts.query, frozenset(), self.parameters)))


def _plain_value(part: str) -> str:
    """Return a parameter's value as engines read it, without zeros before a number."""
    value = unquote_plus(part.partition("=")[2]).strip().lower()
    return value.lstrip("0") if value.isdecimal() else value


@dataclass(frozen=True, slots=True)
class SearchEngine:
    """A search engine.

    `dns`, `parameters` and `headers` are by level. `youtube`: the policy's `youtube` sets its level.
    """

    id: str
    title: str
    hosts: tuple[str, ...]
    youtube: bool = False
    dns: Mapping[SafeSearch, str] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    parameters: Mapping[SafeSearch, Mapping[str, str]] = field(default_factory=dict)
    headers: Mapping[SafeSearch, Mapping[str, str]] = field(default_factory=dict)
    words: str = ""
    pictures: PictureSearch | None = None
    ai: AiAnswers | None = None

    def dns_target(self, level: SafeSearch) -> str:
        """Return the name whose addresses DNS answers for the engine's hosts; empty if DNS cannot enforce its safe
        mode.
        """
        return self.dns.get(level) or self.dns.get(SafeSearch.STRICT, "")


class SearchEngines:
    """All engines by host, and the domains of engines without a safe mode.

    `ai_hosts` are other hosts that serve an engine's AI answers.
    """

    def __init__(self, engines: Iterable[SearchEngine], without_safe_mode: Iterable[str]) -> None:
        self.by_id = {engine.id: engine for engine in engines}
        self.without_safe_mode = frozenset(without_safe_mode)
        self.by_host = {
            host: engine for engine in self.by_id.values() for host in engine.hosts if not host.startswith("*.")
        }
        self.by_suffix = {
            host[2:]: engine for engine in self.by_id.values() for host in engine.hosts if host.startswith("*.")
        }
        self._suffixes = tuple(f".{suffix}" for suffix in self.by_suffix)
        self.pictures = {
            host.removeprefix("*."): engine.pictures
            for engine in self.by_id.values()
            if engine.pictures is not None
            for host in (*engine.hosts, *engine.pictures.hosts)
        }
        self.ai_hosts = {
            host: engine.ai for engine in self.by_id.values() if engine.ai is not None for host in engine.ai.hosts
        }

    @staticmethod
    @cache
    def load() -> SearchEngines:
        """Load the engines that ship with Hedgerow."""
        data = read_data("safe_search.yaml")
        return SearchEngines(
            (_search_engine(id, entry) for id, entry in data["engines"].items()), data["without_safe_mode"]
        )

    def pictures_of(self, host: str) -> PictureSearch | None:
        """Return the search for pictures that a canonical host offers, or None."""
        return self.pictures.get(host) or self.pictures.get(host.partition(".")[2])

    def engine_of(self, host: str) -> SearchEngine | None:
        """Return the engine that a canonical host belongs to, or None."""
        engine = self.by_host.get(host)
        if engine is None and host.endswith(self._suffixes):
            while engine is None:
                host = host.partition(".")[2]
                engine = self.by_suffix.get(host)
        return engine


def _search_engine(id: str, entry: dict[str, dict[str, dict[str, str]]]) -> SearchEngine:
    def by_level[T](key: str) -> dict[SafeSearch, T]:
        return {SafeSearch(level): value for level, value in entry.get(key, {}).items()}  # type: ignore[misc]

    return SearchEngine(
        id=id,
        title=str(entry["title"]),
        hosts=tuple(entry["hosts"]),
        youtube=str(entry.get("setting", "")) == "youtube",
        dns=by_level("dns"),
        paths=frozenset(entry.get("paths", ())),
        remove=frozenset(entry.get("remove", ())),
        parameters=by_level("set"),
        headers=by_level("headers"),
        words=str(entry.get("words", "")),
        pictures=_picture_search(id, entry.get("pictures", {})),
        ai=_ai_answers(entry),
    )


def _picture_search(id: str, entry: Mapping[str, object]) -> PictureSearch | None:
    hosts = entry.get("hosts", ())
    assert isinstance(hosts, list | tuple)
    return PictureSearch(id, tuple(map(str, hosts)), str(entry["path"]), str(entry["words"])) if entry else None


def _ai_answers(entry: Mapping[str, Any]) -> AiAnswers | None:
    ai: Mapping[str, Any] | None = entry.get("ai")
    if ai is None:
        return None
    query = {str(name): frozenset(map(str, values)) for name, values in ai.get("query", {}).items()}
    return AiAnswers(
        tuple(ai.get("hosts", ())),
        tuple(ai.get("paths", ())),
        query,
        frozenset(ai.get("searches", entry.get("paths", ()))),
        {str(name): str(value) for name, value in ai.get("set", {}).items()},
        frozenset(ai.get("unless", ())),
    )


def apply_safe_search(
    engine: SearchEngine, level: SafeSearch, url: str, headers: Headers, *, without_ai: bool = False
) -> tuple[str, Headers]:
    """Return the URL and headers that request the engine's safe mode of `level`; unchanged if they already do.

    `without_ai` also switches off the engine's AI answers, as far as it has a parameter for that.

    >>> google = SearchEngines.load().by_id["google"]
    >>> apply_safe_search(google, SafeSearch.STRICT, "https://www.google.com/search?q=cats&safe=off", ())[0]
    'https://www.google.com/search?q=cats&safe=active&ssui=on'
    """
    if without_ai and engine.ai is not None:
        url = engine.ai.switch_off(url, engine.words)
    if level is SafeSearch.OFF:
        return url, headers
    parts = urlsplit(url)
    parameters = engine.parameters.get(level) or engine.parameters.get(SafeSearch.STRICT, {})
    if parameters and is_search(engine, url):
        url = urlunsplit(parts._replace(query=_changed_query(parts.query, engine.remove, parameters)))
    wanted = engine.headers.get(level) or engine.headers.get(SafeSearch.STRICT, {})
    if wanted:
        names = {name.lower() for name in wanted}
        headers = tuple(pair for pair in headers if pair[0].lower() not in names) + tuple(wanted.items())
    return url, headers


def is_search(engine: SearchEngine, url: str) -> bool:
    """Return whether a URL, in any spelling that servers accept, is a search.

    If DNS cannot enforce the engine's safe mode, every URL with search terms counts.
    """
    if (urlsplit(url).path or "/") in engine.paths:
        return True
    parts = urlsplit(parse_url(url) or url)
    if any(each in engine.paths or each.removesuffix("/") in engine.paths for each in _spellings(parts.path)):
        return True
    return not engine.dns and engine.words in map(parameter_name, parts.query.split("&"))


def _spellings(path: str) -> tuple[str, str]:
    """Return a canonical path in small letters with single slashes, without the parts that servers may ignore."""
    plain = _SLASHES.sub("/", path.lower())
    return plain, _AFTER_NAMES.sub("", plain)


def _changed_query(query: str, remove: frozenset[str], parameters: Mapping[str, str]) -> str:
    # Other parameters stay unchanged to the byte, because engines sign some of them.
    dropped = remove | parameters.keys()
    kept = [part for part in query.split("&") if part and parameter_name(part) not in dropped]
    return "&".join(kept + [f"{quote(name)}={quote(value)}" for name, value in parameters.items()])
