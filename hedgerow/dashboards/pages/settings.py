"""Settings: the network, what was changed and how to undo it, the CA; and who may sign in, with what."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

import pyotp
from fastapi import APIRouter, Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.accounts import TOKEN_SCOPES, Role, Scope
from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.pages.agents import agent_words
from hedgerow.dashboards.pages.languages import COOKIE, language_of, message
from hedgerow.dashboards.pages.qr_code import qr_code
from hedgerow.dashboards.pages.site import Site, back_to, named_countries, saved_at, visitor_of
from hedgerow.dashboards.policy_text import diff_of_files, put

type FormText = Annotated[str, Form(max_length=600)]
type ChangeId = Annotated[int, Path(ge=1, le=2**62)]

# What accounts are for, what tokens may, and how processes are.
_NAMES = {
    "admin": message("admin"), "parent": message("parent"), "operator": message("operator"),
    "read": message("read"), "metrics": message("metrics"), "manage": message("manage"),
    "running": message("running"), "starting": message("starting"), "restarting": message("restarting"), "stopped": message("stopped"),
}  # fmt: skip


class SettingsPages:
    """`/settings`, `/changes`, `/account`, `/accounts`, `/tokens`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        for path, page in (
            ("/settings", self.settings),
            ("/changes", self.changes),
            ("/changes/{change_id}", self.change),
            ("/account", self.account),
        ):
            router.add_api_route(path, page, methods=["GET"])
        for path, change in (
            ("/settings/network", self.set_network),
            ("/changes/{change_id}/undo", self.undo),
            ("/account/password", self.set_password),
            ("/account/sessions/end", self.end_session),
            ("/account/code", self.start_code),
            ("/account/code/stop", self.stop_code),
            ("/accounts", self.add_account),
            ("/accounts/remove", self.remove_account),
            ("/tokens", self.make_token),
            ("/tokens/remove", self.remove_token),
        ):
            router.add_api_route(path, change, methods=["POST"])

    async def settings(self, request: Request) -> Response:
        return self._settings(request)

    def _settings(self, request: Request, new_token: str = "") -> Response:
        site, is_admin = self._site, Scope.ADMIN in visitor_of(request).scopes
        policy = site.policy()
        return site.renderer.page(
            request,
            "settings.html",
            network=policy.network,
            profiles=policy.profiles,
            countries=named_countries(language_of(request)),
            zones=sorted(available_timezones()),
            file=site.desk.path,
            status=site.control.status(),
            accounts=site.accounts.accounts() if is_admin else (),
            tokens=site.accounts.tokens() if is_admin else (),
            roles=list(Role),
            scopes=list(TOKEN_SCOPES),
            names=_NAMES,
            new_token=new_token,
            chosen_language=request.cookies.get(COOKIE, ""),
        )

    async def set_network(self, request: Request, country: FormText, zone: FormText, unknown: FormText) -> Response:
        edits = [
            put(("network", "country"), country or None),
            put(("network", "timezone"), zone),
            put(("network", "unknown_devices"), unknown),
        ]
        change = await self._site.desk.change(visitor_of(request).name, language_of(request).gettext("Network settings"), *edits)
        return saved_at("/settings", change)

    async def changes(self, request: Request) -> Response:
        changes = await run_in_threadpool(self._site.desk.store.latest)
        return self._site.renderer.page(request, "changes.html", changes=changes)

    async def change(self, request: Request, change_id: ChangeId) -> Response:
        change = await run_in_threadpool(self._site.desk.store.change, change_id)
        return self._site.renderer.page(request, "change.html", change=change, lines=diff_of_files(change.before, change.after))

    async def undo(self, request: Request, change_id: ChangeId) -> Response:
        change = await self._site.desk.undo(change_id, visitor_of(request).name, language_of(request).gettext("Undone: %(summary)s"))
        return saved_at("/changes", change)

    async def account(self, request: Request) -> Response:
        return self._account(request)

    def _account(self, request: Request, codes: tuple[str, ...] = ()) -> Response:
        name, accounts = visitor_of(request).name, self._site.accounts
        mine = next((row for row in accounts.accounts() if row.name == name), None)
        if mine is None:
            raise Unfit("Nobody is signed in here.")
        secret = pyotp.random_base32()
        sessions = sorted(accounts.sessions(name), key=lambda row: row.seen_at, reverse=True)
        link = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Hedgerow")
        return self._site.renderer.page(
            request,
            "account.html",
            names=_NAMES,
            mine=mine,
            sessions=[(row, agent_words(row.agent)) for row in sessions],
            secret=secret,
            link=link,
            code=qr_code(link),
            codes=codes,
        )

    async def set_password(self, request: Request, old: FormText, new: FormText) -> Response:
        """All sessions end with it, this one too: whoever knows the new password signs in again."""
        name = visitor_of(request).name
        await self._site.accounts.check_password(name, old)
        await self._site.accounts.set_password(name, new)
        return back_to("/sign-in")

    async def end_session(self, request: Request, session: FormText) -> Response:
        """One of one's own, or anybody's for an admin."""
        visitor = visitor_of(request)
        owned = {row.id for row in self._site.accounts.sessions(None if Scope.ADMIN in visitor.scopes else visitor.name)}
        if session not in owned:
            raise Unfit("This session does not exist.")
        await self._site.accounts.end_session(session)
        return back_to("/account")

    async def start_code(self, request: Request, secret: FormText, code: FormText, old: FormText) -> Response:
        """The recovery codes are shown once; every session of the account has ended by then."""
        name = visitor_of(request).name
        await self._site.accounts.check_password(name, old)
        codes = await self._site.accounts.start_totp(name, secret, code)
        return self._account(request, codes)

    async def stop_code(self, request: Request, old: FormText) -> Response:
        name = visitor_of(request).name
        await self._site.accounts.check_password(name, old)
        await self._site.accounts.stop_totp(name)
        return back_to("/sign-in")

    async def add_account(self, name: FormText, role: Annotated[Role, Form()], password: FormText) -> Response:
        if not self._site.accounts.has_any:
            raise Unfit("Set a password for yourself first.")
        await self._site.accounts.create(name, role, password)
        return back_to("/settings")

    async def remove_account(self, name: FormText) -> Response:
        await self._site.accounts.remove(name)
        return back_to("/settings")

    async def make_token(self, request: Request, name: FormText, scopes: Annotated[list[str] | None, Form()] = None) -> Response:
        token = await self._site.accounts.make_token(name, tuple(scopes or ()), visitor_of(request).name)
        return self._settings(request, token)

    async def remove_token(self, token: FormText) -> Response:
        await self._site.accounts.remove_token(token)
        return back_to("/settings")
