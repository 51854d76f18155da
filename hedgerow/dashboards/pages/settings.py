"""Settings: the network, what was changed and how to undo it, the CA; and who may sign in, with what."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

import pyotp
from fastapi import APIRouter, Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.accounts import TOKEN_SCOPES, AccessScope, Role
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import diff_of_files, put
from hedgerow.dashboards.pages.context import PageContext, countries_by_name, principal_of, redirect_after_save, redirect_to
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.words.labels import user_agent_text
from hedgerow.dashboards.words.languages import LANGUAGE_COOKIE, language_of, message

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

    def __init__(self, site: PageContext) -> None:
        self._context = site

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
        site, is_admin = self._context, AccessScope.ADMIN in principal_of(request).scopes
        policy = site.policy()
        return site.renderer.page(
            request,
            "settings.html",
            network=policy.network,
            profiles=policy.profiles,
            countries=countries_by_name(language_of(request)),
            zones=sorted(available_timezones()),
            file=site.editor.path,
            status=site.control.status(),
            accounts=site.accounts.accounts() if is_admin else (),
            tokens=site.accounts.tokens() if is_admin else (),
            roles=list(Role),
            scopes=list(TOKEN_SCOPES),
            names=_NAMES,
            new_token=new_token,
            chosen_language=request.cookies.get(LANGUAGE_COOKIE, ""),
        )

    async def set_network(self, request: Request, country: FormText, zone: FormText, unknown: FormText) -> Response:
        edits = [
            put(("network", "country"), country or None),
            put(("network", "timezone"), zone),
            put(("network", "unknown_devices"), unknown),
        ]
        change = await self._context.editor.change(principal_of(request).name, language_of(request).gettext("Network settings"), *edits)
        return redirect_after_save("/settings", change)

    async def changes(self, request: Request) -> Response:
        changes = await run_in_threadpool(self._context.editor.store.latest)
        return self._context.renderer.page(request, "changes.html", changes=changes)

    async def change(self, request: Request, change_id: ChangeId) -> Response:
        change = await run_in_threadpool(self._context.editor.store.change, change_id)
        return self._context.renderer.page(request, "change.html", change=change, lines=diff_of_files(change.before, change.after))

    async def undo(self, request: Request, change_id: ChangeId) -> Response:
        change = await self._context.editor.undo(change_id, principal_of(request).name, language_of(request).gettext("Undone: %(summary)s"))
        return redirect_after_save("/changes", change)

    async def account(self, request: Request) -> Response:
        return self._account(request)

    def _account(self, request: Request, codes: tuple[str, ...] = ()) -> Response:
        name, accounts = principal_of(request).name, self._context.accounts
        mine = next((row for row in accounts.accounts() if row.name == name), None)
        if mine is None:
            raise InvalidInput("Nobody is signed in here.")
        secret = pyotp.random_base32()
        sessions = sorted(accounts.sessions(name), key=lambda row: row.seen_at, reverse=True)
        link = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Hedgerow")
        return self._context.renderer.page(
            request,
            "account.html",
            names=_NAMES,
            mine=mine,
            sessions=[(row, user_agent_text(row.agent)) for row in sessions],
            secret=secret,
            link=link,
            code=qr_code(link),
            codes=codes,
        )

    async def set_password(self, request: Request, old: FormText, new: FormText) -> Response:
        """All sessions end with it, this one too: whoever knows the new password signs in again."""
        name = principal_of(request).name
        await self._context.accounts.check_password(name, old)
        await self._context.accounts.set_password(name, new)
        return redirect_to("/sign-in")

    async def end_session(self, request: Request, session: FormText) -> Response:
        """One of one's own, or anybody's for an admin."""
        principal = principal_of(request)
        owned = {row.id for row in self._context.accounts.sessions(None if AccessScope.ADMIN in principal.scopes else principal.name)}
        if session not in owned:
            raise InvalidInput("This session does not exist.")
        await self._context.accounts.end_session(session)
        return redirect_to("/account")

    async def start_code(self, request: Request, secret: FormText, code: FormText, old: FormText) -> Response:
        """The recovery codes are shown once; every session of the account has ended by then."""
        name = principal_of(request).name
        await self._context.accounts.check_password(name, old)
        codes = await self._context.accounts.start_totp(name, secret, code)
        return self._account(request, codes)

    async def stop_code(self, request: Request, old: FormText) -> Response:
        name = principal_of(request).name
        await self._context.accounts.check_password(name, old)
        await self._context.accounts.stop_totp(name)
        return redirect_to("/sign-in")

    async def add_account(self, name: FormText, role: Annotated[Role, Form()], password: FormText) -> Response:
        if not self._context.accounts.has_any:
            raise InvalidInput("Set a password for yourself first.")
        await self._context.accounts.create(name, role, password)
        return redirect_to("/settings")

    async def remove_account(self, name: FormText) -> Response:
        await self._context.accounts.remove(name)
        return redirect_to("/settings")

    async def make_token(self, request: Request, name: FormText, scopes: Annotated[list[str] | None, Form()] = None) -> Response:
        token = await self._context.accounts.make_token(name, tuple(scopes or ()), principal_of(request).name)
        return self._settings(request, token)

    async def remove_token(self, token: FormText) -> Response:
        await self._context.accounts.remove_token(token)
        return redirect_to("/settings")
