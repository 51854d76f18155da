"""JSON for scripts about notices: who gets them, what was sent, a test. An address goes in and never comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.address_book import MAX_ADDRESS_LENGTH
from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.dashboards.control import Control, InvalidInput
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.edits.yaml_text import put, remove
from hedgerow.dashboards.notices import NoticeDispatcher, ReceiverView, TestResult
from hedgerow.dashboards.pages.context import principal_of
from hedgerow.journal.outbox import NoticeRow
from hedgerow.policies.notices import RECEIVER_NAME, NoticeTopic
from hedgerow.policies.text.locales import LanguageCode


@dataclass(frozen=True, slots=True)
class NoticesView:
    """Everybody who gets notices, and the latest notices, whatever became of them."""

    receivers: tuple[ReceiverView, ...]
    latest: tuple[NoticeRow, ...]


class ReceiverAddress(BaseModel):
    """Where a receiver is reached, as apprise writes it; empty for nowhere."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(max_length=MAX_ADDRESS_LENGTH)


class ReceiverSettings(BaseModel):
    """As in the policy file: all but `refused` where none is named; `quiet` such as 22:00-07:00, `digest` 18:00, `report` sun 18:00."""

    model_config = ConfigDict(extra="forbid")

    about: list[NoticeTopic] | None = None
    language: LanguageCode | None = None
    quiet: str | None = Field(None, max_length=40)
    digest: str | None = Field(None, max_length=20)
    report: str | None = Field(None, max_length=20)


type ReceiverName = Annotated[str, Path(max_length=60)]


def make_notices_api(dispatcher: NoticeDispatcher, control: Control, policy_desk: PolicyEditor) -> APIRouter:
    """The routes under /api/v1/notices."""
    api = APIRouter(prefix="/api/v1/notices", responses=PROBLEM_RESPONSES)

    @api.get("")
    async def notices() -> NoticesView:
        return NoticesView(await run_in_threadpool(dispatcher.receivers), await run_in_threadpool(dispatcher.outbox.latest))

    @api.put("/{name}", status_code=204)
    async def set_receiver(request: Request, name: ReceiverName, order: ReceiverSettings) -> None:
        """Adds somebody, or says anew about what and when they are told."""
        if RECEIVER_NAME.fullmatch(name) is None:
            raise InvalidInput("'%(name)s': the name of a recipient may contain lower-case letters, digits and hyphens.", name=name)
        said = order.model_dump(exclude_none=True, mode="json")
        edits = [put(("notices", name), said)] if name not in control.policy().notices else [
            put(("notices", name, key), said.get(key)) for key in ReceiverSettings.model_fields
        ]  # fmt: skip
        await policy_desk.change(principal_of(request).name, f"The notices of {name}", *edits)

    @api.delete("/{name}", status_code=204)
    async def remove_receiver(request: Request, name: ReceiverName) -> None:
        """The address goes with it."""
        if name not in control.policy().notices:
            raise InvalidInput("There is no notice recipient called '%(name)s'.", name=name)
        await policy_desk.change(principal_of(request).name, f"No notices to {name}", remove(("notices", name)))
        await run_in_threadpool(dispatcher.book.put, name, "")

    @api.put("/{name}/address", status_code=204)
    async def set_address(name: ReceiverName, order: ReceiverAddress) -> None:
        await run_in_threadpool(dispatcher.set_address, name, order.address)

    @api.post("/test")
    async def test_all() -> tuple[TestResult, ...]:
        return await dispatcher.test()

    @api.post("/{name}/test")
    async def test(name: ReceiverName) -> tuple[TestResult, ...]:
        return await dispatcher.test(name)

    return api
