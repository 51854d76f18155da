"""API of accounts, web sessions and tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import Path
from pydantic import Field

from hedgerow.dashboards.accounts import MAX_TOKEN_DAYS, Accounts
from hedgerow.dashboards.api.schema import Actor, StrictModel
from hedgerow.dashboards.control import Control
from hedgerow.dashboards.policy_index import device_of
from hedgerow.dashboards.routes import ADMIN, ScopedRouter
from hedgerow.dashboards.scopes import Role
from hedgerow.journal.accounts import TokenRow, WebSessionRow


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account. `code`: a second factor is required."""

    name: str
    role: Role
    code: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class SessionView(WebSessionRow):
    """A signed-in browser. `device` is the device of the policy on which it signed in, empty if there is none."""

    device: str = ""


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token. It cannot be shown again."""

    token: str


@dataclass(frozen=True, slots=True)
class SetupView:
    """The address of the pages for other devices, and the setup code; the code is empty once there is an account."""

    url: str
    code: str


class NewPassword(StrictModel):
    password: str = Field(max_length=600)


class NewToken(StrictModel):
    """A token with a name, for some days or without an end."""

    name: str = Field(max_length=80)
    scopes: tuple[str, ...]
    days: int | None = Field(None, ge=1, le=MAX_TOKEN_DAYS)


type AccountName = Annotated[str, Path(max_length=60)]
type CredentialId = Annotated[str, Path(max_length=80)]


def add_account_routes(api: ScopedRouter, accounts: Accounts, control: Control) -> None:
    """Add the routes."""

    @api.serve("GET", "/setup", ADMIN)
    async def setup() -> SetupView:
        """Return the setup code to the command line of this machine."""
        return SetupView(
            f"http://{control.reached_at('127.0.0.1')}", "" if accounts.has_any else accounts.setup_code.text
        )

    @api.serve("GET", "/accounts", ADMIN)
    async def list_accounts() -> tuple[AccountView, ...]:
        return tuple(
            AccountView(row.name, Role(row.role), bool(row.totp), row.created_at) for row in accounts.accounts()
        )

    @api.serve("PUT", "/accounts/{name}/password", ADMIN, status_code=204)
    async def set_password(name: AccountName, new: NewPassword) -> None:
        await accounts.set_password(name, new.password)

    @api.serve("GET", "/web-sessions", ADMIN)
    async def web_sessions() -> tuple[SessionView, ...]:
        policy = control.policy()
        return tuple(SessionView(**asdict(row), device=device_of(row, policy)) for row in accounts.sessions())

    @api.serve("DELETE", "/web-sessions/{session}", ADMIN, status_code=204)
    async def end_web_session(session: CredentialId) -> None:
        await accounts.end_session(session)

    @api.serve("GET", "/tokens", ADMIN)
    async def tokens() -> tuple[TokenRow, ...]:
        return accounts.tokens()

    @api.serve("POST", "/tokens", ADMIN, status_code=201)
    async def make_token(actor: Actor, token: NewToken) -> MadeToken:
        return MadeToken(await accounts.make_token(token.name, token.scopes, actor, token.days))
