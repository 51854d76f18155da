"""The policy file of the run: followed as it changes, and changed by the editor and by what other nodes publish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.shared_policy import SharedPolicy
from hedgerow.app.control.snapshots.budgets import BudgetTracker
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.settings import Settings
from hedgerow.dashboards.edits.policy_editor import CheckedPolicy, PolicyEditor
from hedgerow.dashboards.metrics import Metrics
from hedgerow.journal.policy_history import PolicyHistory, PolicyVersions
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.store import Store
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.identity import renamed_devices
from hedgerow.policies.model import DeviceId, Policy
from hedgerow.policies.person_access import dangers_opened
from hedgerow.ticks import next_tick, seconds_to_tick

log = logging.getLogger("hedgerow.control")

POLICY_CHECK_INTERVAL_S = 0.5


class PolicyFollower:
    """The reader of the policy file. `editor` changes it, and `shared` takes over what other nodes have published.

    `settings` are those of the run. They change when the first policy file is written. `prepare` is awaited when the
    file has been read, before the policy is in force.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        publisher: SnapshotPublisher,
        recorder: Recorder,
        metrics: Metrics,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self.settings = settings
        self._prepare = prepare
        self._publisher, self._recorder, self._metrics = publisher, recorder, metrics
        # A first policy is written to the file that `hedgerow up` looks for.
        self.editor = PolicyEditor(
            settings.policy or Path("hedgerow.yaml").absolute(),
            PolicyHistory(store),
            self._apply,
            find_dangers=self._find_dangers,
        )
        self.shared = SharedPolicy(settings.state, PolicyVersions(store), self.editor)
        self._wanted, self._lock = asyncio.Event(), asyncio.Lock()
        self._wanted.set()

    def request(self) -> None:
        """Have the file read again now."""
        self._wanted.set()

    async def follow(self, checked: CheckedPolicy | None = None) -> bool:
        """Reload the policy file if it has changed or a reload was requested.

        Returns True if another policy is in force.
        """
        async with self._lock:  # a change is read once, although the editor and the watch both notice it
            if self.editor.is_replacing or not (self._wanted.is_set() or self._publisher.policy_file.has_changed()):
                return False
            self._wanted.clear()
            before = self._publisher.policy
            good = await self._publisher.policy_file.reload(checked)
            if good and (names := await asyncio.to_thread(renamed_devices, before, self._publisher.policy)):
                # another node has renamed them already; a second time would undo it
                is_swapped = bool(names.keys() & set(names.values()))
                recorder = None if is_swapped and self.shared.is_taking_over else self._recorder
                await _follow_names(recorder, self._publisher.budgets, names)
            await self._prepare()
            self.shared.request()
            self._metrics.add("hedgerow_policy_loads_total", ("success" if good else "failure",))
            return good

    def _find_dangers(self, policy: Policy) -> Iterable[tuple[AccessSubject, Sequence[str]]]:
        view = self._publisher.view
        return () if view is None else dangers_opened(view.policy, policy, view.catalogue)

    async def _apply(self, path: Path, checked: CheckedPolicy) -> None:
        """Apply a file that was just written.

        A first policy file becomes that of the run, also after a restart of control.
        """
        if self.settings.policy is None:
            self.settings = replace(self.settings, policy=path)
            await asyncio.to_thread(self.settings.save)
            self._publisher.policy_file.path = path
        self._wanted.set()
        await self.follow(checked)
        if self.shared.is_taking_over:  # nobody waits for an answer here, and the next version may be there
            await self._publisher.publish_with_retry()
        else:
            await self._publisher.put_in_force()

    async def run(self) -> None:
        """Watch the file until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), seconds_to_tick(POLICY_CHECK_INTERVAL_S))
            if await self.follow():
                await self._publisher.publish_with_retry()
            elif self._wanted.is_set():  # the editor is replacing the file
                await next_tick(POLICY_CHECK_INTERVAL_S)


async def _follow_names(recorder: Recorder | None, budgets: BudgetTracker, names: Mapping[DeviceId, DeviceId]) -> None:
    """Let history, requests, grants, pauses and minutes follow devices to their new names."""
    try:
        await asyncio.to_thread(budgets.save)
        if recorder is not None:
            await asyncio.to_thread(recorder.rename, names)
    except DatabaseError as error:
        log.error("What is recorded about %s stays under the old names: %s", ", ".join(names), error.orig)
    budgets.rename(names)
