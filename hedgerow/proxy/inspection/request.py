"""Judgement of requests: the decision, safe search, helplines, and the changes to a request that is let through."""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urljoin, urlsplit, urlunsplit

from mitmproxy import http
from mitmproxy.connection import Client

from hedgerow.policies.decide import is_granted
from hedgerow.policies.model import Decision, Device, Reason, Request, SafeSearch, Verdict
from hedgerow.policies.privacy import counted_reason, is_private_search
from hedgerow.policies.request_context import closes_ai_answers
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.safe_search import SearchEngine, SearchEngines, apply_safe_search
from hedgerow.proxy.http_head import HeadError
from hedgerow.proxy.inspection import search_forms
from hedgerow.proxy.inspection.clients import EXPLICITLY_ALLOWED, ActiveRequest, ClientRegistry
from hedgerow.proxy.inspection.engine.http_stream import EXPECT_KEY, LIMIT_KEY
from hedgerow.proxy.inspection.engine.messages import (
    SIGNED_EXCHANGE,
    form_of,
    is_document,
    lane_label,
    named_authorities,
    request_of,
    to_mitmproxy_response,
    url_of,
)
from hedgerow.proxy.inspection.hops import VIA_KEY, add_via, last_hop, strip_hop_fields
from hedgerow.proxy.page_forms import MAX_FORM_BYTES, issue_ticket
from hedgerow.proxy.pages.block_page import ASK_PATH
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm
from hedgerow.proxy.policy import Counters, ProxyPolicy, strictest
from hedgerow.proxy.scanners.decoding import SUPPORTED_CODINGS

_AWAITS_FORM_KEY = "hedgerow-awaits-form"
"""Key of a flow's metadata: the request is judged once its search form is there."""

_HELP_SEEN = "hedgerow-help=seen"
_HELP_MARK = f"&{_HELP_SEEN}"


@dataclass(frozen=True, slots=True)
class JudgedHead:
    """All that follows from a GET's head, without its path, under one ruleset of a policy.

    `site` is the beginning of its URL.
    """

    policy: ProxyPolicy
    device: Device
    ruleset: Ruleset
    request: Request
    site: str
    is_granted: bool


