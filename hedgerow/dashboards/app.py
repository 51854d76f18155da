"""Puts the web together: guard, API, metrics, pages."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Scope

from hedgerow import __version__
from hedgerow.dashboards.accounts import Accounts
from hedgerow.dashboards.api.access import add_stream_routes, make_access_api
from hedgerow.dashboards.api.accounts import add_account_routes
from hedgerow.dashboards.api.codes import CodeControl, VoucherControl, add_audit_routes, make_code_api, make_voucher_api
from hedgerow.dashboards.api.data_export import make_data_export_api
from hedgerow.dashboards.api.local_door import LocalDoor, mark_local
from hedgerow.dashboards.api.notices import make_notices_api
from hedgerow.dashboards.api.policy import add_household_routes, add_network_routes
from hedgerow.dashboards.api.problems import install_handlers, problem, wants_json
from hedgerow.dashboards.api.time import BudgetRow, TimeControl, make_time_api
from hedgerow.dashboards.control import Control, Status
from hedgerow.dashboards.data_export import DataExport
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.guard import PROXY_CONFIG_PATHS, Admission, GuardMiddleware, RouteGuard, local_address, peer_address
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.notices import NoticeDispatcher
from hedgerow.dashboards.pages.context import PageContext, Renderer
from hedgerow.dashboards.pages.router import ICON_PATH, make_pages
from hedgerow.dashboards.server import REQUEST_TIMEOUT_S, DualProtocolListener, SlowRequestCloser, TlsContextProvider
from hedgerow.journal.reader import JournalReader
from hedgerow.policies.expiry import WARN_MINUTES


@dataclass(frozen=True, slots=True)
class AppDependencies:
    """What the web is made over. `token` is the secret of scripts at the machine."""

    reader: JournalReader
    control: Control
    metrics: Metrics
    accounts: Accounts
    editor: PolicyEditor
    data_export: DataExport
    token: str
    time: TimeControl | None = None
    codes: CodeControl | None = None
    vouchers: VoucherControl | None = None
    notices: NoticeDispatcher | None = None


def create_app(parts: AppDependencies, clock: Callable[[], float] = time.time) -> FastAPI:
    """The whole web as one ASGI app. Serve it with `web_server`: the guard must see the kernel's idea of who asks."""
    reader, control = parts.reader, parts.control
    # No docs_url: FastAPI's own pages load scripts from the outside.
    app = FastAPI(title="Hedgerow", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    site = PageContext(
        reader, control, parts.accounts, parts.editor, parts.data_export, clock, Renderer(control, clock), parts.time, parts.codes,
        parts.vouchers, parts.notices,
    )  # fmt: skip
    api = make_access_api(reader, control, clock)
    add_household_routes(api, reader, control, parts.editor, clock)
    add_network_routes(api, control, parts.editor)
    add_stream_routes(api, reader)
    add_audit_routes(api, reader, control.policy, clock)
    add_account_routes(api, parts.accounts)
    app.include_router(api)
    if parts.time is not None:
        app.include_router(make_time_api(parts.time))
    if parts.codes is not None:
        app.include_router(make_code_api(parts.codes))
    if parts.vouchers is not None:
        app.include_router(make_voucher_api(parts.vouchers))
    if parts.notices is not None:
        app.include_router(make_notices_api(parts.notices, control, parts.editor))
    app.include_router(make_data_export_api(parts.data_export))
    app.include_router(make_pages(site))
    app.state.warm = lambda: _warm(app, site.renderer)
    _add_proxy_config(app, control)
    _add_machine_routes(app, parts, clock)
    install_handlers(app, site.renderer.error)

    def refuse(scope: Scope, admission: Admission) -> Response:
        if admission.status == 303:
            return RedirectResponse("/sign-in", 303)
        if wants_json(scope["path"]):
            return problem(admission.status, admission.why)
        return site.renderer.error(HTTPConnection(scope), admission.status, admission.why)

    def may_sign_in(address: str) -> bool:
        device = control.device_at(address)
        return device is not None and device.may_sign_in

    guard = RouteGuard(parts.token, parts.accounts, lambda: control.names().known)
    guard_options = {"may_sign_in": may_sign_in, "refuse": refuse, "secure_name": lambda: control.names().secure}
    app.add_middleware(GuardMiddleware, guard=guard, **guard_options)  # type: ignore[arg-type]
    return app


def _warm(app: FastAPI, renderer: Renderer) -> None:
    """Makes the first look at a page as quick as the next ones; takes a second, in any thread but that of an event loop."""
    renderer.warm()
    asyncio.run(_send_warmup_request(app))


async def _send_warmup_request(app: FastAPI) -> None:
    """FastAPI makes its routes ready when the first request comes, which takes half a second: one of our own, for a picture."""
    head = {"method": "GET", "path": ICON_PATH, "raw_path": ICON_PATH.encode(), "query_string": b"", "headers": [(b"host", b"localhost")]}
    place = {"http_version": "1.1", "scheme": "http", "root_path": "", "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0)}

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        pass

    await app({"type": "http", "asgi": {"version": "3.0"}, **head, **place}, receive, send)


class WebServer(uvicorn.Server):
    """uvicorn's server as a part of a larger process: signals are that process' own, and one port speaks HTTP and HTTPS.

    `local` configures what is served at the Unix socket `door`.
    """

    def __init__(
        self, config: uvicorn.Config, local: uvicorn.Config, tls: TlsContextProvider, prepare: Callable[[], None], request_timeout: float,
        door: socket.socket | None,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._local, self._tls, self._prepare, self._door = local, tls, prepare, door
        self._preparing: asyncio.Future[None] | None = None
        self._slow_requests = SlowRequestCloser(request_timeout)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            # Connections inherit it. asyncio sets it only where the socket names its protocol, and without it the body of an
            # answer waits 40 ms for the client's acknowledgement of the head.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        max_connections = self.config.limit_concurrency or 200
        self.servers = [DualProtocolListener(listener, self._protocol, self._tls, max_connections) for listener in sockets or []]  # type: ignore[misc]
        if self._door is not None:
            self._local.load()
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_unix_server(lambda: LocalDoor(self._local_protocol), sock=self._door))
        self._preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare))

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # ten ticks are a second
            self._slow_requests.close_overdue(tuple(self.server_state.connections), time.monotonic())
        return await super().on_tick(counter)

    def _protocol(self) -> asyncio.Protocol:
        return self._protocol_of(self.config)

    def _local_protocol(self) -> asyncio.Protocol:
        return self._protocol_of(self._local)

    def _protocol_of(self, config: uvicorn.Config) -> asyncio.Protocol:
        kind: Any = config.http_protocol_class
        protocol: asyncio.Protocol = kind(config=config, server_state=self.server_state, app_state=self.lifespan.state)
        return protocol


