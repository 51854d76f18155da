"""The hooks of mitmproxy's layers: each request of an inspected connection is judged, each response scanned.

mitmproxy logs an exception in a hook and continues as if the hook had agreed. So every hook that decides anything
closes the connection when it fails: an error must never let something through.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from mitmproxy import connection, http

from hedgerow.policies.model import Decision
from hedgerow.policies.privacy import counted_reason
from hedgerow.proxy.access_requests import AccessRequestHandler, BlockPageRequest
from hedgerow.proxy.http_head import HeadError
from hedgerow.proxy.inspection.certificates import CertificateReactions
from hedgerow.proxy.inspection.clients import ClientRegistry, ClientRejected
from hedgerow.proxy.inspection.engine.flows import HeaderFields
from hedgerow.proxy.inspection.engine.http_stream import REFUSAL_KEY
from hedgerow.proxy.inspection.engine.messages import (
    TOO_MANY_INTERIM,
    form_of,
    is_signed_exchange,
    lane_label,
    named_authorities,
    url_of,
)
from hedgerow.proxy.inspection.failures import CERTIFICATE_ASKED, failure_key
from hedgerow.proxy.inspection.head_cache import HeadCache
from hedgerow.proxy.inspection.hops import VIA_KEY, add_via
from hedgerow.proxy.inspection.origin_policy import OriginPolicy, ResolutionBlock
from hedgerow.proxy.inspection.request import JudgedHead, RequestHandler, answer
from hedgerow.proxy.inspection.response import ResponseScanning, remove_http3
from hedgerow.proxy.page_forms import issue_ticket
from hedgerow.proxy.pages.block_page import ASK_PATH
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm
from hedgerow.proxy.pages.translations import PageReader, choose_language
from hedgerow.proxy.pass_through import CertificateRefusals
from hedgerow.proxy.policy import Counters, ProxyPolicy
from hedgerow.proxy.scanners.launcher import StartProgram, start_child
from hedgerow.proxy.scanners.workers import ScanPool

log = logging.getLogger(__name__)


class InspectionAddon:
    """The hooks of mitmproxy's layers. `close` ends a client's connection. `key` signs the tickets of block pages.

    `bound` are the connections to origins that are authenticated for one client (NTLM, Negotiate) and serve no second
    one.
    """

    def __init__(
        self,
        policy: ProxyPolicy,
        key: bytes,
        counters: Counters,
        clock: Callable[[], float],
        close: Callable[[connection.Client], None],
        refusals: CertificateRefusals | None = None,
        start_program: StartProgram = start_child,
    ) -> None:
        self.clients = ClientRegistry(policy)
        self.certificates = CertificateReactions(self.clients, counters, clock, refusals)
        self.origins = OriginPolicy(self.clients, counters, clock)
        self.scans = ScanPool()
        self.bound: set[str] = set()
        self._key = key
        self._counters = counters
        self._clock = clock
        self.close = close
        self.judge = RequestHandler(self.clients, key, counters, clock)
        self.heads = HeadCache(self.clients, self.judge)
        self.scanning = ResponseScanning(self.clients, counters, self.scans, start_program)
        self._access_requests = AccessRequestHandler(lambda: self.clients.policy, key, counters, clock)

    def swap(self, policy: ProxyPolicy) -> None:
        """Put another policy in force."""
        self.clients.policy = policy
        self.heads.clear()
        self.origins.swap()
        self.scanning.swap()

    def requestheaders(self, flow: http.HTTPFlow, form: str | None = None) -> None:
        """Judge a request by its head, or by its search `form` once that is there."""
        if flow.error is not None:  # mitmproxy has refused it already
            return
        try:
            found = self.clients.find(flow.client_conn.id)
            if found is None:
                raise ClientRejected("the client is no device of this network")
            self.judge.judge(flow, *found, form)
        except HeadError as error:
            answer(flow, self.clients.policy.page.error(error.status, str(error)))
        except Exception as error:
            self._end(flow, error)

    def judge_path(self, flow: http.HTTPFlow, head: JudgedHead) -> bool:
        """Judge a request whose head was judged before. Return False if it must be judged as a whole."""
        try:
            found = self.clients.find(flow.client_conn.id)
            return found is not None and self.judge.judge_path(flow, head, *found)
        except Exception as error:
            self._end(flow, error)
            return True

    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """Handle the end of a request's body."""
        if flow.response is not None or flow.error is not None:
            return None
        if flow.request.path.startswith(ASK_PATH):
            return self._answer_block_page(flow)
        if (form := self.judge.take_form(flow)) is not None:
            self.requestheaders(flow, form)
        return None

    async def _answer_block_page(self, flow: http.HTTPFlow) -> None:
        try:
            answer(flow, await self._access_requests.answer(self._block_page_request(flow)))
        except Exception as error:
            self._end(flow, error)

    def _block_page_request(self, flow: http.HTTPFlow) -> BlockPageRequest:
        found = self.clients.find(flow.client_conn.id)
        if found is None:
            raise ClientRejected("the client is no device of this network")
        request, authority = flow.request, named_authorities(flow)[-1]
        return BlockPageRequest(
            self.clients.address(flow.client_conn),
            *found,
            request.scheme,
            authority,
            request.method,
            urlsplit(request.path).query,
            request.raw_content or b"",
            url_of(request.scheme, authority, "/"),
            lambda name: str(request.headers.get(name, "")),
        )

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Scan a response."""
        active = self.clients.active.get(flow.id)
        if flow.response is None or active is None:
            return
        flow.response.stream = True
        if VIA_KEY in flow.metadata:
            add_via(flow.response)
        remove_http3(flow.response)
        if active.ruleset.rules.bypass and is_signed_exchange(flow.response):
            message = "the body is a page that another site has signed"
            flow.metadata[REFUSAL_KEY] = self.explain(502, message, flow.request, flow.client_conn.id)
            return

        def refuse(decision: Decision) -> ProxyResponse:
            found = self.clients.policy.find_client(active.address)
            if found is not None:
                self.clients.policy.observe(found[0], active.ruleset, active.requests[0], decision)
            self._counters.add(
                "hedgerow_proxy_requests_total",
                lane_label(flow),
                decision.verdict.value,
                counted_reason(decision.reason),
            )
            return self.judge.blocked(flow, active.ruleset, active.requests[0], decision)

        try:
            self.scanning.scan(flow, active, refuse)
        except Exception as error:
            self._end(flow, error)

    def response(self, flow: http.HTTPFlow) -> None:
        """Handle the end of a response."""
        # such credentials are for the connection, which serves no other client then
        if flow.request.headers.get("authorization", "")[:9].lower().startswith(("ntlm", "negotiate")):
            self.bound.add(flow.server_conn.id)
        if flow.websocket is None:  # a WebSocket is active until its connection ends
            self.clients.end(flow.id)

    def error(self, flow: http.HTTPFlow) -> None:
        """Handle a failed request."""
        if flow.error is not None and TOO_MANY_INTERIM in flow.error.msg:
            self._counters.add("hedgerow_proxy_dropped_total", "interim")
            log.warning("a request failed: %s", TOO_MANY_INTERIM)
        self.clients.end(flow.id)

    def explain(self, status: int, message: str, request: http.Request | None, client: str) -> ProxyResponse:
        """Return the answer to a request that failed with `message`, in the form that its client can show."""
        fields = request.headers if request is not None else HeaderFields()
        page, form, language = self.clients.policy.page, form_of(fields), fields.get("accept-language", "")
        if isinstance(message, ResolutionBlock):
            blocked, now = message.request, self._clock()
            ticket = issue_ticket(self._key, blocked.host, blocked.device, now)
            reader = page.reader_of(message.ruleset, language)
            return page.blocked(message.decision, blocked.host, blocked.url or "", now, form, reader, ticket)
        if form is not ResponseForm.PAGE or status not in {400, 502}:
            return page.error(status, message)
        found = self.clients.find(client)
        reader = page.reader_of(found[1], language) if found is not None else PageReader(choose_language(language))
        shown = page.short_page(failure_key(status, message), status, reader=reader)
        if CERTIFICATE_ASKED in message:
            return replace(shown, headers=(*shown.headers, ("Refresh", "1")))
        return shown

    def _end(self, flow: http.HTTPFlow, error: Exception) -> None:
        if isinstance(error, ClientRejected):
            self._counters.add("hedgerow_proxy_dropped_total", "inspector")
            log.info("closed a connection: %s", error)
        else:
            log.error("cannot judge a request", exc_info=error)
        self.clients.end(flow.id)
        if flow.killable:
            flow.kill()
        self.close(flow.client_conn)
