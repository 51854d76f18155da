"""Settings of the network, changes with undo, accounts, tokens, and the user's own account."""

from __future__ import annotations

from typing import Annotated

import pyotp
from fastapi import Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.accounts import MAX_TOKEN_DAYS
from hedgerow.dashboards.actions.accounts import remove_account
from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.edits.yaml_text import diff_of_files, put
from hedgerow.dashboards.guard import peer_address
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import (
    MORE_PATH,
    PageContext,
    PageGroup,
    countries_by_name,
    principal_of,
    redirect_after_save,
    redirect_to,
    referring_page,
)
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.pages.openings import confirm
from hedgerow.dashboards.policy_index import device_of
from hedgerow.dashboards.routes import ADMIN, MANAGE, READ, get, post
from hedgerow.dashboards.scopes import TOKEN_SCOPES, AccessScope, Role
from hedgerow.dashboards.words.changes import change_sentences
from hedgerow.dashboards.words.labels import user_agent_text
from hedgerow.dashboards.words.languages import LANGUAGE_COOKIE, language_of, message
from hedgerow.policies.network import BlockedAnswer
from hedgerow.policies.text.locales import time_zones_of

type FormText = Annotated[str, Form(max_length=600)]
type ChangeId = Annotated[int, Path(ge=1, le=2**62)]

# Names of roles, scopes and process states.
_NAMES = {
    "admin": message("admin"),
    "parent": message("parent"),
    "operator": message("operator"),
    "read": message("read"),
    "metrics": message("metrics"),
    "leases": message("report leases"),
    "manage": message("manage"),
    "running": message("running"),
    "starting": message("starting"),
    "restarting": message("restarting"),
    "stopped": message("stopped"),
}


BLOCKED_ANSWER = ("network", "blocked_answer")


class SettingsPages(PageGroup):
    """`/settings` and `/changes`, and their forms."""

    @get("/settings", READ)
    async def settings(self, request: Request) -> Response:
        return self._settings(request)

    def _settings(self, request: Request, new_token: str = "") -> Response:
        context, is_admin = self._context, ADMIN in principal_of(request).scopes
        policy = context.policy()
        return self._page(
            request,
            "settings.html",
            network=policy.network,
            profiles=policy.profiles,
            countries=countries_by_name(language_of(request)),
            zones=time_zones_of(policy.network.country or ""),  # all of them would be a third of the page
            file=context.editor.path,
            status=context.control.status(),
            accounts=context.accounts.accounts() if is_admin else (),
            tokens=context.accounts.tokens() if is_admin else (),
            roles=list(Role),
            scopes=list(TOKEN_SCOPES),
            names=_NAMES,
            new_token=new_token,
            shows_block_page=policy.network.resolver.blocked_answer is BlockedAnswer.PAGE,
            chosen_language=request.cookies.get(LANGUAGE_COOKIE, ""),
        )

    @post("/settings/network", MANAGE)
    async def set_network(self, request: Request, country: FormText, zone: FormText, unknown: FormText) -> Response:
        values = {"country": country or None, "timezone": zone, "unknown_devices": unknown}
        edits = [put(("network", key), value) for key, value in values.items()]
        with at_field("zone"):
            change = await self._change(request, message("Network settings changed."), *edits)
        return redirect_after_save("/settings", change)

    @post("/settings/block-page", MANAGE)
    async def set_block_page(self, request: Request, on: Annotated[bool, Form()]) -> Response:
        """Lead blocked names to the block page, or nowhere."""
        answer = BlockedAnswer.PAGE if on else BlockedAnswer.ZERO
        change = await self._change(
            request, message("The page for blocked sites changed."), put(BLOCKED_ANSWER, answer.value)
        )
        return redirect_after_save("/settings", change, "block-page")

    @get("/changes", READ)
    async def changes(self, request: Request) -> Response:
        reader, changes = language_of(request), await run_in_threadpool(self._context.editor.store.latest)
        told = await run_in_threadpool(
            lambda: [(each, change_sentences(each.actor, each.before, each.after, reader)) for each in changes]
        )
        return self._page(request, "changes.html", changes=told)

    @get("/changes/{change_id}", READ)
    async def change(self, request: Request, change_id: ChangeId) -> Response:
        change = await run_in_threadpool(self._context.editor.store.change, change_id)
        told = change_sentences(change.actor, change.before, change.after, language_of(request))
        return self._page(
            request, "change.html", change=change, told=told, lines=diff_of_files(change.before, change.after)
        )

    @post("/changes/{change_id}/undo", MANAGE)
    async def undo(self, request: Request, change_id: ChangeId) -> Response:
        summary = language_of(request).gettext("Undone: %(summary)s")
        return redirect_after_save(
            referring_page(request), await self._context.editor.undo(change_id, principal_of(request), summary)
        )

    @form(remove_account)
    async def remove_account(self, request: Request, caller: Caller, name: str) -> Response:
        """Ask once, and remove an account."""
        question = await confirm(
            self._context,
            request,
            message("Remove the account %(name)s?"),
            message("%(name)s can no longer sign in, and all sessions of the account end."),
            {"yes": message("Remove")},
            name=name,
        )
        if question is not None:
            return question
        await remove_account.run(self._context, caller, name)
        return self._done(request, message("%(name)s can no longer sign in."), name=name)

    @post("/settings/tokens", ADMIN)
    async def make_token(
        self,
        request: Request,
        name: FormText,
        scopes: Annotated[list[str] | None, Form()] = None,
        days: Annotated[int, Form(ge=0, le=MAX_TOKEN_DAYS)] = 0,
    ) -> Response:
        """Make a token for some days; 0 for one without an end."""
        return self._settings(
            request,
            await self._context.accounts.make_token(
                name, tuple(scopes or ()), principal_of(request).name, days or None
            ),
        )


