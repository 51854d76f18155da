"""A worker's last report to control."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from web_server import view_of

from hedgerow.app.ipc import InheritedSockets
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.snapshot import SnapshotWatch
from hedgerow.app.workers.worker import Worker
from hedgerow.journal.event_receiver import EventReceiver
from hedgerow.journal.messages import CounterDelta
from hedgerow.policies.reading.load import parse_policy
from hedgerow.watched_tasks import WatchedTasks

PASSED = "hedgerow_proxy_passed_through_total"
ANY = Endpoint("127.0.0.1", 0)


def test_what_was_counted_since_the_last_report_is_sent_at_the_end(tmp_path: Path) -> None:
    """An inspector's successor begins at zero, so that nobody else would tell."""

    async def main() -> list[float]:
        settings = Settings(tmp_path, None, ANY, ANY, ANY)
        receiver = EventReceiver(settings.event_socket)
        await receiver.start()
        watch = cast(SnapshotWatch, SimpleNamespace(open_if_new=lambda: None, is_denied=False))
        worker = Worker(
            "inspector",
            0,
            settings,
            view_of(parse_policy(b"", None)),
            watch,
            InheritedSockets(()),
            WatchedTasks("inspector"),
        )
        counters: dict[tuple[str, ...], float] = {(PASSED,): 1.0}
        worker.counters = lambda: counters
        stop = asyncio.Event()

        async def run() -> None:
            async with worker.running():
                await stop.wait()

        running = asyncio.create_task(run())
        counted: list[float] = []
        async for batch in receiver.batches():
            counted += [each.value for each in batch.messages if isinstance(each, CounterDelta) and each.name == PASSED]
            if counted == [1.0]:
                counters[PASSED,] = 3.0
                stop.set()
            if batch.left:
                break
        await running
        await receiver.close()
        return counted

    assert asyncio.run(main()) == [1.0, 2.0]