def web_server(
    app: FastAPI, *, connections: int = 200, tls: TlsContextProvider = lambda: None, prepare: Callable[[], None] = lambda: None,
    request_timeout: float = REQUEST_TIMEOUT_S, door: socket.socket | None = None,
) -> WebServer:  # fmt: skip
    """A server for `create_app`'s app; `await server.serve(sockets=[...])` with listening sockets that the caller bound.

    `prepare` is done in a thread as soon as it serves. `patience`: seconds in which a request has to arrive whole. `door` is the listening
    Unix socket of the command line (`local_door.listen_locally`), which is served however many connections the others have.

    Forwarded headers are not believed: a device could write any address into them.
    """
    return WebServer(_config(app, connections), _config(mark_local(app), None), tls, prepare, request_timeout, door)


def _config(app: ASGIApp, connections: int | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        limit_concurrency=connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16 * 1024,
    )


def _add_proxy_config(app: FastAPI, control: Control) -> None:
    async def proxy_config(request: Request) -> Response:
        """What browsers configure themselves by, whatever name they found us under: it names the address that they have reached."""
        if control.device_at(peer_address(request.scope)) is None:
            return PlainTextResponse("This device is not part of this network.\n", 403)
        kind, script = control.proxy_config(local_address(request.scope))
        return Response(script, headers={"Content-Type": kind, "Cache-Control": "max-age=300"})

    for path in PROXY_CONFIG_PATHS:
        app.add_api_route(path, proxy_config, methods=["GET", "HEAD"], include_in_schema=False)


def _add_machine_routes(app: FastAPI, parts: AppDependencies, clock: Callable[[], float]) -> None:
    reader, control, metrics = parts.reader, parts.control, parts.metrics

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        is_well = all(worker.state == "running" for worker in control.status().workers)
        return PlainTextResponse("ok\n" if is_well else "some workers are not running\n", 200 if is_well else 503)

    @app.get("/metrics", include_in_schema=False)
    async def scrape(request: Request) -> Response:
        open_requests = await run_in_threadpool(reader.count_open_requests)
        fill_metrics(metrics, control.status(), open_requests, clock())
        metrics.set_all("hedgerow_budgets", count_budget_states(parts.time.budgets() if parts.time is not None else ()))
        if parts.notices is not None:
            metrics.set("hedgerow_notices_waiting", (), float(await run_in_threadpool(parts.notices.outbox.count_waiting)))
        body, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})


def count_budget_states(rows: Iterable[BudgetRow]) -> dict[tuple[str, ...], float]:
    """How many of today's budgets have plenty left, little, and nothing."""
    states = {"plenty": 0.0, "little": 0.0, "none": 0.0}
    for row in rows:
        if row.left is not None:
            states["none" if not row.left else "little" if row.left <= WARN_MINUTES[0] else "plenty"] += 1
    return {(state,): number for state, number in states.items()}


def fill_metrics(metrics: Metrics, status: Status, open_requests: int, now: float) -> None:
    """Sets what is known at the moment of a scrape from the status and the journal."""
    domains: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for item in status.lists:
        domains[(item.category,)] = domains.get((item.category,), 0.0) + item.domains
        if item.fetched is not None:
            ages[(item.source,)] = max(0.0, now - item.fetched)
    metrics.set_all("hedgerow_list_domains", domains)
    metrics.set_all("hedgerow_list_age_seconds", ages)
    metrics.set("hedgerow_policy_loaded_timestamp_seconds", (), status.policy_loaded or 0.0)
    metrics.set_total("hedgerow_events_dropped_total", ("control",), float(status.dropped))
    metrics.set("hedgerow_state_free_bytes", (), float(status.free_bytes))
    metrics.set_all("hedgerow_certificate_expires_timestamp_seconds", {(name,): end for name, end in status.certificates.items()})
    metrics.set("hedgerow_access_requests_open", (), float(open_requests))
