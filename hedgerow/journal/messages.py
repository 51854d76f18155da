"""What a worker tells control, as lines of JSON. Pure: no sockets, no clock.

A line is one object with one key, the kind of the message: `{"observation": {...}}`. The first line of a connection is a `hello`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from operator import attrgetter

from hedgerow.policies.model import AccessRequest, CodeEntered, ConductAccepted, DeviceId, Observation, Reason
from hedgerow.policies.time_model import ActiveMinute

LINE_LIMIT = 64 * 1024
"""Bytes of one line; a longer one is malformed."""

TEXT_LIMIT = 2048
"""Characters of one text field; longer URLs are cut, because the rest of them tells nobody anything."""


@dataclass(frozen=True, slots=True)
class WorkerHello:
    """Who is at the other end: `worker` is unique among the running processes, such as `dns-1`; `role` is `dns`."""

    worker: str
    role: str


@dataclass(frozen=True, slots=True)
class CounterDelta:
    """A counter went up by `value`. `labels` are the values of the metric's labels, in the order in which it declares them."""

    name: str
    labels: tuple[str, ...] = ()
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class GaugeLevel:
    """A gauge of one worker stands at `value` now; the levels of the workers are added up, and one that left counts no more."""

    name: str
    labels: tuple[str, ...] = ()
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device showed itself at `address`. Sent on a change and every few minutes, not for each packet."""

    when: float
    device: DeviceId
    address: str
    mac: str | None = None
    person: str | None = None
    profile: str = ""
    name: str = ""


type WorkerMessage = Observation | AccessRequest | CodeEntered | ConductAccepted | ActiveMinute | CounterDelta | GaugeLevel | DeviceSeen

KIND_OF: dict[type, str] = {
    Observation: "observation",
    AccessRequest: "access_request",
    CodeEntered: "code_typed",
    ConductAccepted: "conduct_accepted",
    ActiveMinute: "activity",
    CounterDelta: "counter",
    GaugeLevel: "gauge",
    DeviceSeen: "device_seen",
    WorkerHello: "hello",
}
_NAMES = {noun: tuple(each.name for each in fields(noun)) for noun in KIND_OF}
_VALUES = {noun: attrgetter(*names) for noun, names in _NAMES.items()}
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def may_be_recorded(message: WorkerMessage) -> bool:
    """False for a decision about a lifeline: a child who looked for help is nobody's data."""
    return not (isinstance(message, Observation) and message.reason is Reason.LIFELINE)


def encode(message: WorkerMessage | WorkerHello) -> bytes:
    r"""One line with its newline. Text fields over `TEXT_LIMIT` are cut.

    >>> encode(CounterDelta("hedgerow_dns_cache_hits_total", (), 3.0))
    b'{"counter":{"name":"hedgerow_dns_cache_hits_total","labels":[],"value":3.0}}\n'
    """
    noun = type(message)
    body = dict(zip(_NAMES[noun], _VALUES[noun](message), strict=True))
    line = _to_json({KIND_OF[noun]: body})
    if len(line) >= TEXT_LIMIT:
        line = _to_json({KIND_OF[noun]: _truncated(body)})
    return line.encode("utf-8", "replace") + b"\n"


def _truncated(body: dict[str, object]) -> dict[str, object]:
    return {key: value[:TEXT_LIMIT] if isinstance(value, str) else value for key, value in body.items()}
