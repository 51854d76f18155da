"""The page of the device that asks: my rules, my requests, what is kept about me, where help is. Nothing of anybody else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from hedgerow.dashboards.api.codes import CodeControl, VoucherControl, WrongCode
from hedgerow.dashboards.api.problems import problem
from hedgerow.dashboards.guard import PORTAL_PATH, peer_address
from hedgerow.dashboards.pages.context import LOCAL_PATH, NOT_IN_NETWORK, SEE_OTHER, PageContext, redirect_to
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import LANGUAGE_COOKIE, language_of
from hedgerow.dashboards.words.rules import rules_text
from hedgerow.journal.reader import DecisionFilter, DecisionPage, ReasonCount, RequestRow
from hedgerow.policies.expiry import ending_sentence, expiring_rules
from hedgerow.policies.model import Grant, Verdict
from hedgerow.policies.text.locales import LANGUAGES


@dataclass(frozen=True, slots=True)
class _OwnDeviceData:
    page: DecisionPage
    requests: tuple[RequestRow, ...]
    grants: tuple[Grant, ...]
    counts: tuple[ReasonCount, ...]


async def redeem(site: PageContext, request: Request, service: CodeControl | VoucherControl | None, typed: str) -> Response:
    """Takes what was typed at the device that asks: a code or a voucher, whoever makes them."""
    view = site.control.device_at(peer_address(request.scope))
    if view is None or service is None:
        return site.renderer.error(request, 403, NOT_IN_NETWORK)
    try:
        await service.redeem(view.device, typed)
    except WrongCode as wrong:
        return site.renderer.error(request, 403, str(wrong))
    return redirect_to("/device")


class OwnDevicePages:
    """`/device`, for every device of the network."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/device", self.device, methods=["GET"])
        router.add_api_route("/device/time", self.time, methods=["GET"])
        router.add_api_route("/device/conduct", self.accept, methods=["POST"])
        router.add_api_route("/device/code", self.code, methods=["POST"])

    async def device(self, request: Request) -> Response:
        site = self._context
        view = site.control.device_at(peer_address(request.scope))
        if view is None:
            return site.renderer.error(request, 403, NOT_IN_NETWORK)
        mine = await run_in_threadpool(self._read, view.device, view.person)
        policy = site.policy()
        rules = (
            rules_text(policy, view.profile, view.person, view.device, language_of(request), site.clock())
            if view.profile in policy.profiles
            else None
        )
        near = [line for line in view.lifelines if line.country == (policy.network.country or "").lower()]
        budgets = [row for row in site.budgets() if row.whose in (view.person, view.device)]
        reader = language_of(request)
        endings = [labels.ending_text(ending, reader) for ending in site.endings(view.device)]
        whose = {"", view.device, *([view.person] if view.person else [])}
        ending = [due for due in expiring_rules(policy) if due.whose in whose and due.until > site.clock()]
        left = labels.minutes_left(view.session_ends, site.clock())
        return site.renderer.page(
            request, "device.html", view=view, mine=mine, rules=rules, budgets=budgets, endings=endings, near=near, dues=ending, left=left
        )  # fmt: skip

    async def time(self, request: Request) -> Response:
        """The same as JSON, for a clock on the child's own desk: what is left, and what ends soon."""
        site = self._context
        view = site.control.device_at(peer_address(request.scope))
        if view is None:
            return problem(403, NOT_IN_NETWORK)
        budgets = [asdict(row) for row in site.budgets() if row.whose in (view.person, view.device)]
        endings = [{"says": ending_sentence(ending), **asdict(ending)} for ending in site.endings(view.device)]
        return JSONResponse({"held": view.held, "held_until": view.held_until, "budgets": budgets, "endings": endings})

    async def accept(self, request: Request) -> Response:
        """A café's guest accepts the code of conduct."""
        site = self._context
        view = site.control.device_at(peer_address(request.scope))
        if view is None or site.time is None:
            return site.renderer.error(request, 403, NOT_IN_NETWORK)
        if view.session:
            await site.time.accept(view.session)
        return redirect_to("/device")

    async def code(self, request: Request, code: Annotated[str, Form(max_length=20)]) -> Response:
        """A code that was read out over the phone."""
        return await redeem(self._context, request, self._context.codes, code)

    def _read(self, device: str, person: str | None) -> _OwnDeviceData:
        reader, now = self._context.reader, self._context.clock()
        midnight = labels.midnight_before(now, labels.zone(self._context.control.status().timezone))
        grants = tuple(grant for grant in reader.grants(now) if grant.device == device or (person is not None and grant.person == person))
        # What was before somebody sat down at a seat is the guest's before.
        since = self._context.time.session_start(device) if self._context.time is not None else 0.0
        counts = () if since > midnight else reader.reasons(midnight, device)
        return _OwnDeviceData(
            page=reader.decisions(DecisionFilter(device=device, verdict=Verdict.BLOCK, since=since or None), limit=20),
            requests=tuple(request for request in reader.requests_of(device) if request.at >= since),
            grants=tuple(grant for grant in grants if grant.starts >= since or grant.device is None),
            counts=tuple(item for item in counts if item.verdict is Verdict.BLOCK)[:8],
        )


class CaptivePortalPages:
    """`/captive-portal`, which DHCP's option 114 and the router advertisement's option 37 name (RFC 8910), and `/device/voucher`."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(PORTAL_PATH, self.state, methods=["GET"])
        router.add_api_route("/device/voucher", self.redeem, methods=["POST"])

    async def state(self, request: Request) -> Response:
        """Whether this device is held, where its page is, and how long its session goes on."""
        view = self._context.control.device_at(peer_address(request.scope))
        if view is None:
            return problem(403, NOT_IN_NETWORK)
        place = f"{request.url.scheme}://{request.url.netloc}/device"
        facts: dict[str, object] = {"captive": view.is_captive, "user-portal-url": place}
        if view.session_ends is not None and not view.is_captive:
            facts |= {"seconds-remaining": max(0, int(view.session_ends - self._context.clock())), "can-extend-session": True}
        return JSONResponse(facts, headers={"Cache-Control": "private"}, media_type="application/captive+json")

    async def redeem(self, request: Request, code: Annotated[str, Form(max_length=30)]) -> Response:
        """A voucher's code."""
        return await redeem(self._context, request, self._context.vouchers, code)


_YEAR_S = 365 * 86400


class LanguagePages:
    """`/language`: which language this browser is answered in from now on."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/language", self.choose, methods=["POST"])

    async def choose(
        self, request: Request, language: Annotated[str, Form(max_length=8)] = "", back: Annotated[str, Form(max_length=300)] = "/"
    ) -> Response:
        """An empty `language` leaves it to the browser again. `back` is the page that was looked at, and only a path of ours."""
        response = RedirectResponse(back if LOCAL_PATH.fullmatch(back) else "/", SEE_OTHER)
        if language in LANGUAGES:
            is_secure = request.url.scheme == "https"
            response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_S, httponly=True, samesite="strict", secure=is_secure, path="/")
        else:
            response.delete_cookie(LANGUAGE_COOKIE, httponly=True, samesite="strict")
        return response
