"""Messages of workers: each reaches the services that handle its type, and what the journal stores is recorded together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from hedgerow.app.control.worker_messages import WorkerMessages
from hedgerow.features.contract import ControlService
from hedgerow.journal.event_receiver import MessageBatch
from hedgerow.journal.messages import CounterDelta, GaugeLevel, SiteSeen, WorkerMessage
from hedgerow.policies.model import AccessRequest, DeviceId
from hedgerow.task_state import Area

ASKED = AccessRequest(1.0, DeviceId("tablet"), "mia", "a.example")
MESSAGES = (SiteSeen(7, "a.example"), ASKED, GaugeLevel("level", ("a",), 2.0), GaugeLevel("other", (), 1.0), CounterDelta("x", (), 1.0))


async def _never() -> None:
    await asyncio.Event().wait()


def test_each_message_reaches_the_services_that_take_it() -> None:
    seen: list[tuple[str, str, Any]] = []

    def service(name: str, *keys: type | str) -> ControlService:
        async def take(batch: MessageBatch, message: Any) -> None:
            seen.append((name, batch.worker, message))

        return ControlService(name=name, area=Area.UPKEEP, run=_never, handles=dict.fromkeys(keys, take))

    def record(messages: Sequence[WorkerMessage]) -> None:
        seen.append(("journal", "", tuple(messages)))

    async def end(batch: MessageBatch) -> None:
        seen.append(("end", batch.worker, None))

    services = (service("sites", SiteSeen), service("ages", SiteSeen), service("gauges", GaugeLevel), service("own", "level"))
    messages = WorkerMessages(cast(Any, None), services=lambda: services, record=record, end=end)
    asyncio.run(messages.take(MessageBatch("dns-0", "dns", MESSAGES)))
    assert seen == [
        ("sites", "dns-0", MESSAGES[0]),
        ("ages", "dns-0", MESSAGES[0]),
        ("own", "dns-0", MESSAGES[2]),
        ("gauges", "dns-0", MESSAGES[3]),
        ("journal", "", (ASKED,)),
        ("end", "dns-0", None),
    ]
