"""What other nodes wrote is read again, also if the store could not be read when the change was noticed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from hedgerow.app.control.shared_policy import SharedPolicy, SharedVersion
from hedgerow.app.control.store_follower import StoreFollower
from hedgerow.dashboards.edits.policy_editor import CheckedPolicy, PolicyEditor
from hedgerow.journal.database import open_journal
from hedgerow.journal.policy_history import PolicyHistory, PolicyVersion, PolicyVersions
from hedgerow.journal.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_journal(tmp_path / "journal.sqlite")) as store:
        yield store


class Changes:
    """A listener that notices one change, the first time it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def wait(self, _seconds: float) -> bool:
        self.times += 1
        return self.times == 1


def lost() -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception("connection timeout expired"))


def test_a_change_is_read_once_the_store_can_be_read_again(caplog: pytest.LogCaptureFixture) -> None:
    adopted = asyncio.Event()
    answers: Iterator[Any] = iter([lost(), lost(), ["rows"]])

    def read() -> list[str]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    async def follow() -> None:
        accounts = SimpleNamespace(read=read, adopt=lambda _rows: adopted.set())
        publisher, others = SimpleNamespace(refresh=lambda: asyncio.sleep(0)), SimpleNamespace(request=lambda: None)
        store: Any = SimpleNamespace(
            dialect=SimpleNamespace(changes=lambda _site: Changes(), is_partitioned=False), site="home"
        )
        follower = StoreFollower(store, publisher, accounts, others, lambda: None)  # type: ignore[arg-type]
        following = asyncio.create_task(follower.run())
        await asyncio.wait_for(adopted.wait(), 20)
        following.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(follow())
    assert len(caplog.records) == 1, "one warning, however long it lasts"


def test_a_version_that_could_not_be_read_is_read_later(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hedgerow.app.control.shared_policy.STORE_RETRY_S", 0.01)
    folder = tmp_path / "node"
    folder.mkdir()
    main = folder / "hedgerow.yaml"
    main.write_text("people: {mia: {age: 9}}\n")
    SharedVersion(0, {}).save(folder)

    class Failing(PolicyVersions):
        failures = 2

        def newest(self, site: str | None = None) -> PolicyVersion | None:
            if self.failures:
                self.failures -= 1
                raise lost()
            return super().newest(site)

        def add(self, version: PolicyVersion) -> int:
            number = super().add(version)
            added.set()
            return number

    added = threading.Event()
    versions = Failing(store)

    async def follow() -> None:
        async def apply(_path: Path, _checked: CheckedPolicy) -> None: ...

        shared = SharedPolicy(folder, versions, PolicyEditor(main, PolicyHistory(store), apply))
        following = asyncio.create_task(shared.run())
        assert await asyncio.to_thread(added.wait, 20)
        following.cancel()

    asyncio.run(follow())
