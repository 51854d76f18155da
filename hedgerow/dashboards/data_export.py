"""What is kept about somebody, for those in charge and for themselves: one answer for both, and erased by the former."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hedgerow.dashboards.control import DeviceView
from hedgerow.journal.personal_data import DataSubject, ErasureResult, PersonalDataStore
from hedgerow.journal.recorder import Recorder
from hedgerow.policies.model import Device, Policy


class DataExport:
    """Every method but `whose` waits for the disk: call it from a thread."""

    def __init__(
        self, store: PersonalDataStore, recorder: Recorder, policy: Callable[[], Policy], clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._recorder, self._policy, self._clock = store, recorder, policy, clock

    def data_subject(self, name: str) -> DataSubject:
        """A person with all devices that are nobody else's, or a device. A name that the policy does not know, or no longer, is either."""
        policy = self._policy()
        if name in policy.people:
            return DataSubject(name, frozenset(device.id for device in policy.devices.values() if device.person == name))
        return DataSubject(None if name in policy.devices else name, frozenset({name}))

    def data_subject_at(self, view: DeviceView, since: float) -> DataSubject:
        """What may be seen at a device: its person's where it proves to be theirs, else the device's; at a seat the guest's."""
        device = self._policy().devices.get(view.device)
        if view.person is None or device is None or not _has_strong_identity(device):
            return DataSubject(None, frozenset({view.device}), since)
        return self.data_subject(view.person)

    def lines(self, data_subject: DataSubject) -> Iterator[str]:
        """Each row that is kept as a line of JSON."""
        self._recorder.flush()
        return (json.dumps(row, ensure_ascii=False) + "\n" for row in self._store.rows(data_subject))

    def erase(self, name: str) -> ErasureResult:
        """Erases what is over. What workers have yet to tell of the time until now is not remembered either."""
        data_subject = self.data_subject(name)
        with self._recorder.paused_for_erasure(data_subject.names):
            return self._store.erase(data_subject, self._counted_since(data_subject), frozenset(self._policy().devices))

    def _counted_since(self, data_subject: DataSubject) -> float:
        """The beginning of the week on the clocks of the person: budgets count from there."""
        policy = self._policy()
        person = policy.people.get(data_subject.person or "")
        now = datetime.fromtimestamp(self._clock(), ZoneInfo((person and person.timezone) or policy.network.timezone))
        monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
        return monday.timestamp()


def _has_strong_identity(device: Device) -> bool:
    """Not by a host name alone, which any device can take."""
    return bool(device.macs or device.networks or device.client_id)
