"""The guide of the first start, signing in and signing out."""

from __future__ import annotations

from itertools import count
from typing import Annotated
from zoneinfo import available_timezones

from fastapi import Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from hedgerow.dashboards.accounts import SESSION_LIFETIME_S, SignInRefused
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.household import name_device_edits, parse_age, parse_name
from hedgerow.dashboards.edits.yaml_text import Edit, put
from hedgerow.dashboards.guard import SESSION_COOKIE, local_address, peer_address
from hedgerow.dashboards.pages.context import PageGroup, countries_by_name, principal_of, redirect_to
from hedgerow.dashboards.routes import MANAGE, OPERATE, READ, SIGN_IN, get, post
from hedgerow.dashboards.words.languages import language_of, message

PEOPLE_ROWS = 8
DEVICE_ROWS = 40

type FormText = Annotated[str, Form(max_length=600)]


class SignInPages(PageGroup):
    """`/start` and its forms, `/sign-in` and `/sign-out`."""

    @get("/start", OPERATE, READ)
    async def start(self, request: Request, step: Annotated[int, Query(ge=1, le=5)] = 1) -> Response:
        """Show a step of the guide with its current values. The password comes first."""
        context = self._context
        policy = context.policy()
        if not context.accounts.has_any:
            step = 1
        seen = await run_in_threadpool(context.reader.devices, context.clock()) if step == 4 else ()
        return self._page(
            request,
            "start.html",
            step=step,
            has_password=context.accounts.has_any,
            network=policy.network,
            people=list(policy.people.values()),
            rows=range(PEOPLE_ROWS),
            countries=countries_by_name(language_of(request)),
            zones=sorted(available_timezones()),
            devices=[row for row in seen if row.device not in policy.devices][:DEVICE_ROWS],
            named=list(policy.devices.values()),
            status=context.control.status(),
            check=f"http://{context.control.reached_at(local_address(request.scope))}/check",
        )

    @post("/start/password", MANAGE)
    async def set_password(self, request: Request, name: FormText, password: FormText, again: FormText) -> Response:
        if password != again:
            raise InvalidInput("The two passwords do not match.")
        cookie = await self._context.accounts.create_first(name.strip(), password, *_client_of(request))
        return _with_session(request, redirect_to("/start?step=2"), cookie)

    @post("/start/place", MANAGE)
    async def set_place(self, request: Request, country: FormText, zone: FormText) -> Response:
        edits = [put(("network", "country"), country or None), put(("network", "timezone"), zone)]
        await self._change(request, message("Where this network is"), *edits)
        return redirect_to("/start?step=3")

    @post("/start/people", MANAGE)
    async def set_people(self, request: Request) -> Response:
        """Add people from the rows `name-0`, `age-0` and so on. Empty rows are skipped."""
        form, known = await request.form(), dict.fromkeys(self._context.policy().people)
        edits: list[Edit] = []
        for row in range(PEOPLE_ROWS):
            name, age = str(form.get(f"name-{row}", "")), parse_age(str(form.get(f"age-{row}", "")))
            if not name.strip():
                continue
            name = parse_name(name, known)
            if age is None:
                raise InvalidInput("How old is %(name)s? The age decides what is open.", name=name)
            known[name] = None
            edits.append(put(("people", name), {"age": age}))
        await self._change(request, message("Who lives here"), *edits)
        return redirect_to("/start?step=4")

    @post("/start/devices", MANAGE)
    async def set_devices(self, request: Request) -> Response:
        """Assign devices from the rows `device-0`, `called-0`, `person-0`. Devices without a person stay filtered as a child's."""
        form, policy = await request.form(), self._context.policy()
        edits: list[Edit] = []
        names: set[str] = set()
        for row in range(DEVICE_ROWS):
            device, name, person = (str(form.get(f"{field}-{row}", "")).strip()[:300] for field in ("device", "called", "person"))
            if not device or not person:
                continue
            name = name or _free_name(person, {*policy.devices, *names})
            if name in names:
                raise InvalidInput("Two devices cannot both be called '%(called)s'.", called=name)
            names.add(name)
            edits += name_device_edits(policy, device, name, person)
        await self._change(request, message("Which device belongs to whom"), *edits)
        return redirect_to("/start?step=5")

    @get("/sign-in", SIGN_IN)
    async def sign_in_form(self, request: Request) -> Response:
        return redirect_to("/") if principal_of(request).session else self._sign_in_page(request)

    @post("/sign-in", SIGN_IN)
    async def sign_in(self, request: Request, name: FormText = "", password: FormText = "", code: FormText = "") -> Response:
        """Begin a new session and end the one before. A session planted in the browser is worth nothing."""
        try:
            cookie = await self._context.accounts.sign_in(name.strip(), password, code.strip(), *_client_of(request))
        except SignInRefused as refused:
            return self._sign_in_page(request, refused, name)
        before = principal_of(request).session
        if before:
            await self._context.accounts.end_session(before)
        return _with_session(request, redirect_to("/"), cookie)

    @post("/sign-out", SIGN_IN)
    async def sign_out(self, request: Request) -> Response:
        session = principal_of(request).session
        if session:
            await self._context.accounts.end_session(session)
        response = redirect_to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    def _sign_in_page(self, request: Request, refused: SignInRefused | None = None, name: str = "") -> Response:
        return self._page(
            request,
            "sign_in.html",
            refused.status if refused else 200,
            refused=language_of(request).gettext(refused.text, **refused.values) if refused else "",
            name=name,
            needs_code=refused is not None and refused.needs_code,
            has_password=self._context.accounts.has_any,
        )


def _with_session(request: Request, response: RedirectResponse, cookie: str) -> RedirectResponse:
    is_secure, max_age = request.url.scheme == "https", round(SESSION_LIFETIME_S)
    response.set_cookie(SESSION_COOKIE, cookie, max_age=max_age, httponly=True, samesite="strict", secure=is_secure, path="/")
    return response


def _client_of(request: Request) -> tuple[str, str]:
    return peer_address(request.scope), request.headers.get("user-agent", "")


def _free_name(person: str, taken: set[str]) -> str:
    return next(name for number in count(1) if (name := f"{person} device {number}") not in taken)
