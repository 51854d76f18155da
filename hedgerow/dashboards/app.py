"""The web application: guard, API, metrics and pages put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hedgerow import __version__
from hedgerow.dashboards.actions.core import CORE_ACTIONS
from hedgerow.dashboards.api.access import add_access_routes, add_data_export_routes, add_site_routes
from hedgerow.dashboards.api.accounts import add_account_routes
from hedgerow.dashboards.api.actions import add_actions
from hedgerow.dashboards.api.codes import add_code_routes
from hedgerow.dashboards.api.document import add_document_routes
from hedgerow.dashboards.api.notices import add_notice_routes
from hedgerow.dashboards.api.policy import add_policy_routes
from hedgerow.dashboards.api.problems import EnforcementHeaders, install_handlers, problem
from hedgerow.dashboards.api.rules import add_rule_routes
from hedgerow.dashboards.api.schema import DescribedApp, api_router
from hedgerow.dashboards.api.time import add_time_routes
from hedgerow.dashboards.control import BudgetRow, DangerousOpening, InvalidInput, Status
from hedgerow.dashboards.coverage import CoverageState
from hedgerow.dashboards.guard import (
    LOCAL_PEERS,
    NOT_IN_CHARGE,
    Admission,
    GuardMiddleware,
    RouteGuard,
    local_address,
    peer_address,
)
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.pages.forms import problem_of, show_again
from hedgerow.dashboards.pages.openings import ask_about
from hedgerow.dashboards.pages.own_device import not_in_charge_page, tone_of
from hedgerow.dashboards.pages.password_again import ask_again
from hedgerow.dashboards.pages.router import make_pages
from hedgerow.dashboards.passwords import PasswordNeeded
from hedgerow.dashboards.routes import METRICS, NETWORK, AccessTable, ScopedRouter, wants_json
from hedgerow.dashboards.session_devices import SessionDevices
from hedgerow.policies.expiry import WARN_MINUTES


def create_app(context: PageContext, token: str) -> FastAPI:
    """Return the ASGI application.

    Serve it with `server.web_server`: the guard relies on the client address in the scope.

    `token` is the secret of scripts on this machine.
    """
    control, accounts, renderer, metrics = context.control, context.accounts, context.renderer, context.metrics
    # No docs_url: FastAPI's own pages load scripts from other hosts.
    app = DescribedApp(
        title="Hedgerow", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )
    app.state.actor_of = context.actor_of
    app.state.routes = (*_api(context).routes, *make_pages(context).routes, *_machine_routes(context).routes)
    app.router.routes += app.state.routes  # include_router would build each route a second time
    app.state.access = AccessTable(app.state.routes)

    async def answer_form(request: Request, refusal: InvalidInput) -> Response | None:
        if isinstance(refusal, DangerousOpening) and (asked := await ask_about(context, request, refusal)) is not None:
            return asked
        if isinstance(refusal, PasswordNeeded):
            try:
                return await ask_again(context, request, refusal, quote(request.scope["path"]))
            except HTTPException:  # what was sent is not a form
                return None
        return await show_again(request, refusal)

    install_handlers(app, renderer.error, answer_form, problem_of, context.reader.store.dialect.is_full)

    def refuse(scope: Scope, admission: Admission) -> Response:
        if admission.status == 303:
            return RedirectResponse("/sign-in" if accounts.has_any else "/start", 303)
        if wants_json(scope["path"]):
            return _refused(scope, admission)
        view = control.device_at(peer_address(scope)) if admission.why == NOT_IN_CHARGE else None
        if view is not None and scope["path"] == "/" and tone_of(view, control.policy()):
            return RedirectResponse("/device?from=parents", 303)
        if view is not None:
            here = f"http://127.0.0.1:{control.reached_at('127.0.0.1').rpartition(':')[2]}"
            return not_in_charge_page(renderer, HTTPConnection(scope), view, control.policy(), here)
        return renderer.error(HTTPConnection(scope), admission.status, admission.why)

    def device_at(address: str) -> str | None:
        device = control.device_at(address)
        return device.device if device is not None else None

    def may_sign_in(address: str, *, is_forwarded: bool) -> bool:
        device = control.device_at(address)
        return device is not None and (device.may_sign_in or (device.may_resume and not is_forwarded))

    def is_unnamed(address: str) -> bool:
        return address not in LOCAL_PEERS and device_at(address) not in control.policy().devices

    app.add_middleware(EnforcementHeaders, enforcement=control.enforcement, settle=control.settle)
    accounts.delays.device_at, accounts.delays.is_unnamed = device_at, is_unnamed
    sessions = SessionDevices(context)
    accounts.device_keys, accounts.on_foreign = sessions.keys, sessions.tell_foreign
    accounts.is_recognised = sessions.is_recognised
    guard = RouteGuard(token, accounts, app.state.access, lambda: control.names().known)
    app.add_middleware(
        GuardMiddleware, guard=guard, may_sign_in=may_sign_in, refuse=refuse, secure_name=lambda: control.names().secure
    )
    app.add_middleware(ResponseCounter, metrics=metrics)
    return app


class ResponseCounter:
    """Middleware that counts responses by part of the application and status code."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                part = "api" if wants_json(scope["path"]) else "pages"
                self._metrics.add("hedgerow_web_responses_total", (part, str(message["status"])))
            await send(message)

        await self._app(scope, receive, count_and_send if scope["type"] == "http" else send)


