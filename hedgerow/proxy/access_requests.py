"""Answers to the block page's forms: requests for access, codes, and a guest's consent to the code of conduct.

The forms are posted to a path on the blocked site's own origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass

from hedgerow.blocklists.names import is_public_suffix
from hedgerow.policies.access_subject import permission_behind, service_or_address
from hedgerow.policies.askable import forbids_access_request
from hedgerow.policies.model import AccessRequest, CodeEntered, Decision, Device, Reason, Request, RequestKind, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.policies.seats import ConductAccepted
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.limits import AttemptLimiter
from hedgerow.proxy.page_forms import (
    accepts_ticket,
    form_fields,
    is_from_same_origin,
    is_navigation,
    issue_ticket,
    parse_ask_form,
    parse_poll_count,
    ticket_time,
)
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.pages.translations import PageReader, Permission
from hedgerow.proxy.policy import Counters, ProxyPolicy

_POLLS, _POLL_SECONDS = 25, 0.1
"""Checks whether control's answer has come with a snapshot, and seconds between them."""

_MAX_CODE, _MAX_TICKET = 20, 100

_ANSWER_POLLS = 90
"""Checks whether somebody has answered a request, until the waiting page is loaded again."""


@dataclass(frozen=True, slots=True)
class BlockPageRequest:
    """A request for the forms' path on `authority`.

    `client` is the address (or `user:NAME`) for which the gate vouches. `field` returns a header's value or ''.
    `fallback` is the URL that is meant where the form names none of this host.
    """

    client: str
    device: Device
    ruleset: Ruleset
    scheme: str
    authority: Authority
    method: str
    query: str
    body: bytes
    fallback: str
    field: Callable[[str], str]

    @property
    def form(self) -> dict[str, str]:
        return form_fields(self.body if self.method == "POST" else self.query.encode())

    @property
    def ticket(self) -> str:
        return self.form.get("ticket", "")[:_MAX_TICKET]


