"""Searches in the body of a POST: as a form, or in the JSON of YouTube's own page. Pure."""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from mitmproxy import http

from hedgerow.policies.content import parameter_name
from hedgerow.policies.model import Request, SafeSearch
from hedgerow.policies.safe_search import SearchEngine, SearchEngines, apply_safe_search, is_search
from hedgerow.proxy.page_forms import MAX_FORM_BYTES
from hedgerow.proxy.scanners.decoding import ContentDecoder

MAX_JSON = 64 * 1024
"""Bytes of a search in JSON, compressed or not, that are read. It contains much about the browser."""

_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
_JSON_PATH = "/youtubei/v1/search"
_IN_QUERY = "%=+!$'()*,;:@/?"
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_readable(flow: http.HTTPFlow, requests: Iterable[Request]) -> bool:
    """Return whether one of `requests` sends a search that is short enough to be read before the request goes on."""
    if flow.request.method != "POST":
        return False
    fields = flow.request.headers
    length, coding = fields.get("content-length", ""), fields.get("content-encoding", "")
    if not length.isdigit() or "transfer-encoding" in fields:
        return False
    engines = [engine for each in requests if (engine := SearchEngines.load().engine_of(each.host)) is not None]
    if _media(flow) == _FORM:
        return 0 < int(length) <= MAX_FORM_BYTES and not coding and any(engine.words for engine in engines)
    is_search = _media(flow) == _JSON and flow.request.path.partition("?")[0] == _JSON_PATH
    return (
        is_search
        and 0 < int(length) <= MAX_JSON
        and coding in {"", "gzip"}
        and any(engine.youtube for engine in engines)
    )


def _media(flow: http.HTTPFlow) -> str:
    return str(flow.request.headers.get("content-type", "")).partition(";")[0].strip().lower()


def read(flow: http.HTTPFlow) -> str:
    """Return the form as it was sent, or the equivalent form of a search in JSON."""
    content = flow.request.raw_content or b""
    return content.decode("latin-1") if _media(flow) == _FORM else _form_of_json(content)


def _form_of_json(content: bytes) -> str:
    pieces = ContentDecoder("gzip" if content.startswith(b"\x1f\x8b") else "").feed(content)
    text = b""
    while len(text) < MAX_JSON and (piece := next(pieces, None)) is not None:
        text += piece
    try:
        query = json.loads(text[:MAX_JSON])["query"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return (
        urlencode({SearchEngines.load().by_id["youtube"].words: query}, errors="replace")
        if isinstance(query, str)
        else ""
    )


def with_words(request: Request, form: str) -> Request:
    """Return the request with the form's search words in its URL, for the decision."""
    engine = SearchEngines.load().engine_of(request.host)
    if engine is None or request.url is None:
        return request
    words = (part for part in form.split("&") if parameter_name(part) == engine.words)
    parts = urlsplit(request.url)
    query = "&".join(each for each in (parts.query, *(quote(part, _IN_QUERY, "latin-1") for part in words)) if each)
    return replace(request, url=urlunsplit(parts._replace(query=query)))


def enforce_safe_search(flow: http.HTTPFlow, engine: SearchEngine, level: SafeSearch, url: str) -> None:
    """Put the engine's parameters for this level into the body, if that is a form."""
    if _media(flow) == _FORM:
        flow.request.content = enforced_form(engine, level, url, read(flow)).encode("latin-1")


def enforced_form(engine: SearchEngine, level: SafeSearch, url: str, form: str) -> str:
    """Return the form with the engine's parameters for this level.

    >>> startpage = SearchEngines.load().by_id["startpage"]
    >>> enforced_form(startpage, SafeSearch.STRICT, "https://www.startpage.com/sp/search", "query=cats&qadf=none")
    'query=cats&qadf=heavy'
    """
    safe, _ = apply_safe_search(engine, level, urlunsplit(urlsplit(url)._replace(query=form)), ())
    return urlsplit(safe).query


def is_hidden(flow: http.HTTPFlow, engine: SearchEngine, url: str) -> bool:
    """Return whether this may be a search that cannot be read, at an engine that nothing else keeps safe."""
    has_body = flow.request.method not in _BODILESS and flow.request.headers.get("content-length") != "0"
    return has_body and bool(engine.words) and not engine.dns and not engine.youtube and is_search(engine, url)
