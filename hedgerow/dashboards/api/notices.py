"""API of notices: recipients, sent notices and tests. An address can be set and is never returned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Path
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.address_book import MAX_ADDRESS_LENGTH, check_receiver_name
from hedgerow.dashboards.api.schema import Author, LanguageCode, StrictModel
from hedgerow.dashboards.control import Control
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.edits.yaml_text import put, remove
from hedgerow.dashboards.notices import NoticeDispatcher, ReceiverView, TestResult, find_receiver
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter
from hedgerow.journal.outbox import NoticeRow
from hedgerow.policies.notices import NoticeTopic


@dataclass(frozen=True, slots=True)
class NoticesView:
    """All recipients and the latest notices with their outcome."""

    receivers: tuple[ReceiverView, ...]
    latest: tuple[NoticeRow, ...]


class ReceiverAddress(StrictModel):
    """An apprise URL, or an empty text to remove the address."""

    address: str = Field(max_length=MAX_ADDRESS_LENGTH)


class ReceiverSettings(StrictModel):
    """Settings as in the policy file:

    `quiet` such as 22:00-07:00, `digest` 18:00, `report` sun 18:00. No `about`: all but `refused`.
    """

    about: list[NoticeTopic] | None = None
    language: LanguageCode | None = None
    quiet: str | None = Field(None, max_length=40)
    digest: str | None = Field(None, max_length=20)
    report: str | None = Field(None, max_length=20)


type ReceiverName = Annotated[str, Path(max_length=60)]


def add_notice_routes(api: ScopedRouter, dispatcher: NoticeDispatcher, control: Control, editor: PolicyEditor) -> None:
    """Add the routes."""

    @api.serve("GET", "/notices", READ)
    async def notices() -> NoticesView:
        return NoticesView(
            await run_in_threadpool(dispatcher.receivers), await run_in_threadpool(dispatcher.outbox.latest)
        )

    @api.serve("PUT", "/notices/{name}", MANAGE, status_code=204)
    async def set_receiver(author: Author, name: ReceiverName, order: ReceiverSettings) -> None:
        """Add a recipient, or replace all settings of one."""
        check_receiver_name(name)
        settings = order.model_dump(exclude_none=True, mode="json")
        if name in control.policy().notices:
            edits = [put(("notices", name, key), settings.get(key)) for key in ReceiverSettings.model_fields]
        else:
            edits = [put(("notices", name), settings)]
        await editor.change(author, f"The notices of {name}", *edits)

    @api.serve("DELETE", "/notices/{name}", MANAGE, status_code=204)
    async def remove_receiver(author: Author, name: ReceiverName) -> None:
        """Remove a recipient and the address."""
        find_receiver(control.policy(), name)
        await editor.change(author, f"No notices to {name}", remove(("notices", name)))
        await run_in_threadpool(dispatcher.book.put, name, "")

    @api.serve("PUT", "/notices/{name}/address", MANAGE, status_code=204)
    async def set_address(name: ReceiverName, order: ReceiverAddress) -> None:
        await run_in_threadpool(dispatcher.set_address, name, order.address)

    @api.serve("POST", "/notices/test", MANAGE)
    async def test_all() -> tuple[TestResult, ...]:
        """Send a test to every recipient."""
        return await dispatcher.test()

    @api.serve("POST", "/notices/{name}/test", MANAGE)
    async def test(name: ReceiverName) -> tuple[TestResult, ...]:
        """Send a test to one recipient."""
        return await dispatcher.test(name)
