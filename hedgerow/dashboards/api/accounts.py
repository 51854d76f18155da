"""JSON for admins: accounts, sessions and tokens; under /api/v1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from hedgerow.dashboards.accounts import Accounts, Role
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.pages.context import principal_of
from hedgerow.journal.accounts import TokenRow, WebSessionRow


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account; `code` says whether a second factor is asked for."""

    name: str
    role: Role
    code: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token. It is told this once."""

    token: str


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewAccount(_Body):
    name: str = Field(max_length=40)
    role: Role
    password: str = Field(max_length=600)


class NewPassword(_Body):
    password: str = Field(max_length=600)


class NewToken(_Body):
    name: str = Field(max_length=80)
    scopes: tuple[str, ...]


type AccountName = Annotated[str, Path(max_length=60)]
type CredentialId = Annotated[str, Path(max_length=80)]


def add_account_routes(api: APIRouter, accounts: Accounts) -> None:
    """Adds the routes."""

    @api.get("/accounts")
    async def list_accounts() -> tuple[AccountView, ...]:
        return tuple(AccountView(row.name, Role(row.role), bool(row.totp), row.created_at) for row in accounts.accounts())

    @api.post("/accounts", status_code=201)
    async def add_account(account: NewAccount) -> None:
        if not accounts.has_any and account.role is not Role.ADMIN:
            raise InvalidInput("The first account is an admin's.")
        await accounts.create(account.name, account.role, account.password)

    @api.put("/accounts/{name}/password", status_code=204)
    async def set_password(name: AccountName, new: NewPassword) -> None:
        await accounts.set_password(name, new.password)

    @api.delete("/accounts/{name}", status_code=204)
    async def remove_account(name: AccountName) -> None:
        await accounts.remove(name)

    @api.get("/sessions")
    async def sessions() -> tuple[WebSessionRow, ...]:
        return accounts.sessions()

    @api.delete("/sessions/{session}", status_code=204)
    async def end_session(session: CredentialId) -> None:
        await accounts.end_session(session)

    @api.get("/tokens")
    async def tokens() -> tuple[TokenRow, ...]:
        return accounts.tokens()

    @api.post("/tokens", status_code=201)
    async def make_token(request: Request, token: NewToken) -> MadeToken:
        return MadeToken(await accounts.make_token(token.name, token.scopes, principal_of(request).name))

    @api.delete("/tokens/{token}", status_code=204)
    async def remove_token(token: CredentialId) -> None:
        await accounts.remove_token(token)
