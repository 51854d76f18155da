"""Personal data kept about a person or device. Export shows parents and the child the same rows, except for what is
private to the child; only parents erase.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from starlette.responses import StreamingResponse

from hedgerow.dashboards.control import DeviceView
from hedgerow.journal.personal_data import DataSubject, ErasureResult, PersonalDataStore
from hedgerow.journal.recorder import Recorder
from hedgerow.policies.identity import Use, is_enough, networks_of
from hedgerow.policies.model import Policy


class DataExport:
    """Export and erasure of personal data. `pieces` and `erase` block on the disk: call them from a thread."""

    def __init__(
        self,
        store: PersonalDataStore,
        recorder: Recorder,
        policy: Callable[[], Policy],
        clock: Callable[[], float] = time.time,
        on_erased: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._recorder, self._policy, self._clock, self._on_erased = (
            store,
            recorder,
            policy,
            clock,
            on_erased,
        )

    def data_subject(self, name: str) -> DataSubject:
        """Return a person with their own devices, or a device. A name that is not in the policy may be either."""
        policy = self._policy()
        if name in policy.people:
            return DataSubject(
                name, frozenset(device.id for device in policy.devices.values() if device.person == name)
            )
        return DataSubject(None if name in policy.devices else name, frozenset({name}))

    def data_subject_at(self, view: DeviceView, since: float) -> DataSubject:
        """Return what a device may see: its person's data if its identity is strong, else its own; at a seat, that of
        this session.
        """
        device = self._policy().devices.get(view.device)
        # More than a host name, which any device can take.
        is_strong = device is not None and bool(device.macs or networks_of(device) or device.client_id)
        if view.person is None or not is_strong or not is_enough(view.grade, Use.KEPT):
            return DataSubject(None, frozenset({view.device}), since)
        return replace(self.data_subject(view.person), asks_itself=True)

    def pieces(self, data_subject: DataSubject) -> Iterator[str]:
        """Return each stored row as a line of JSON, some hundred of them at once."""
        self._recorder.flush()
        return (
            "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            for rows in self._store.pieces(data_subject)
        )

    def erase(self, name: str) -> ErasureResult:
        """Erase the past. Events up to now that workers have not sent yet are dropped too."""
        data_subject = self.data_subject(name)
        with self._recorder.paused_for_erasure(data_subject.names):
            erased = self._store.erase(
                data_subject, self._counted_since(data_subject), frozenset(self._policy().devices)
            )
        self._on_erased()
        return erased

    def _counted_since(self, data_subject: DataSubject) -> float:
        """Return the start of the person's week, from which budgets count."""
        policy = self._policy()
        person = policy.people.get(data_subject.person or "")
        now = datetime.fromtimestamp(self._clock(), ZoneInfo((person and person.timezone) or policy.network.timezone))
        monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
        return monday.timestamp()


def ndjson_download(pieces: Iterator[str]) -> StreamingResponse:
    """Return whole lines as a file to download. Each piece is read once the client has taken the one before."""
    headers = {"Content-Disposition": 'attachment; filename="hedgerow-kept.ndjson"'}
    return StreamingResponse(pieces, media_type="application/x-ndjson", headers=headers)


def csv_cell(value: object) -> object:
    """Return a CSV cell. Text that a spreadsheet would treat as a formula gets an apostrophe.

    >>> csv_cell("=1+1"), csv_cell("www.example.org"), csv_cell(None)
    ("'=1+1", 'www.example.org', '')
    """
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r")) else value
