"""Searches that are sent as a form, in the body of a POST, not in the address: some engines do so unless told otherwise. Pure."""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote, urlsplit, urlunsplit

from mitmproxy import http

from hedgerow.policies.content import name_of
from hedgerow.policies.model import Request, SafeSearch
from hedgerow.policies.safe_search import Engine, Engines, apply_safe_search, is_search
from hedgerow.proxy.asking import MAX_FORM

_FORM = "application/x-www-form-urlencoded"
_IN_QUERY = "%=+!$'()*,;:@/?"
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_readable(flow: http.HTTPFlow, requests: Iterable[Request]) -> bool:
    """Whether one of these asks a search engine with a form that is short enough to be read before it goes on."""
    fields = flow.request.headers
    length = fields.get("content-length", "")
    if flow.request.method != "POST" or not length.isdigit() or not 0 < int(length) <= MAX_FORM:
        return False
    if fields.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return False
    if "content-encoding" in fields or "transfer-encoding" in fields:
        return False
    engines = (Engines.load().engine_of(each.host) for each in requests)
    return any(engine is not None and engine.words for engine in engines)


def read(flow: http.HTTPFlow) -> str:
    """The form, as it was sent."""
    return (flow.request.raw_content or b"").decode("latin-1")


def with_words(request: Request, form: str) -> Request:
    """The request with the form's search words in its URL, where it is judged by them."""
    engine = Engines.load().engine_of(request.host)
    if engine is None or request.url is None:
        return request
    words = (part for part in form.split("&") if name_of(part) == engine.words)
    parts = urlsplit(request.url)
    query = "&".join(each for each in (parts.query, *(quote(part, _IN_QUERY, "latin-1") for part in words)) if each)
    return replace(request, url=urlunsplit(parts._replace(query=query)))


def kept_safe(engine: Engine, level: SafeSearch, url: str, form: str) -> str:
    """The form with the engine's parameters for this level in it.

    >>> startpage = Engines.load().by_id["startpage"]
    >>> kept_safe(startpage, SafeSearch.STRICT, "https://www.startpage.com/sp/search", "query=cats&qadf=none")
    'query=cats&qadf=heavy'
    """
    safe, _ = apply_safe_search(engine, level, urlunsplit(urlsplit(url)._replace(query=form)), ())
    return urlsplit(safe).query


def is_hidden(flow: http.HTTPFlow, engine: Engine, url: str) -> bool:
    """Whether this may be a search whose words and parameters cannot be read, of an engine that nothing else keeps safe."""
    has_body = flow.request.method not in _BODILESS and flow.request.headers.get("content-length") != "0"
    return has_body and bool(engine.words) and not engine.dns and not engine.youtube and is_search(engine, url)