class AccountPages(PageGroup):
    """`/more`, `/account` and its forms, for everybody who is signed in."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._secrets: dict[str, str] = {}

    @get(MORE_PATH, *AccessScope)
    async def more(self, request: Request) -> Response:
        """Show the links that have no place in a phone's navigation bar."""
        return self._page(request, "more.html")

    @get("/help", *AccessScope)
    async def help(self, request: Request) -> Response:
        """Say where the common jobs are done."""
        return self._page(request, "help.html")

    @get("/account", *AccessScope)
    async def account(self, request: Request) -> Response:
        return self._account(request)

    def _account(self, request: Request, codes: tuple[str, ...] = ()) -> Response:
        name, accounts = principal_of(request).name, self._context.accounts
        mine = next((row for row in accounts.accounts() if row.name == name), None)
        if mine is None:
            raise InvalidInput("Nobody is signed in here.")
        secret = self._secret(name)
        sessions = sorted(accounts.sessions(name), key=lambda row: row.seen_at, reverse=True)
        link = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Hedgerow")
        return self._page(
            request,
            "account.html",
            names=_NAMES,
            mine=mine,
            sessions=[(row, device_of(row, self._context.policy()), user_agent_text(row.agent)) for row in sessions],
            secret=secret,
            link=link,
            code=qr_code(link),
            codes=codes,
        )

    @post("/account/password", *AccessScope)
    async def set_password(self, request: Request, old: FormText, new: FormText) -> Response:
        """Change the password, which ends all sessions of the account."""
        name = await self._confirmed_name(request, old)
        with at_field("new"):
            await self._context.accounts.set_password(name, new)
        return redirect_to("/sign-in?saved=password")

    @post("/account/sessions/end", *AccessScope)
    async def end_session(self, request: Request, session: FormText) -> Response:
        """End a session of the user; admins may end anybody's."""
        principal = principal_of(request)
        owned = {
            row.id for row in self._context.accounts.sessions(None if ADMIN in principal.scopes else principal.name)
        }
        if session not in owned:
            raise InvalidInput("This session does not exist.")
        await self._context.accounts.end_session(session)
        return self._done(request, message("That browser is signed out."))

    @post("/account/code", *AccessScope)
    async def start_code(self, request: Request, code: FormText, old: FormText) -> Response:
        """Switch the second factor on, end all sessions of the account and show the recovery codes once."""
        name = await self._confirmed_name(request, old)
        with at_field("code"):
            codes = await self._context.accounts.start_totp(name, self._secret(name), code)
        del self._secrets[name]
        return self._account(request, codes)

    @post("/account/code/stop", *AccessScope)
    async def stop_code(self, request: Request, old: FormText) -> Response:
        await self._context.accounts.stop_totp(await self._confirmed_name(request, old))
        return redirect_to("/sign-in?saved=code")

    def _secret(self, name: str) -> str:
        """Return the secret that an account is offered, the same until it is in use, so that a mistyped code can be
        corrected.
        """
        return self._secrets.setdefault(name, pyotp.random_base32())

    async def _confirmed_name(self, request: Request, password: str) -> str:
        """Return the name of the signed-in account after checking its password."""
        name, accounts, address = principal_of(request).name, self._context.accounts, peer_address(request.scope)
        with at_field("old"):
            # as for somebody who signs in: a stolen session is no way to learn the password
            accounts.delays.check(address)
            accounts.delays.count_failure(address)  # before it is compared, so that many at once are not more tries
            await accounts.check_password(name, password)
            accounts.delays.forget(address)
        return name
