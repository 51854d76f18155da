"""JSON for scripts about notices: who gets them, what was sent, a test. An address goes in and never comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.address_book import ADDRESS_LIMIT
from hedgerow.dashboards.api.problems import PROBLEMS
from hedgerow.dashboards.notices import NoticeDesk, ReceiverView, TestResult
from hedgerow.journal.outbox import NoticeRow


@dataclass(frozen=True, slots=True)
class Notices:
    """Everybody who gets notices, and the latest notices, whatever became of them."""

    receivers: tuple[ReceiverView, ...]
    latest: tuple[NoticeRow, ...]


class Address(BaseModel):
    """Where a receiver is reached, as apprise writes it; empty for nowhere."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=ADDRESS_LIMIT)


type ReceiverName = Annotated[str, Path(max_length=60)]


def make_notices_api(desk: NoticeDesk) -> APIRouter:
    """The routes under /api/v1/notices."""
    api = APIRouter(prefix="/api/v1/notices", responses=PROBLEMS)

    @api.get("")
    async def notices() -> Notices:
        return Notices(await run_in_threadpool(desk.receivers), await run_in_threadpool(desk.outbox.latest))

    @api.put("/{name}/address", status_code=204)
    async def set_address(name: ReceiverName, order: Address) -> None:
        await run_in_threadpool(desk.set_address, name, order.address)

    @api.post("/test")
    async def test_all() -> tuple[TestResult, ...]:
        return await desk.test()

    @api.post("/{name}/test")
    async def test(name: ReceiverName) -> tuple[TestResult, ...]:
        return await desk.test(name)

    return api
