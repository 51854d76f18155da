"""What happens when the block page's button is pressed: the question goes to the people in charge, unless it is none.

Its path is answered on the blocked site's own origin. A code, and a guest's consent to the code of conduct, come the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.policies.model import AccessRequest, CodeTyped, ConductAccepted, Decision, Device, Kind, Reason, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.asking import (
    AskLimit,
    accepts_ticket,
    is_from_same_origin,
    is_navigation,
    read_code,
    read_form,
    read_ticket,
    read_times,
    says_yes,
)
from hedgerow.proxy.http_head import Authority
from hedgerow.proxy.judge import Counters, Judge
from hedgerow.proxy.pages.answer import Answer
from hedgerow.proxy.pages.block_page import is_closed_to_asking
from hedgerow.proxy.pages.wording import Reader

_LOOKS, _LOOK_S = 25, 0.1
"""How often it is looked whether control's answer has come with a snapshot."""


@dataclass(frozen=True, slots=True)
class Question:
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


class QuestionDesk:
    """`judge` gives the one in force: an answer may wait for the next. `key` is that of the block pages' tickets."""

    def __init__(self, judge: Callable[[], Judge], key: bytes, counters: Counters, clock: Callable[[], float]) -> None:
        self._judge = judge
        self._key = key
        self._counters = counters
        self._clock = clock
        self._asked = AskLimit()
        self._typed = AskLimit()

    async def answer(self, question: Question) -> Answer:
        """What the one who asks is shown."""
        page, field, authority = self._judge().page, question.field, question.authority
        if not is_navigation(field):
            return page.closed()
        reader = page.reader_of(question.ruleset, field("accept-language"))
        is_look = question.method == "GET" and bool(question.query)
        if question.method != "POST" and not is_look:
            return page.error(405, "this address only takes the block page's question")
        is_ours = is_look or is_from_same_origin(question.scheme, authority.host, authority.port, field)
        if not is_ours or not accepts_ticket(self._key, _ticket(question), authority.host, question.device.id, self._clock()):
            return page.told("not-from-here", 403, reader=Reader(reader.language))  # who is there is not told
        return self._look(question, reader) if is_look else await self._hear(question, reader)

    def _look(self, question: Question, reader: Reader) -> Answer:
        """The page that waits asks whether somebody has opened what it waits for."""
        page = self._judge().page
        url = read_form(question.query.encode(), question.authority.host, question.fallback)[0]
        if self._decide(question, url).verdict is not Verdict.BLOCK:
            return page.told("open", 200, url, reader)
        return page.waiting(url, read_times(question.query), reader, _ticket(question))

    async def _hear(self, question: Question, reader: Reader) -> Answer:
        page = self._judge().page
        url, note = read_form(question.body, question.authority.host, question.fallback)
        decision = self._decide(question, url)
        if decision.verdict is not Verdict.BLOCK:
            return page.told("open", 200, url, reader)
        if digits := read_code(question.body):
            return await self._take_code(question, url, digits, reader)
        if decision.reason is Reason.CONDUCT and says_yes(question.body):
            return await self._take_consent(question, url, reader)
        if is_closed_to_asking(decision):
            return page.blocked(
                decision, question.authority.host, question.fallback, self._clock(), reader=reader, ticket=_ticket(question)
            )
        return self._file(question, url, note, decision, reader)

    def _file(self, question: Question, url: str, note: str, decision: Decision, reader: Reader) -> Answer:
        judge, now, device = self._judge(), self._clock(), question.device.id
        if not self._asked.allows(device, now):
            self._counters.add("hedgerow_proxy_dropped_total", "ask")
            return judge.page.told("too-often", 429, reader=reader)
        judge.ask(AccessRequest(now, device, question.ruleset.person, question.authority.host, url, _why(decision), note))
        return judge.page.waiting(url, 0, reader, _ticket(question))

    async def _take_code(self, question: Question, url: str, digits: str, reader: Reader) -> Answer:
        """Control takes the code in; that it was right shows in that the page is open with the next snapshot."""
        judge, now, device = self._judge(), self._clock(), question.device.id
        if not self._typed.allows(device, now):
            self._counters.add("hedgerow_proxy_dropped_total", "code")
            return judge.page.told("code-wrong", 429, reader=reader)
        judge.code(CodeTyped(now, device, digits))
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_S)
            if self._decide(question, url).verdict is not Verdict.BLOCK:
                return self._judge().page.told("open", 200, url, reader)
        return judge.page.told("code-wrong", 403, reader=reader)

    async def _take_consent(self, question: Question, url: str, reader: Reader) -> Answer:
        """A guest accepts the code of conduct; then the page is as open as it is for the guest."""
        self._judge().accept(ConductAccepted(self._clock(), question.ruleset.sitting))
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_S)
            decision = self._decide(question, url)
            if decision.verdict is not Verdict.BLOCK:
                return self._judge().page.told("open", 200, url, reader)
            if decision.reason is not Reason.CONDUCT:
                break
        return self._judge().page.blocked(decision, question.authority.host, url, self._clock(), reader=reader, ticket=_ticket(question))

    def _decide(self, question: Question, url: str) -> Decision:
        """What holds for `url` at this moment; of who is nobody's any more, what held when the question came."""
        judge, authority = self._judge(), question.authority
        found = judge.client_of(question.client)
        ruleset = question.ruleset if found is None else found[1]
        return judge.decide(ruleset, Request(question.device.id, Kind.HTTP, authority.host, authority.port, url))


def _ticket(question: Question) -> str:
    return read_ticket(question.body if question.method == "POST" else question.query.encode())


def _why(decision: Decision) -> str:
    return f"{decision.reason.value}: {decision.what}" if decision.what else decision.reason.value