class RequestHandler:
    """Handler of the requests of inspected connections: each is judged, then prepared for its origin.

    `key` signs block pages' tickets.
    """

    def __init__(self, clients: ClientRegistry, key: bytes, counters: Counters, clock: Callable[[], float]) -> None:
        self._clients = clients
        self._key = key
        self._counters = counters
        self._clock = clock
        self._engines = SearchEngines.load()

    def judge(self, flow: http.HTTPFlow, device: Device, ruleset: Ruleset, form: str | None) -> None:
        """Answer a request that is blocked, or register it as active and prepare it for its origin. Raises HeadError.

        `form` is its search form once that has arrived: until then a request that carries one is not decided.
        """
        strip_hop_fields(flow.request)
        authorities = named_authorities(flow)
        pages = self._clients.policy.pages
        if pages is not None and flow.request.scheme == "http" and all(pages.serves(each) for each in authorities):
            # back to the gate, which relays them: a new connection begins there
            place = ("Location", url_of("http", authorities[-1], flow.request.path))
            answer(flow, ProxyResponse(307, (place, ("Connection", "close"), ("Cache-Control", "no-store")), b""))
            return
        if any(each.port not in self._clients.policy.guard.ports for each in authorities):
            raise HeadError(403, "this port is not served")
        if flow.request.path.startswith(ASK_PATH):
            _limit_form(flow)
            return
        has_seen_help = _strip_help_mark(flow)
        sent = tuple(request_of(flow, device, authority) for authority in authorities)
        if form is None and search_forms.is_readable(flow, sent):
            flow.metadata[_AWAITS_FORM_KEY] = True
            return
        requests = sent if form is None else tuple(search_forms.with_words(each, form) for each in sent)
        judged = [(each, self._decide(flow, ruleset, each, form)) for each in requests]
        request, decision = strictest(judged)
        is_private = any(is_private_search(each) for each in requests)
        if not is_private:
            self._clients.policy.observe(device, ruleset, request, decision)
        self._counters.add(
            "hedgerow_proxy_requests_total", lane_label(flow), decision.verdict.value, counted_reason(decision.reason)
        )
        is_visible = form is not None or flow.request.method == "GET"
        if is_private and is_visible and not has_seen_help and self._offer_help(flow, ruleset, request, decision):
            return
        if decision.verdict is Verdict.BLOCK:
            answer(flow, self.blocked(flow, ruleset, request, decision))
            return
        for each, verdict in judged:
            if verdict.verdict is Verdict.REWRITE:
                self._apply_safe_search(flow, ruleset, each, verdict, is_form=form is not None)
        if (own := last_hop(flow.request)) is not None:
            answer(flow, own)
            return
        _prepare(flow, ruleset)
        client, is_explicit = flow.client_conn, decision.reason in EXPLICITLY_ALLOWED
        granted = bool(ruleset.content.youtube_only) and all(is_granted(ruleset, each.host) for each in requests)
        self._clients.begin(
            flow.id, ActiveRequest(client, self._clients.address(client), ruleset, requests, is_explicit, granted)
        )
        flow.request.stream = True

    def head_of(self, request: http.Request, active: ActiveRequest, client: Client) -> JudgedHead | None:
        """Return what the head of a GET that was let through as `active` means for requests of `client`, now at the
        same address, with the same head and another path.

        None unless it went on as it was allowed, by one name, and to no search engine.
        """
        found, (first, *others) = self._clients.find(client.id), active.requests
        is_plain = request.method == "GET" and request.scheme == "https" and not others
        if (
            found is None
            or found[1] is not active.ruleset
            or not is_plain
            or self._engines.engine_of(first.host) is not None
        ):
            return None
        if first.device != found[0].id or first.url is None or not first.url.endswith(request.path):
            return None
        return JudgedHead(self._clients.policy, *found, first, first.url.removesuffix(request.path), active.is_granted)

    def judge_path(self, flow: http.HTTPFlow, head: JudgedHead, device: Device, ruleset: Ruleset) -> bool:
        """Register a request whose head was judged and prepared before.

        Return False, and change nothing, unless the same would follow from its head today and its URL is allowed.
        """
        clients, request, path = self._clients, head.request, flow.request.path
        is_in_force = clients.policy is head.policy and ruleset is head.ruleset and device is head.device
        if not is_in_force or path.startswith(ASK_PATH) or _HELP_MARK in path:
            return False
        request = Request(
            request.device,
            request.kind,
            request.host,
            request.port,
            head.site + path,
            "GET",
            request.resource,
            request.initiator,
        )
        decision = clients.policy.decide(ruleset, request)
        if decision.verdict is not Verdict.ALLOW:
            return False
        clients.policy.observe(device, ruleset, request, decision)
        self._counters.add(
            "hedgerow_proxy_requests_total", "inspect", decision.verdict.value, counted_reason(decision.reason)
        )
        is_explicit, address = decision.reason in EXPLICITLY_ALLOWED, clients.address(flow.client_conn)
        clients.begin(
            flow.id, ActiveRequest(flow.client_conn, address, ruleset, (request,), is_explicit, head.is_granted)
        )
        flow.request.stream = True
        return True

    def take_form(self, flow: http.HTTPFlow) -> str | None:
        """Return the search form of a request whose judgement waits for it, once; None for any other request."""
        return search_forms.read(flow) if flow.metadata.pop(_AWAITS_FORM_KEY, False) else None

    def blocked(self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, decision: Decision) -> ProxyResponse:
        """Return the block page for a request, or a picture in place of one."""
        assert request.url is not None
        page = self._clients.policy.page
        reader = page.reader_of(ruleset, flow.request.headers.get("accept-language", ""))
        if decision.reason is Reason.PICTURE and not is_document(flow.request.headers):
            return page.hidden_picture(decision, flow.request.headers.get("accept", ""), reader)
        form, now = form_of(flow.request.headers), self._clock()
        ticket = (
            issue_ticket(self._key, named_authorities(flow)[-1].host, request.device, now)
            if form is ResponseForm.PAGE
            else ""
        )
        return page.blocked(decision, request.host, request.url, now, form, reader, ticket)

    def _decide(self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, form: str | None) -> Decision:
        decision = self._clients.policy.decide(ruleset, request)
        if decision.verdict is Verdict.REWRITE and form is None and request.url is not None:
            engine = self._engines.by_id[decision.what]
            if _level(ruleset, engine) is not SafeSearch.OFF and search_forms.is_hidden(flow, engine, request.url):
                return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, engine.id)
        return decision

    def _offer_help(self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, decision: Decision) -> bool:
        """Show the helplines before the results of a search, or in their place if they are blocked.

        Return False if they do not fit.
        """
        is_blocked = decision.verdict is Verdict.BLOCK
        if form_of(flow.request.headers) is not ResponseForm.PAGE or (
            is_blocked and decision.reason is not Reason.SEARCH
        ):
            return False
        assert request.url is not None
        page = self._clients.policy.page
        parts = urlsplit(request.url)
        link = "" if is_blocked else urlunsplit(parts._replace(query=f"{parts.query}&{_HELP_SEEN}"))
        answer(
            flow,
            page.short_page(
                "search-help", 200, link, page.reader_of(ruleset, flow.request.headers.get("accept-language", ""))
            ),
        )
        return True

    def _apply_safe_search(
        self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, decision: Decision, *, is_form: bool
    ) -> None:
        """Apply one engine's parameters. Those of other engines that the request names stay."""
        engine = self._engines.by_id[decision.what]
        level, without_ai = _level(ruleset, engine), closes_ai_answers(ruleset) is not None
        assert request.url is not None
        fields = tuple((name, value) for name, value in flow.request.headers.items(multi=True))
        before = urljoin(request.url, "/")[:-1] + flow.request.path
        url, changed = apply_safe_search(engine, level, before, fields, without_ai=without_ai)
        if url != before:
            parts = urlsplit(url)
            flow.request.path = parts.path + (f"?{parts.query}" if parts.query else "")
        if is_form:
            search_forms.enforce_safe_search(flow, engine, level, before)
        for name, value in changed:
            if (name, value) not in fields:
                flow.request.headers[name] = value


