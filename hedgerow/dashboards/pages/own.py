"""The page of the device that asks: my rules, my requests, what is kept about me, where help is. Nothing of anybody else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from hedgerow.dashboards.api.codes import CodeControl, WrongCode
from hedgerow.dashboards.api.guard import peer_address
from hedgerow.dashboards.api.problems import problem
from hedgerow.dashboards.api.vouchers import VoucherControl
from hedgerow.dashboards.pages import words
from hedgerow.dashboards.pages.languages import language_of
from hedgerow.dashboards.pages.rules_words import rules_in_words
from hedgerow.dashboards.pages.site import NOT_OURS, Site, back_to
from hedgerow.journal.read import DecisionPage, ReasonCount, RequestRow
from hedgerow.journal.search import DecisionFilter
from hedgerow.policies.dues import dues
from hedgerow.policies.model import Grant, Verdict
from hedgerow.policies.times.endings import told


@dataclass(frozen=True, slots=True)
class _Mine:
    page: DecisionPage
    requests: tuple[RequestRow, ...]
    grants: tuple[Grant, ...]
    counts: tuple[ReasonCount, ...]


async def redeem(site: Site, request: Request, desk: CodeControl | VoucherControl | None, typed: str) -> Response:
    """Takes what was typed at the device that asks: a code or a voucher, whoever makes them."""
    view = site.control.device_at(peer_address(request.scope))
    if view is None or desk is None:
        return site.renderer.error(request, 403, NOT_OURS)
    try:
        await desk.redeem(view.device, typed)
    except WrongCode as wrong:
        return site.renderer.error(request, 403, str(wrong))
    return back_to("/device")


class OwnPages:
    """`/device`, for every device of the network."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/device", self.device, methods=["GET"])
        router.add_api_route("/device/time", self.time, methods=["GET"])
        router.add_api_route("/device/conduct", self.accept, methods=["POST"])
        router.add_api_route("/device/code", self.code, methods=["POST"])

    async def device(self, request: Request) -> Response:
        site = self._site
        view = site.control.device_at(peer_address(request.scope))
        if view is None:
            return site.renderer.error(request, 403, NOT_OURS)
        mine = await run_in_threadpool(self._read, view.device, view.person)
        policy = site.policy()
        rules = (
            rules_in_words(policy, view.profile, view.person, view.device, language_of(request), site.clock())
            if view.profile in policy.profiles
            else None
        )
        near = [line for line in view.lifelines if line.country == (policy.network.country or "").lower()]
        budgets = [row for row in site.budgets() if row.whose in (view.person, view.device)]
        reader = language_of(request)
        endings = [words.ending_words(ending, reader) for ending in site.endings(view.device)]
        whose = {"", view.device, *([view.person] if view.person else [])}
        ending = [due for due in dues(policy) if due.whose in whose and due.until > site.clock()]
        left = words.minutes_left(view.session_ends, site.clock())
        return site.renderer.page(
            request, "device.html", view=view, mine=mine, rules=rules, budgets=budgets, endings=endings, near=near, dues=ending, left=left
        )  # fmt: skip

    async def time(self, request: Request) -> Response:
        """The same as JSON, for a clock on the child's own desk: what is left, and what ends soon."""
        site = self._site
        view = site.control.device_at(peer_address(request.scope))
        if view is None:
            return problem(403, NOT_OURS)
        budgets = [asdict(row) for row in site.budgets() if row.whose in (view.person, view.device)]
        endings = [{"says": told(ending), **asdict(ending)} for ending in site.endings(view.device)]
        return JSONResponse({"held": view.held, "held_until": view.held_until, "budgets": budgets, "endings": endings})

    async def accept(self, request: Request) -> Response:
        """A café's guest accepts the code of conduct."""
        site = self._site
        view = site.control.device_at(peer_address(request.scope))
        if view is None or site.time is None:
            return site.renderer.error(request, 403, NOT_OURS)
        if view.sitting:
            await site.time.accept(view.sitting)
        return back_to("/device")

    async def code(self, request: Request, code: Annotated[str, Form(max_length=20)]) -> Response:
        """A code that was read out over the phone."""
        return await redeem(self._site, request, self._site.codes, code)

    def _read(self, device: str, person: str | None) -> _Mine:
        reader, now = self._site.reader, self._site.clock()
        midnight = words.midnight_before(now, words.zone(self._site.control.status().timezone))
        grants = tuple(grant for grant in reader.grants(now) if grant.device == device or (person is not None and grant.person == person))
        # What was before somebody sat down at a seat is the guest's before.
        since = self._site.time.seat_since(device) if self._site.time is not None else 0.0
        counts = () if since > midnight else reader.reasons(midnight, device)
        return _Mine(
            page=reader.decisions(DecisionFilter(device=device, verdict=Verdict.BLOCK, since=since or None), limit=20),
            requests=tuple(request for request in reader.requests_of(device) if request.at >= since),
            grants=tuple(grant for grant in grants if grant.starts >= since or grant.device is None),
            counts=tuple(item for item in counts if item.verdict is Verdict.BLOCK)[:8],
        )