def _refused(scope: Scope, admission: Admission) -> Response:
    """Return the problem for a script, with the way to sign in (RFC 6750, section 3)."""
    response = problem(admission.status, admission.why)
    if admission.status == 401:
        is_wrong = Headers(scope=scope).get("authorization", "").lower().startswith("bearer ")
        response.headers["WWW-Authenticate"] = f'Bearer realm="Hedgerow"{', error="invalid_token"' if is_wrong else ""}'
    return response


def _api(context: PageContext) -> ScopedRouter:
    api, reader, control, clock = api_router(), context.reader, context.control, context.clock
    add_actions(api, (*CORE_ACTIONS, *context.extensions.actions), context)
    add_access_routes(api, reader, control, clock)
    add_policy_routes(api, reader, control, context.editor, clock)
    add_document_routes(api, control, context.editor, clock)
    add_rule_routes(api, control, context.editor, context.extensions.presets)
    add_account_routes(api, context.accounts, control)
    add_site_routes(api, context.sites)
    add_time_routes(api, context.time)
    add_code_routes(api, context.codes)
    add_notice_routes(api, context.notices, control, context.editor)
    add_data_export_routes(api, context.data_export)
    for add_routes in context.extensions.api_routes:
        add_routes(api, context)
    return api


def _machine_routes(context: PageContext) -> ScopedRouter:
    """Return the routes for browsers that look for a proxy and for Prometheus."""
    router = ScopedRouter(include_in_schema=False)
    reader, control, metrics = context.reader, context.control, context.metrics

    # Browsers look for these names on any host (WPAD), and get the address that they have reached.
    @router.serve("HEAD", "/wpad.dat", NETWORK)
    @router.serve("GET", "/wpad.dat", NETWORK)
    @router.serve("HEAD", "/proxy.pac", NETWORK)
    @router.serve("GET", "/proxy.pac", NETWORK)
    async def proxy_config(request: Request) -> Response:
        if control.device_at(peer_address(request.scope)) is None:
            return PlainTextResponse("This device is not part of this network.\n", 403)
        media_type, script = control.proxy_config(local_address(request.scope))
        return Response(script, headers={"Content-Type": media_type, "Cache-Control": "max-age=300"})

    @router.serve("GET", "/metrics", METRICS)
    async def scrape(request: Request) -> Response:
        open_requests = await run_in_threadpool(reader.count_open_requests)
        fill_metrics(metrics, control.status(), open_requests, context.clock())
        metrics.set_all("hedgerow_budgets", count_budget_states(context.time.budgets()))
        for name, read in context.extensions.gauges.items():
            metrics.set_all(name, await run_in_threadpool(read, context))
        remembered = Counter(site.topic for site in await context.sites.sites())
        metrics.set_all("hedgerow_remembered_sites", {(topic,): float(number) for topic, number in remembered.items()})
        metrics.set(
            "hedgerow_notices_waiting", (), float(await run_in_threadpool(context.notices.outbox.count_waiting))
        )
        body, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    return router


def count_budget_states(rows: Iterable[BudgetRow]) -> dict[tuple[str, ...], float]:
    """Return the numbers of today's budgets with plenty, little and nothing left."""
    states = {"plenty": 0.0, "little": 0.0, "none": 0.0}
    for row in rows:
        if row.left is not None:
            states["none" if not row.left else "little" if row.left <= WARN_MINUTES[0] else "plenty"] += 1
    return {(state,): number for state, number in states.items()}


def fill_metrics(metrics: Metrics, status: Status, open_requests: int, now: float) -> None:
    """Set the metrics that a scrape derives from the status and the journal."""
    domains: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for item in status.lists:
        domains[(item.category,)] = domains.get((item.category,), 0.0) + item.domains
        if item.fetched is not None:
            ages[(item.source,)] = max(0.0, now - item.fetched)
    families: dict[str, Mapping[tuple[str, ...], float]] = {
        "hedgerow_list_domains": domains,
        "hedgerow_list_age_seconds": ages,
        "hedgerow_coverage_names": {(each.category,): float(each.names) for each in status.coverage},
        "hedgerow_coverage_lists": {(each.category,): float(each.lists) for each in status.coverage},
        "hedgerow_coverage_state": {
            (each.category, state.value): float(state is each.state)
            for each in status.coverage
            if each.wanted
            for state in CoverageState
        },
        "hedgerow_policy_loaded_timestamp_seconds": {(): status.policy_loaded or 0.0},
        "hedgerow_policy_info": {(status.policy_hash,): 1.0} if status.policy_hash else {},
        "hedgerow_gateway_configured": {(): float(status.has_gateway)},
        "hedgerow_state_free_bytes": {(): float(status.free_bytes)},
        "hedgerow_certificate_expires_timestamp_seconds": {(name,): end for name, end in status.certificates.items()},
        "hedgerow_access_requests_open": {(): float(open_requests)},
    }
    for family, values in families.items():
        metrics.set_all(family, values)
    metrics.set_total("hedgerow_events_dropped_total", ("control",), float(status.dropped))