def _level(ruleset: Ruleset, engine: SearchEngine) -> SafeSearch:
    return ruleset.youtube if engine.youtube else ruleset.safe_search


def answer(flow: http.HTTPFlow, response: ProxyResponse) -> None:
    """Answer a request in place of its origin."""
    flow.response = to_mitmproxy_response(response, head_only=flow.request.method == "HEAD")


def _limit_form(flow: http.HTTPFlow) -> None:
    length = flow.request.headers.get("content-length", "")
    if length.isdigit() and int(length[:12]) > MAX_FORM_BYTES:
        raise HeadError(413, "the form is too long")
    flow.metadata[LIMIT_KEY] = MAX_FORM_BYTES


def _strip_help_mark(flow: http.HTTPFlow) -> bool:
    """Remove the mark of a page of helplines that was seen. Return True if there was one."""
    if _HELP_MARK not in flow.request.path:
        return False
    flow.request.path = flow.request.path.replace(_HELP_MARK, "")
    return True


def _prepare(flow: http.HTTPFlow, ruleset: Ruleset) -> None:
    """Ask the origin for codings that can be scanned, for safe content (RFC 8674), and for the allowed tenants."""
    fields = flow.request.headers
    if (expected := fields.pop("expect", None)) is not None:
        flow.metadata[EXPECT_KEY] = expected
    if flow.server_conn.address is None:  # the client sends whole URLs
        flow.metadata[VIA_KEY] = True
        add_via(flow.request)
    # they are refused, see `responseheaders`
    if ruleset.rules.bypass and any(SIGNED_EXCHANGE in value for _, value in fields.fields):
        fields["Accept"] = _without_signed_exchanges(fields.get("accept", ""))
    if ruleset.safe_search is not SafeSearch.OFF:
        preferences = fields.get("prefer", "")
        if not preferences:
            fields.add("Prefer", "safe")
        elif "safe" not in [each.strip().lower() for each in preferences.split(",")]:
            fields["Prefer"] = f"{preferences}, safe"
    if ruleset.content.tenants is not None:
        for host in {flow.request.host, flow.request.pretty_host}:
            for name, value in ruleset.content.tenants.fields_for(host.lower().rstrip(".")):
                fields[name] = value
    codings, content = fields.get("accept-encoding", ""), ruleset.content
    scans_page = content.page_limit and form_of(fields) in {ResponseForm.PAGE, ResponseForm.FRAME}
    if codings and (content.files or content.youtube_only or content.score_limits or scans_page):
        usual = len(codings) <= _USUAL_CODINGS
        readable = _readable_codings(codings) if usual else _readable_codings.__wrapped__(codings)
        if readable != codings:
            fields["Accept-Encoding"] = readable


def _without_signed_exchanges(accepted: str) -> str:
    """Return a value of Accept without pages that other sites have signed.

    >>> _without_signed_exchanges("text/html,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7")
    'text/html,*/*;q=0.8'
    """
    return ",".join(each for each in accepted.split(",") if SIGNED_EXCHANGE.decode() not in each) or "*/*"


_USUAL_CODINGS = 100
"""Characters of an Accept-Encoding field that is looked through once: browsers send the same few."""


@lru_cache(256)
def _readable_codings(codings: str) -> str:
    """Return a value of Accept-Encoding without the codings that cannot be scanned."""
    readable = [
        each.strip() for each in codings.split(",") if each.partition(";")[0].strip().lower() in SUPPORTED_CODINGS
    ]
    return codings if len(readable) == codings.count(",") + 1 else ", ".join(readable) or "identity"
