"""Messages of workers: each reaches the services that handle its type, and what the journal stores is recorded
together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import pytest

from hedgerow.app.control.health import TaskMonitor
from hedgerow.app.control.worker_messages import WorkerMessages
from hedgerow.dashboards.metrics import Metrics
from hedgerow.features.contract import ControlService
from hedgerow.journal.event_receiver import MessageBatch
from hedgerow.journal.messages import CounterDelta, GaugeLevel, SiteSeen, WorkerMessage
from hedgerow.policies.model import AccessRequest, DeviceId
from hedgerow.task_state import Area
from hedgerow.watched_tasks import WatchedTasks

ASKED = AccessRequest(1.0, DeviceId("tablet"), "mia", "a.example")
MESSAGES = (
    SiteSeen(7, "a.example"),
    ASKED,
    GaugeLevel("level", ("a",), 2.0),
    GaugeLevel("other", (), 1.0),
    CounterDelta("x", (), 1.0),
)


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

    services = (
        service("sites", SiteSeen),
        service("ages", SiteSeen),
        service("gauges", GaugeLevel),
        service("own", "level"),
    )
    messages = WorkerMessages(
        cast(Any, None), services=lambda: services, record=record, end=end, tasks=WatchedTasks("control")
    )
    asyncio.run(messages.take(MessageBatch("dns-0", "dns", MESSAGES)))
    assert seen == [
        ("sites", "dns-0", MESSAGES[0]),
        ("ages", "dns-0", MESSAGES[0]),
        ("own", "dns-0", MESSAGES[2]),
        ("gauges", "dns-0", MESSAGES[3]),
        ("journal", "", (ASKED,)),
        ("end", "dns-0", None),
    ]


def test_a_message_that_a_feature_fails_at_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, counted and shown to people, and the next message is handled."""
    seen: list[str] = []

    def fail(_batch: MessageBatch, message: SiteSeen) -> None:
        seen.append(str(message.site))
        raise RuntimeError("no registrar")

    async def fail_later(_batch: MessageBatch, message: SiteSeen) -> None:
        await asyncio.sleep(0)
        fail(_batch, message)

    async def take(handler: Any) -> tuple[Metrics, TaskMonitor]:
        metrics, tasks = Metrics(), WatchedTasks("control")
        monitor = TaskMonitor(metrics)
        tasks.report_to(partial(monitor.note, "control", "control"))
        broken = ControlService(name="ages", area=Area.LOG, run=_never, handles={SiteSeen: handler})
        whole = ControlService(
            name="sites",
            area=Area.RULES,
            run=_never,
            handles={SiteSeen: lambda _, found: seen.append(f"+{found.site}")},
        )

        async def end(_batch: MessageBatch) -> None:
            seen.append("end")

        messages = WorkerMessages(
            cast(Any, None), services=lambda: (broken, whole), record=lambda _: None, end=end, tasks=tasks
        )
        await messages.take(MessageBatch("dns-0", "dns", (SiteSeen(1, "a.example"), SiteSeen(2, "b.example"))))
        return metrics, monitor

    for handler in (fail, fail_later):
        seen.clear()
        with caplog.at_level(logging.ERROR, logger="hedgerow.tasks"):
            metrics, monitor = asyncio.run(take(handler))
        assert seen == ["1", "+1", "2", "+2", "end"]
        assert "The task ages could not do a part of its work, and goes on: RuntimeError: no registrar" in caplog.text
        assert 'hedgerow_task_failures_total{process="control",task="ages"} 2' in metrics.exposition()[0].decode()
        (shown,) = monitor.troubles
        assert (shown.name, shown.reason.startswith("RuntimeError: no registrar")) == ("ages", True)
        assert not shown.is_failing, "it goes on"
