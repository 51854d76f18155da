"""Judge every request of an inspected connection: the addon that mitmproxy calls.

mitmproxy logs an addon's exception and goes on as if the addon had agreed, so every hook here that decides anything closes the
connection when it fails: an error must never let something through.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never
from urllib.parse import urljoin, urlsplit

from mitmproxy import connection, http

from hedgerow.blocklists.names import is_address
from hedgerow.policies.content import CERTIFICATE_REFUSED, PASS_THROUGH
from hedgerow.policies.model import Decision, Device, DeviceId, Reason, Request, RequestKind, Verdict
from hedgerow.policies.privacy import is_private_search
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.safe_search import SearchEngines, apply_safe_search
from hedgerow.proxy.access_requests import AccessRequestHandler, BlockPageRequest
from hedgerow.proxy.http_head import HeadError, parse_authority
from hedgerow.proxy.inspection import content, search_forms
from hedgerow.proxy.inspection.engine.http_stream import LIMIT
from hedgerow.proxy.inspection.engine.messages import lane_label, named_authorities, request_of, to_mitmproxy_response, url_of
from hedgerow.proxy.inspection.failures import NO_ADDRESS, NOT_REACHABLE, ResolutionBlock, ResolutionBlocks, failure_key
from hedgerow.proxy.inspection.origins import OriginError
from hedgerow.proxy.page_forms import MAX_FORM_BYTES, issue_ticket
from hedgerow.proxy.pages.block_page import ASK_PATH
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm
from hedgerow.proxy.pages.translations import PageReader, choose_language
from hedgerow.proxy.pass_through import CertificateRefusals, Outcome, is_certificate_alert, may_pass_through
from hedgerow.proxy.policy import Counters, ProxyPolicy, ResolvedHostCache, strictest
from hedgerow.proxy.scanners.words import PhraseMatcher

log = logging.getLogger(__name__)

_EXPLICITLY_ALLOWED = frozenset({Reason.LIFELINE, Reason.GRANT, Reason.EXCEPTION})
_HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")
_HOP_BY_HOP = frozenset({b"proxy-connection", b"proxy-authorization", b"keep-alive"})


class ClientRejected(Exception):
    """This connection has no business here; it is closed without an answer."""


@dataclass(frozen=True, slots=True)
class ActiveRequest:
    """A request that was let through and is not over: it is judged again when the policy changes."""

    client: connection.Client
    address: str
    ruleset: Ruleset
    requests: tuple[Request, ...]
    is_explicitly_allowed: bool = False  # somebody said that it is open: its content is nobody's business then


class InspectionAddon:
    """`close` ends a client's connection. `swap` replaces `judge` at any time.

    `key` signs the block pages' tickets.
    `bound` are the connections to origins that know who speaks on them (NTLM and its like), and serve no second client.
    """

    def __init__(
        self,
        policy: ProxyPolicy,
        key: bytes,
        counters: Counters,
        clock: Callable[[], float],
        close: Callable[[connection.Client], None],
        refusals: CertificateRefusals | None = None,
    ) -> None:
        self.policy = policy
        self.running: dict[str, ActiveRequest] = {}
        self.bound: set[str] = set()
        self._key = key
        self._counters = counters
        self._clock = clock
        self._close = close
        self._refusals = refusals
        self._addresses: dict[str, str] = {}
        self._forms: set[str] = set()
        self._hidden = ResolutionBlocks()
        self._access_requests = AccessRequestHandler(lambda: self.policy, key, counters, clock)
        self._engines = SearchEngines.load()
        self._phrases_cache: PhraseMatcher | None = None
        self._known = ResolvedHostCache(policy.resolve)
        self._listeners: dict[str, Callable[..., Coroutine[Any, Any, None] | None]] = {name: getattr(self, name) for name in _HOOKS}

    def swap(self, policy: ProxyPolicy) -> None:
        self.policy, self._phrases_cache, self._known = policy, None, ResolvedHostCache(policy.resolve)

    # Connections.

    def serves(self, port: int) -> bool:
        return port in self.policy.guard.ports

    def admit(self, client: connection.Client, address: str) -> None:
        """The gate vouches for this client until `leave`."""
        self._addresses[client.id] = address

    def leave(self, client: connection.Client) -> None:
        self._addresses.pop(client.id, None)
        self._hidden.forget(client.id)
        for id in [id for id, running in self.running.items() if running.client is client]:
            del self.running[id]

    async def addresses_for(self, client: connection.Client, host: str, port: int) -> tuple[DeviceId, tuple[str, ...]]:
        """For which device something is dialled, and where: addresses that our own resolver gave for it, and that are nobody's private
        business. Raises OriginError."""
        authority = parse_authority(host if ":" not in host else f"[{host}]", port)
        found = self.policy.find_client(self._addresses[client.id])
        if found is None or not self.serves(port):
            raise OriginError("this destination is not served")
        device, ruleset = found
        addresses: Iterable[str] = (authority.host,)
        if not is_address(authority.host):
            addresses = await self._resolve(client, device, ruleset, authority.host)
        allowed = self.policy.guard.allowed(addresses)
        if not allowed:
            self._counters.add("hedgerow_proxy_dropped_total", "destination")
            raise OriginError(NOT_REACHABLE)
        return device.id, allowed

    async def _resolve(self, client: connection.Client, device: Device, ruleset: Ruleset, host: str) -> Sequence[str]:
        """The addresses of a host to which a request goes. Where the name is blocked and yet a URL of it open, that was said of the URL."""
        resolved = await self._known.resolve(ruleset, device.id, host, self._clock())
        running = [each for each in self.running.values() if each.client is client]
        request = next((request for each in running for request in each.requests if request.host == host), None)
        if resolved.decision.verdict is Verdict.BLOCK and request is not None:
            resolved = await self.policy.resolve(ruleset, device.id, host, url_is_allowed=True)
            if resolved.decision.verdict is Verdict.BLOCK:
                self.policy.observe(device, ruleset, request, resolved.decision)
                raise OriginError(self._hidden.keep(client.id, ResolutionBlock(ruleset, request, resolved.decision)))
        if resolved.decision.verdict is Verdict.BLOCK or not resolved.addresses:
            raise OriginError(NO_ADDRESS)
        return resolved.addresses

    def certificate_refused(self, client: connection.Client, target: tuple[str, int] | None, reason: str | None) -> None:
        """The client did not want our certificate: the CA is not installed there, or the app is pinned to its own.

        `reason` is OpenSSL's name for what the client said; None when it left without a word.
        """
        self._counters.add("hedgerow_proxy_dropped_total", "certificate")
        try:
            with_alert = is_certificate_alert(reason)
            if with_alert is not False and self._refusals is not None and target is not None:
                self._pass_through(self._refusals, client, target, with_alert=bool(with_alert))
        except Exception:
            log.exception("a refused certificate could not be noted")

    def certificate_accepted(self, client: connection.Client, target: tuple[str, int] | None) -> None:
        """The client speaks under our certificate."""
        found = self.policy.find_client(self._addresses[client.id])
        if self._refusals is not None and found is not None and target is not None:
            for host in {target[0], client.sni or target[0]}:
                self._refusals.accepted(found[0].id, host, self._clock())

    def _pass_through(self, refusals: CertificateRefusals, client: connection.Client, target: tuple[str, int], *, with_alert: bool) -> None:
        """Have the hosts that this connection named passed through if no rule depends on their URLs; report those that fail."""
        found = self.policy.find_client(self._addresses[client.id])
        if found is None:
            return
        device, ruleset = found
        hosts = {target[0], client.sni or target[0]}
        requests = [Request(device.id, RequestKind.TUNNEL, host, target[1]) for host in sorted(hosts)]
        judged = [(each, self.policy.decide(ruleset, each)) for each in requests]
        for request, decision in judged:
            if decision.verdict is not Verdict.INSPECT:
                continue
            passes = may_pass_through(ruleset, decision)
            match refusals.refused(device.id, request.host, self._clock(), with_alert=with_alert, may_pass=passes):
                case Outcome.PASSED:
                    self._counters.add("hedgerow_proxy_passed_through_total")
                    self.policy.observe(device, ruleset, request, replace(decision, verdict=Verdict.ALLOW, what=PASS_THROUGH))
                case Outcome.FAILS:
                    self.policy.observe(device, ruleset, request, replace(decision, verdict=Verdict.BLOCK, what=CERTIFICATE_REFUSED))
                case Outcome.IGNORED:
                    pass
                case other:
                    assert_never(other)

    # What mitmproxy's layers tell.

    def run_hook(self, hook: str, arguments: Sequence[Any]) -> Coroutine[Any, Any, None] | None:
        """One of mitmproxy's hooks, by its name; those that nobody listens to are passed over. What it returns has to be awaited."""
        listen = self._listeners.get(hook)
        return listen(*arguments) if listen is not None else None

    # Requests.

    def requestheaders(self, flow: http.HTTPFlow, form: str | None = None) -> None:
        """A search that is sent as a form is judged when the form is there."""
        if flow.error is not None:  # mitmproxy has refused it already
            return
        try:
            self._decide_request(flow, form)
        except HeadError as error:
            self._answer(flow, self.policy.page.error(error.status, str(error)))
        except Exception as error:
            self._end(flow, error)

    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        if flow.response is not None or flow.error is not None:
            self._forms.discard(flow.id)
            return None
        if flow.request.path.startswith(ASK_PATH):
            return self._hear_question(flow)
        if flow.id in self._forms:
            self._forms.discard(flow.id)
            self.requestheaders(flow, search_forms.read(flow))
        return None

    async def _hear_question(self, flow: http.HTTPFlow) -> None:
        try:
            self._answer(flow, await self._access_requests.answer(self._question_of(flow)))
        except Exception as error:
            self._end(flow, error)

    def _question_of(self, flow: http.HTTPFlow) -> BlockPageRequest:
        device, ruleset = self._client(flow)
        request, authority = flow.request, named_authorities(flow)[-1]
        return BlockPageRequest(
            self._addresses[flow.client_conn.id], device, ruleset, request.scheme, authority, request.method, urlsplit(request.path).query,
            request.raw_content or b"", url_of(request.scheme, authority, "/"), lambda name: str(request.headers.get(name, "")),
        )  # fmt: skip

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        running = self.running.get(flow.id)
        if flow.response is None or running is None:
            return
        flow.response.stream = True
        try:
            if not running.is_explicitly_allowed:
                self._watch(flow, running)
        except Exception as error:
            self._end(flow, error)

    def _watch(self, flow: http.HTTPFlow, running: ActiveRequest) -> None:
        def refuse(decision: Decision) -> ProxyResponse:
            found = self.policy.find_client(running.address)
            if found is not None:
                self.policy.observe(found[0], running.ruleset, running.requests[0], decision)
            self._counters.add("hedgerow_proxy_requests_total", lane_label(flow), decision.verdict.value, decision.reason.value)
            return self._blocked(flow, running.ruleset, running.requests[0], decision)

        def on_page_scanned(verdict: str) -> None:
            self._counters.add("hedgerow_proxy_pages_scanned_total", verdict)

        content.watch(flow, running.requests[0].url or "", running.ruleset, self._load_phrases(), refuse, on_page_scanned)

    def _load_phrases(self) -> PhraseMatcher:
        """Those of the policy in force; a list that cannot be read is left out, and said to be."""
        if self._phrases_cache is None:
            try:
                phrases, problems = PhraseMatcher.load(self.policy.phrase_lists)
            except OSError as error:
                log.error("the phrase lists cannot be read, so only the built-in ones are used: %s", error)
                phrases, problems = PhraseMatcher.load()
            if problems:
                log.warning("%d lines of the phrase lists cannot be read; the first: %s", len(problems), problems[0])
            self._phrases_cache = phrases
        return self._phrases_cache

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.request.headers.get("authorization", "")[:9].lower().startswith(("ntlm", "negotiate")):
            self.bound.add(flow.server_conn.id)
        self._forms.discard(flow.id)  # whose body was too long
        if flow.websocket is None:  # else it runs until its connection ends
            self.running.pop(flow.id, None)

    def error(self, flow: http.HTTPFlow) -> None:
        self.running.pop(flow.id, None)
        self._forms.discard(flow.id)

    def recheck_requests(self, is_due: Callable[[ActiveRequest], bool]) -> int:
        """Judge again the running requests that `is_due` picks, and close what is not allowed any more; returns how many."""
        count = 0
        for id, running in tuple(self.running.items()):
            if not is_due(running):
                continue
            found = self.policy.find_client(running.address)
            if found is None or any(self.policy.decide(found[1], each).verdict is Verdict.BLOCK for each in running.requests):
                self._close(running.client)
                count += 1
            else:
                self.running[id] = replace(running, ruleset=found[1])
        return count

    def _decide_request(self, flow: http.HTTPFlow, form: str | None) -> None:
        device, ruleset = self._client(flow)
        fields = flow.request.headers
        fields.fields = tuple(field for field in fields.fields if field[0].lower() not in _HOP_BY_HOP)
        authorities = named_authorities(flow)
        if any(each.port not in self.policy.guard.ports for each in authorities):
            raise HeadError(403, "this port is not served")
        if flow.request.path.startswith(ASK_PATH):
            length = fields.get("content-length", "")
            if length.isdigit() and int(length[:12]) > MAX_FORM_BYTES:
                raise HeadError(413, "the form is too long")
            flow.metadata[LIMIT] = MAX_FORM_BYTES
            return
        has_seen_help = content.strip_help_mark(flow)
        sent = tuple(request_of(flow, device, authority) for authority in authorities)
        if form is None and search_forms.is_readable(flow, sent):
            self._forms.add(flow.id)
            return
        requests = sent if form is None else tuple(search_forms.with_words(each, form) for each in sent)
        judged = [(each, self._decide(flow, ruleset, each, form)) for each in requests]
        request, decision = strictest(judged)
        is_private = any(is_private_search(each) for each in requests)
        if not is_private:
            self.policy.observe(device, ruleset, request, decision)
        self._counters.add("hedgerow_proxy_requests_total", lane_label(flow), decision.verdict.value, decision.reason.value)
        is_asked_for = form is not None or flow.request.method == "GET"
        if is_private and is_asked_for and not has_seen_help and self._offer_help(flow, ruleset, request, decision):
            return
        if decision.verdict is Verdict.BLOCK:
            self._answer(flow, self._blocked(flow, ruleset, request, decision))
            return
        for each, verdict in judged:
            if verdict.verdict is Verdict.REWRITE:
                self._apply_safe_search(flow, ruleset, each, verdict, is_form=form is not None)
        content.prepare(flow, ruleset)
        is_explicitly_allowed = decision.reason in _EXPLICITLY_ALLOWED
        self.running[flow.id] = ActiveRequest(
            flow.client_conn, self._addresses[flow.client_conn.id], ruleset, requests, is_explicitly_allowed
        )
        flow.request.stream = True

    def _decide(self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, form: str | None) -> Decision:
        decision = self.policy.decide(ruleset, request)
        if decision.verdict is Verdict.REWRITE and form is None and request.url is not None:
            engine = self._engines.by_id[decision.what]
            if search_forms.is_hidden(flow, engine, request.url):
                return Decision(Verdict.BLOCK, Reason.SAFE_SEARCH, engine.id)
        return decision

    def _offer_help(self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, decision: Decision) -> bool:
        """Say who listens before the results of a search are shown, or in their place where they are blocked."""
        if content.form(flow.request.headers) is not ResponseForm.PAGE:
            return False
        is_blocked = decision.verdict is Verdict.BLOCK
        if is_blocked and decision.reason is not Reason.SEARCH:
            return False
        assert request.url is not None
        reader = self.policy.page.reader_of(ruleset, flow.request.headers.get("accept-language", ""))
        link = "" if is_blocked else content.url_after_help(request.url)
        self._answer(flow, self.policy.page.short_page("search-help", 200, link, reader))
        return True

    def _blocked(self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, decision: Decision) -> ProxyResponse:
        assert request.url is not None
        reader = self.policy.page.reader_of(ruleset, flow.request.headers.get("accept-language", ""))
        form, now = content.form(flow.request.headers), self._clock()
        ticket = issue_ticket(self._key, named_authorities(flow)[-1].host, request.device, now) if form is ResponseForm.PAGE else ""
        return self.policy.page.blocked(decision, request.host, request.url, now, form, reader, ticket)

    def _apply_safe_search(self, flow: http.HTTPFlow, ruleset: Ruleset, request: Request, decision: Decision, *, is_form: bool) -> None:
        """For one of the engines that are named; what was changed for another stays so."""
        engine = self._engines.by_id[decision.what]
        level = ruleset.youtube if engine.youtube else ruleset.safe_search
        assert request.url is not None
        fields = tuple((name, value) for name, value in flow.request.headers.items(multi=True))
        before = urljoin(request.url, "/")[:-1] + flow.request.path
        url, changed = apply_safe_search(engine, level, before, fields)
        if url != before:
            parts = urlsplit(url)
            flow.request.path = parts.path + (f"?{parts.query}" if parts.query else "")
        if is_form:
            search_forms.keep_safe(flow, engine, level, before)
        for name, value in changed:
            if (name, value) not in fields:
                flow.request.headers[name] = value

    def explain(self, status: int, message: str, request: http.Request | None, client: str) -> ProxyResponse:
        """What somebody is told when a request could not be carried out, in the form that suits the one who asked."""
        fields = request.headers if request is not None else http.Headers()
        form = content.form(fields)
        if (hidden := self._hidden.recall(message)) is not None:
            url, reader = hidden.request.url or "", self.policy.page.reader_of(hidden.ruleset, fields.get("accept-language", ""))
            ticket = issue_ticket(self._key, hidden.request.host, hidden.request.device, self._clock())
            return self.policy.page.blocked(hidden.decision, hidden.request.host, url, self._clock(), form, reader, ticket)
        if form is not ResponseForm.PAGE or status not in {400, 502}:
            return self.policy.page.error(status, message)
        found = self.policy.find_client(self._addresses.get(client, ""))
        language = fields.get("accept-language", "")
        reader = self.policy.page.reader_of(found[1], language) if found is not None else PageReader(choose_language(language))
        return self.policy.page.short_page(failure_key(status, message), status, reader=reader)

    # Small things.

    def _client(self, flow: http.HTTPFlow) -> tuple[Device, Ruleset]:
        found = self.policy.find_client(self._addresses[flow.client_conn.id])
        if found is None:
            raise ClientRejected("the client is no device of this network")
        return found

    def _answer(self, flow: http.HTTPFlow, answer: ProxyResponse) -> None:
        flow.response = to_mitmproxy_response(answer, head_only=flow.request.method == "HEAD")

    def _end(self, flow: http.HTTPFlow, error: Exception) -> None:
        if isinstance(error, ClientRejected):
            self._counters.add("hedgerow_proxy_dropped_total", "inspector")
            log.info("a connection was closed: %s", error)
        else:
            log.error("a request could not be judged", exc_info=error)
        self.running.pop(flow.id, None)
        if flow.killable:
            flow.kill()
        self._close(flow.client_conn)
