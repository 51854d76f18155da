"""All that one snapshot of the policy tells the proxy; gate and inspector each hold one and swap it whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hedgerow.policies.model import AccessRequest, CodeTyped, ConductAccepted, Decision, Device, DeviceId, Request, Verdict
from hedgerow.policies.ruleset import Ruleset
from hedgerow.proxy.gate.sign_in import SignInRules
from hedgerow.proxy.guard import Guard
from hedgerow.proxy.pages.block_page import BlockPage


class Addresses(Protocol):
    """What our resolver says of a host: addresses to dial in order, and what was decided when the name was asked for."""

    @property
    def addresses(self) -> Sequence[str]: ...
    @property
    def decision(self) -> Decision: ...


class Resolve(Protocol):
    """Asks our own resolver on behalf of a device. `page_is_open`: the URL that is wanted was judged, so that the name as such does not
    count, only what it stands for."""

    async def __call__(self, ruleset: Ruleset, device: DeviceId, host: str, *, page_is_open: bool = False) -> Addresses: ...


@dataclass(frozen=True, slots=True)
class Judge:
    """`client_of` names the device at an address (or `user:NAME`, of who signed in) and what holds for it now, None for outsiders.

    `decide` has the catalogue bound.

    `passed` is told what was decided on a tunnel, and says what holds where its host is passed through to the device at the moment.

    `observe` and `ask` hand on and never block; `use` is told, again and again, of a tunnel that is busy; `code` of a code that
    was typed, `accept` of a guest who accepts the code of conduct.
    """

    client_of: Callable[[str], tuple[Device, Ruleset] | None]
    decide: Callable[[Ruleset, Request], Decision]
    resolve: Resolve
    observe: Callable[[Device, Ruleset, Request, Decision], None]
    ask: Callable[[AccessRequest], None]
    guard: Guard
    page: BlockPage
    use: Callable[[Ruleset, Request], None] = lambda _ruleset, _request: None
    code: Callable[[CodeTyped], None] = lambda _typed: None
    accept: Callable[[ConductAccepted], None] = lambda _accepted: None
    passed: Callable[[Ruleset, Request, Decision], Decision] = lambda _ruleset, _request, decision: decision
    sign_in: SignInRules = field(default_factory=SignInRules)
    phrase_lists: tuple[str, ...] = ()  # files of weighted phrases, beside our own


_STRICTNESS = {Verdict.ALLOW: 0, Verdict.REWRITE: 1, Verdict.INSPECT: 2, Verdict.BLOCK: 3}


def strictest(decisions: Sequence[tuple[Request, Decision]]) -> tuple[Request, Decision]:
    """Where a request tells several stories (CONNECT host, SNI, Host), each is judged and the strictest verdict holds."""
    return max(decisions, key=lambda each: _STRICTNESS[each[1].verdict])


class KnownAddresses:
    """What the resolver said in the last few seconds: a page opens many connections to one host, and asking is the dearer part.

    Rulesets are part of the key, so that a new ruleset asks anew.
    """

    def __init__(self, resolve: Resolve, seconds: float = 5.0, limit: int = 4096) -> None:
        self._resolve = resolve
        self._seconds = seconds
        self._limit = limit
        self._known: dict[tuple[Ruleset, str], tuple[float, Addresses]] = {}

    async def resolve(self, ruleset: Ruleset, device: DeviceId, host: str, now: float) -> Addresses:
        """As the judge's own `resolve`."""
        expires, known = self._known.get((ruleset, host), (0.0, None))
        if known is not None and now < expires:
            return known
        found = await self._resolve(ruleset, device, host)
        if len(self._known) >= self._limit:
            self._known.clear()
        if found.addresses:
            self._known[ruleset, host] = (now + self._seconds, found)
        return found


class KnownDecisions:
    """What was decided on tunnels under a ruleset, by host: neither changes before the next snapshot, which needs a new object."""

    def __init__(
        self, decide: Callable[[Ruleset, Request], Decision], passed: Callable[[Ruleset, Request, Decision], Decision], limit: int = 8192
    ) -> None:  # fmt: skip
        self._decide = decide
        self._passed = passed
        self._limit = limit
        self._known: dict[tuple[Ruleset, str, bool], Decision] = {}

    def decide(self, ruleset: Ruleset, request: Request) -> Decision:
        """As the judge's own `decide` and `passed`; requests are for tunnels."""
        key = (ruleset, request.host, request.hides_host)
        decision = self._known.get(key)
        if decision is None:
            decision = self._decide(ruleset, request)
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[key] = decision
        if decision.verdict is Verdict.INSPECT:
            return self._passed(ruleset, request, decision)  # which may change at any time
        return decision


class Counters(dict[tuple[str, ...], float]):
    """Cumulative counts by metric name and label values, for whoever exports them."""

    def add(self, *key: str, count: float = 1) -> None:
        self[key] = self.get(key, 0) + count
