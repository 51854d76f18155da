"""JSON for codes that somebody reads out over the phone: made here by those in charge, typed on the child's own page or a block page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hedgerow.dashboards.api.control import HowLong
from hedgerow.dashboards.api.giver import Giver
from hedgerow.dashboards.api.problems import PROBLEMS
from hedgerow.journal.codes import Code

VALID_MINUTES = 15


class WrongCode(Exception):
    """What was typed is no code here. The message is a sentence for who typed it, and tells nothing about codes that there are."""


class CodeOrder(BaseModel):
    """Either a request that the code answers, or whom it is for and what it gives: minutes on top, or something that it opens."""

    model_config = ConfigDict(extra="forbid")

    request: int | None = Field(None, ge=1, le=2**62)
    device: str | None = Field(None, max_length=253)
    person: str | None = Field(None, max_length=253)
    subject: str = Field("", max_length=2048)
    how_long: HowLong = HowLong.HOUR
    minutes: int | None = Field(None, ge=1, le=24 * 60)
    valid_minutes: int = Field(VALID_MINUTES, ge=1, le=24 * 60)


@dataclass(frozen=True, slots=True)
class MadeCode:
    """`digits` are told this once."""

    digits: str
    code: Code


class CodeControl(Protocol):
    """Raises `Unfit` for unknown names, `NoSuchEntry` where a request or a code is not open."""

    async def make(self, order: CodeOrder, giver: str) -> MadeCode:
        """Makes a code."""
        ...

    async def open(self) -> tuple[Code, ...]:
        """The codes that can still be used; their digits are known to nobody."""
        ...

    async def withdraw(self, code_id: str) -> None:
        """Makes a code useless."""
        ...

    async def redeem(self, device_id: str, typed: str) -> Code:
        """Takes a code that was typed at a device, which holds at both points when this returns. Raises `WrongCode`."""
        ...


def make_code_api(control: CodeControl) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEMS)

    @api.post("/codes", status_code=201)
    async def make(giver: Giver, order: CodeOrder) -> MadeCode:
        return await control.make(order, giver)

    @api.get("/codes")
    async def codes() -> tuple[Code, ...]:
        return await control.open()

    @api.delete("/codes/{code_id}", status_code=204)
    async def withdraw(code_id: str) -> None:
        await control.withdraw(code_id)

    return api
