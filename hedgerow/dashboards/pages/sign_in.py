"""The way in: the guide of the first start, and signing in and out."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from hedgerow.dashboards.accounts import SignInRefused
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, put
from hedgerow.dashboards.guard import SESSION_COOKIE, local_address, peer_address
from hedgerow.dashboards.pages.context import SEE_OTHER, PageContext, countries_by_name, principal_of, redirect_to
from hedgerow.dashboards.pages.devices import name_device_edits
from hedgerow.dashboards.pages.people import parse_age, parse_name
from hedgerow.dashboards.words.languages import language_of

SESSION_SECONDS = 180 * 86400
PEOPLE_ROWS = 8
DEVICE_ROWS = 40

type FormText = Annotated[str, Form(max_length=600)]


class SignInPages:
    """`/start`, `/sign-in`, `/sign-out`."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/start", self.start, methods=["GET"])
        router.add_api_route("/sign-in", self.sign_in_form, methods=["GET"])
        for path, change in (
            ("/start/password", self.set_password),
            ("/start/place", self.set_place),
            ("/start/people", self.set_people),
            ("/start/devices", self.set_devices),
            ("/sign-in", self.sign_in),
            ("/sign-out", self.sign_out),
        ):
            router.add_api_route(path, change, methods=["POST"])

    async def start(self, request: Request, step: Annotated[int, Query(ge=1, le=5)] = 1) -> Response:
        """The guide; a step can be taken again, and what is filled in already is shown. Nobody gets past the password."""
        site = self._context
        policy = site.policy()
        if not site.accounts.has_any:
            step = 1
        seen = await run_in_threadpool(site.reader.devices, site.clock()) if step == 4 else ()
        return site.renderer.page(
            request,
            "start.html",
            step=step,
            has_password=site.accounts.has_any,
            network=policy.network,
            people=list(policy.people.values()),
            rows=range(PEOPLE_ROWS),
            countries=countries_by_name(language_of(request)),
            zones=sorted(available_timezones()),
            devices=[row for row in seen if row.device not in policy.devices][:DEVICE_ROWS],
            named=list(policy.devices.values()),
            file=site.editor.path,
            status=site.control.status(),
            check=f"http://{site.control.reached_at(local_address(request.scope))}/check",
        )

    async def set_password(self, request: Request, name: FormText, password: FormText, again: FormText) -> Response:
        if password != again:
            raise InvalidInput("The two passwords do not match.")
        cookie = await self._context.accounts.create_first(name.strip(), password, *_client_of(request))
        return _with_session(request, RedirectResponse("/start?step=2", SEE_OTHER), cookie)

    async def set_place(self, request: Request, country: FormText, zone: FormText) -> Response:
        edits = [put(("network", "country"), country or None), put(("network", "timezone"), zone)]
        await self._context.editor.change(principal_of(request).name, language_of(request).gettext("Where this network is"), *edits)
        return RedirectResponse("/start?step=3", SEE_OTHER)

    async def set_people(self, request: Request) -> Response:
        """Rows `name-0`, `age-0` and so on; empty ones are passed over."""
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
        await self._context.editor.change(principal_of(request).name, language_of(request).gettext("Who lives here"), *edits)
        return RedirectResponse("/start?step=4", SEE_OTHER)

    async def set_devices(self, request: Request) -> Response:
        """Rows `device-0`, `called-0`, `person-0`; those without a person are passed over: such devices are filtered as a child's."""
        form, policy = await request.form(), self._context.policy()
        edits: list[Edit] = []
        names: set[str] = set()
        for row in range(DEVICE_ROWS):
            device, called, person = (str(form.get(f"{field}-{row}", "")).strip()[:300] for field in ("device", "called", "person"))
            if not device or not person:
                continue
            called = called or _free_name(person, {*policy.devices, *names})
            if called in names:
                raise InvalidInput("Two devices cannot both be called '%(called)s'.", called=called)
            names.add(called)
            edits += name_device_edits(policy, device, called, person)
        await self._context.editor.change(principal_of(request).name, language_of(request).gettext("Which device belongs to whom"), *edits)
        return RedirectResponse("/start?step=5", SEE_OTHER)

    async def sign_in_form(self, request: Request) -> Response:
        if principal_of(request).session:
            return redirect_to("/")
        return self._sign_in_page(request)

    async def sign_in(self, request: Request, name: FormText = "", password: FormText = "", code: FormText = "") -> Response:
        """A new session each time: one that somebody else planted in the browser is worth nothing, and the one before ends."""
        try:
            cookie = await self._context.accounts.sign_in(name.strip(), password, code.strip(), *_client_of(request))
        except SignInRefused as refused:
            return self._sign_in_page(request, refused, name)
        before = principal_of(request).session
        if before:
            await self._context.accounts.end_session(before)
        return _with_session(request, redirect_to("/"), cookie)

    async def sign_out(self, request: Request) -> Response:
        session = principal_of(request).session
        if session:
            await self._context.accounts.end_session(session)
        response = redirect_to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    def _sign_in_page(self, request: Request, refused: SignInRefused | None = None, name: str = "") -> Response:
        return self._context.renderer.page(
            request,
            "sign_in.html",
            refused.status if refused else 200,
            refused=language_of(request).gettext(refused.text, **refused.values) if refused else "",
            name=name,
            needs_code=refused is not None and refused.needs_code,
            has_password=self._context.accounts.has_any,
        )


def _with_session(request: Request, response: RedirectResponse, cookie: str) -> RedirectResponse:
    response.set_cookie(
        SESSION_COOKIE, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/"
    )
    return response


def _client_of(request: Request) -> tuple[str, str]:
    return peer_address(request.scope), request.headers.get("user-agent", "")


def _free_name(person: str, taken: set[str]) -> str:
    number = 1
    while (name := f"{person} device {number}") in taken:
        number += 1
    return name
