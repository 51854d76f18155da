"""What happens when the block page's button is pressed: the question goes to the people in charge, unless it is none.

Its path is answered on the blocked site's own origin. A code, and a guest's consent to the code of conduct, come the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.policies.model import (
    AccessRequest,
    CodeEntered,
    ConductAccepted,
    Decision,
    Device,
    Reason,
    Request,
    RequestKind,
    Verdict,
)
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.limits import AttemptLimiter
from hedgerow.proxy.page_forms import (
    accepts_conduct,
    accepts_ticket,
    is_from_same_origin,
    is_navigation,
    parse_ask_form,
    parse_code,
    parse_poll_count,
    read_ticket,
)
from hedgerow.proxy.pages.block_page import forbids_access_request
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.pages.translations import PageReader
from hedgerow.proxy.policy import Counters, ProxyPolicy

_POLLS, _POLL_SECONDS = 25, 0.1
"""How often it is looked whether control's answer has come with a snapshot."""


@dataclass(frozen=True, slots=True)
class BlockPageRequest:
    """A request for the button's path on `authority`. `client` is whom the gate vouches for; `field` gives a header's value, or ''.

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


class AccessRequestHandler:
    """`judge` gives the one in force: an answer may wait for the next. `key` is that of the block pages' tickets."""

    def __init__(self, policy: Callable[[], ProxyPolicy], key: bytes, counters: Counters, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._key = key
        self._counters = counters
        self._clock = clock
        self._asked = AttemptLimiter()
        self._typed = AttemptLimiter()

    async def answer(self, question: BlockPageRequest) -> ProxyResponse:
        """What the one who asks is shown."""
        page, field, authority = self._policy().page, question.field, question.authority
        if not is_navigation(field):
            return page.closed()
        reader = page.reader_of(question.ruleset, field("accept-language"))
        is_look = question.method == "GET" and bool(question.query)
        if question.method != "POST" and not is_look:
            return page.error(405, "this address only takes the block page's question")
        is_ours = is_look or is_from_same_origin(question.scheme, authority.host, authority.port, field)
        if not is_ours or not accepts_ticket(self._key, _ticket(question), authority.host, question.device.id, self._clock()):
            return page.short_page("not-from-here", 403, reader=PageReader(reader.language))  # who is there is not told
        return self._poll(question, reader) if is_look else await self._handle_post(question, reader)

    def _poll(self, question: BlockPageRequest, reader: PageReader) -> ProxyResponse:
        """The page that waits asks whether somebody has opened what it waits for."""
        page = self._policy().page
        url = parse_ask_form(question.query.encode(), question.authority.host, question.fallback)[0]
        if self._decide(question, url).verdict is not Verdict.BLOCK:
            return page.short_page("open", 200, url, reader)
        return page.waiting(url, parse_poll_count(question.query), reader, _ticket(question))

    async def _handle_post(self, question: BlockPageRequest, reader: PageReader) -> ProxyResponse:
        page = self._policy().page
        url, note = parse_ask_form(question.body, question.authority.host, question.fallback)
        decision = self._decide(question, url)
        if decision.verdict is not Verdict.BLOCK:
            return page.short_page("open", 200, url, reader)
        if digits := parse_code(question.body):
            return await self._take_code(question, url, digits, reader)
        if decision.reason is Reason.CONDUCT and accepts_conduct(question.body):
            return await self._take_consent(question, url, reader)
        if forbids_access_request(decision):
            return page.blocked(
                decision, question.authority.host, question.fallback, self._clock(), reader=reader, ticket=_ticket(question)
            )
        return self._file_request(question, url, note, decision, reader)

    def _file_request(self, question: BlockPageRequest, url: str, note: str, decision: Decision, reader: PageReader) -> ProxyResponse:
        policy, now, device = self._policy(), self._clock(), question.device.id
        if not self._asked.allows(device, now):
            self._counters.add("hedgerow_proxy_dropped_total", "ask")
            return policy.page.short_page("too-often", 429, reader=reader)
        policy.request_access(
            AccessRequest(now, device, question.ruleset.person, question.authority.host, url, _reason_text(decision), note)
        )
        return policy.page.waiting(url, 0, reader, _ticket(question))

    async def _take_code(self, question: BlockPageRequest, url: str, digits: str, reader: PageReader) -> ProxyResponse:
        """Control takes the code in; that it was right shows in that the page is open with the next snapshot."""
        policy, now, device = self._policy(), self._clock(), question.device.id
        if not self._typed.allows(device, now):
            self._counters.add("hedgerow_proxy_dropped_total", "code")
            return policy.page.short_page("code-wrong", 429, reader=reader)
        policy.submit_code(CodeEntered(now, device, digits))
        for _ in range(_POLLS):
            await asyncio.sleep(_POLL_SECONDS)
            if self._decide(question, url).verdict is not Verdict.BLOCK:
                return self._policy().page.short_page("open", 200, url, reader)
        return policy.page.short_page("code-wrong", 403, reader=reader)

    async def _take_consent(self, question: BlockPageRequest, url: str, reader: PageReader) -> ProxyResponse:
        """A guest accepts the code of conduct; then the page is as open as it is for the guest."""
        self._policy().accept_conduct(ConductAccepted(self._clock(), question.ruleset.session))
        for _ in range(_POLLS):
            await asyncio.sleep(_POLL_SECONDS)
            decision = self._decide(question, url)
            if decision.verdict is not Verdict.BLOCK:
                return self._policy().page.short_page("open", 200, url, reader)
            if decision.reason is not Reason.CONDUCT:
                break
        return self._policy().page.blocked(decision, question.authority.host, url, self._clock(), reader=reader, ticket=_ticket(question))

    def _decide(self, question: BlockPageRequest, url: str) -> Decision:
        """What holds for `url` at this moment; of who is nobody's any more, what held when the question came."""
        policy, authority = self._policy(), question.authority
        found = policy.find_client(question.client)
        ruleset = question.ruleset if found is None else found[1]
        return policy.decide(ruleset, Request(question.device.id, RequestKind.HTTP, authority.host, authority.port, url))


def _ticket(question: BlockPageRequest) -> str:
    return read_ticket(question.body if question.method == "POST" else question.query.encode())


def _reason_text(decision: Decision) -> str:
    return f"{decision.reason.value}: {decision.what}" if decision.what else decision.reason.value