class AccessRequestHandler:
    """The handler of the forms.

    `policy` returns the policy in force, since an answer may wait for the next one. `key` signs tickets.
    """

    def __init__(
        self, policy: Callable[[], ProxyPolicy], key: bytes, counters: Counters, clock: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._key = key
        self._counters = counters
        self._clock = clock
        self._request_limit = AttemptLimiter()
        self._code_limit = AttemptLimiter()

    async def answer(self, request: BlockPageRequest) -> ProxyResponse:
        """The response to a form or to a poll of a waiting page."""
        page, field, authority = self._policy().page, request.field, request.authority
        if not is_navigation(field):
            return page.closed()
        reader = page.reader_of(request.ruleset, field("accept-language"))
        is_poll = request.method == "GET" and bool(request.query)
        if request.method != "POST" and not is_poll:
            return page.error(405, "this address only takes the block page's question")
        is_ours = is_poll or is_from_same_origin(request.scheme, authority.host, authority.port, field)
        if not is_ours or not accepts_ticket(
            self._key, request.ticket, authority.host, request.device.id, self._clock()
        ):
            # does not tell a child from an adult
            return page.short_page("not-from-here", 403, reader=PageReader(reader.language))
        return await self._poll(request, reader) if is_poll else await self._handle_post(request, reader)

    async def _poll(self, request: BlockPageRequest, reader: PageReader) -> ProxyResponse:
        """Wait for an answer for some seconds, so that the page shows it at once without being loaded all the time."""
        url = parse_ask_form(request.form, request.authority.host, request.fallback)[0]
        for _ in range(_ANSWER_POLLS):
            decision = self._decide(request, url)
            if decision.verdict is not Verdict.BLOCK:
                return self._open(request, url, decision, reader)
            if (reason := self._denial(request, decision)) is not None:
                return self._policy().page.short_page("denied", 200, reader=reader, said=reason)
            await asyncio.sleep(_POLL_SECONDS)
        return self._policy().page.waiting(url, parse_poll_count(request.query), reader, request.ticket)

    def _denial(self, request: BlockPageRequest, decision: Decision) -> str | None:
        """Return the reason, if any, if the request that got this ticket was denied, and not an earlier one."""
        device, policy = request.device.id, self._policy()
        subject = service_or_address(request.authority.host, _stored_reason(decision))
        denied = policy.denied_at(device, subject)
        is_it = denied is not None and denied >= ticket_time(request.ticket)
        return policy.denial_reason(device, subject) if is_it else None

    async def _handle_post(self, request: BlockPageRequest, reader: PageReader) -> ProxyResponse:
        url, note = parse_ask_form(request.form, request.authority.host, request.fallback)
        decision = self._decide(request, url)
        if decision.verdict is not Verdict.BLOCK:
            return self._open(request, url, decision, reader)
        if digits := request.form.get("code", "").strip()[:_MAX_CODE]:
            return await self._take_code(request, url, digits, reader)
        if decision.reason is Reason.CONDUCT and request.form.get("accept") == "yes":
            return await self._take_consent(request, url, reader)
        if forbids_access_request(decision) or is_public_suffix(request.authority.host):
            return self._blocked(request, request.fallback, decision, reader)
        return self._file_request(request, url, note, decision, reader)

    def _file_request(
        self, request: BlockPageRequest, url: str, note: str, decision: Decision, reader: PageReader
    ) -> ProxyResponse:
        policy, now, device = self._policy(), self._clock(), request.device.id
        if not self._request_limit.allows(request.ruleset.limited_as(device), now, is_named=request.device.known):
            self._counters.add("hedgerow_proxy_dropped_total", "ask")
            return policy.page.short_page("too-often", 429, reader=reader)
        reason = _stored_reason(decision)
        policy.request_access(
            AccessRequest(now, device, request.ruleset.person, request.authority.host, url, reason, note)
        )
        ticket = issue_ticket(self._key, request.authority.host, device, now)
        return policy.page.waiting(url, 0, reader, ticket)

    async def _take_code(self, request: BlockPageRequest, url: str, digits: str, reader: PageReader) -> ProxyResponse:
        """Send a code to control. If it is right, the URL is open under the next snapshot."""
        policy, now, device = self._policy(), self._clock(), request.device.id
        if not self._code_limit.allows(request.ruleset.limited_as(device), now, is_named=request.device.known):
            self._counters.add("hedgerow_proxy_dropped_total", "code")
            return policy.page.short_page("code-wrong", 429, reader=reader)
        policy.submit_code(CodeEntered(now, device, digits))
        decision = await self._wait_while_blocked(request, url, Reason)
        if decision.verdict is not Verdict.BLOCK:
            return self._open(request, url, decision, reader)
        return policy.page.short_page("code-wrong", 403, reader=reader)

    async def _take_consent(self, request: BlockPageRequest, url: str, reader: PageReader) -> ProxyResponse:
        """Report that a guest accepts the code of conduct; then the guest's own rules apply to the URL."""
        self._policy().accept_conduct(ConductAccepted(self._clock(), request.ruleset.session))
        decision = await self._wait_while_blocked(request, url, {Reason.CONDUCT})
        if decision.verdict is not Verdict.BLOCK:
            return self._open(request, url, decision, reader)
        return self._blocked(request, url, decision, reader)

    async def _wait_while_blocked(self, request: BlockPageRequest, url: str, reasons: Container[Reason]) -> Decision:
        """Wait until the URL is not blocked for one of these reasons any more, or the time is over; returns the last
        decision.
        """
        for _ in range(_POLLS):
            await asyncio.sleep(_POLL_SECONDS)
            decision = self._decide(request, url)
            if decision.verdict is not Verdict.BLOCK or decision.reason not in reasons:
                break
        return decision

    def _open(self, request: BlockPageRequest, url: str, decision: Decision, reader: PageReader) -> ProxyResponse:
        """The page that leads to what is open now. It says what was allowed, and until when."""
        policy = self._policy()
        found = policy.find_client(request.client)
        rule = permission_behind(request.ruleset if found is None else found[1], decision, request.authority.host)
        now = self._clock()
        until = None if rule is None or rule.until is None else policy.open_until(request.device, now, rule.until)
        return policy.page.short_page(
            "open", 200, url, reader, None if rule is None else Permission(rule.target.name, until, now)
        )

    def _blocked(self, request: BlockPageRequest, url: str, decision: Decision, reader: PageReader) -> ProxyResponse:
        host, now = request.authority.host, self._clock()
        return self._policy().page.blocked(decision, host, url, now, reader=reader, ticket=request.ticket)

    def _decide(self, request: BlockPageRequest, url: str) -> Decision:
        """The decision on `url` at this moment, under the request's ruleset if its client is unknown by now."""
        policy, authority = self._policy(), request.authority
        found = policy.find_client(request.client)
        ruleset = request.ruleset if found is None else found[1]
        return policy.decide(ruleset, Request(request.device.id, RequestKind.HTTP, authority.host, authority.port, url))


def _stored_reason(decision: Decision) -> str:
    return f"{decision.reason.value}: {decision.what}" if decision.what else decision.reason.value
