"""Messages from the workers to control, as lines of JSON. Pure: no sockets, no clock.

A line is an object with one key, the kind of the message: `{"observation": {...}}`. The first line of a connection is a
`hello`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec

from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, CodeEntered, DeviceId, Observation, Reason
from hedgerow.policies.remembered import PageRecognised
from hedgerow.policies.seats import ConductAccepted
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.task_state import TaskState

LINE_LIMIT = 64 * 1024
"""Bytes per line. A longer one is malformed."""

TEXT_LIMIT = 2048
"""Characters per text field. Longer URLs are cut, since the rest of them tells nobody anything."""

HEARTBEAT_STEP_S = 5

SNAPSHOT_LEVEL = "snapshot"
"""Name of the gauge with the serial number of the snapshot that a worker applies. It is not a metric."""


class MalformedMessage(ValueError):
    """A line that is not a message. The sender's fault; the receiver counts it and goes on."""


@dataclass(frozen=True, slots=True)
class WorkerHello:
    """The sender: `worker` is unique among the running processes, such as `dns-1`; `role` is `dns`."""

    worker: str
    role: str


@dataclass(frozen=True, slots=True)
class CounterDelta:
    """An increase of a counter. `labels` are the values of the metric's labels, in their declared order."""

    name: str
    labels: tuple[str, ...] = ()
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class GaugeLevel:
    """A worker's gauge. The workers' levels are added up, without those of workers that have left."""

    name: str
    labels: tuple[str, ...] = ()
    value: float = 0.0


def heartbeat(role: str, index: int, now: float) -> GaugeLevel:
    """Return the sign of life of a process, to be sent once a second: another one every `HEARTBEAT_STEP_S`, which
    spares control the same message in between.
    """
    level = float(now // HEARTBEAT_STEP_S * HEARTBEAT_STEP_S)
    return GaugeLevel("hedgerow_worker_heartbeat_timestamp_seconds", (role, str(index)), level)


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device seen at `address`. Sent on a change and every few minutes, not per packet."""

    when: float
    device: DeviceId
    address: str
    mac: str | None = None
    person: str | None = None
    profile: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class ProtectionSeen:
    """A device used a protection. Sent every few minutes of use, whatever the person's privacy: it names no site."""

    when: float
    device: DeviceId
    protection: Protection


@dataclass(frozen=True, slots=True)
class SiteSeen:
    """An unknown site that a device asked for. `site` is a keyed hash of 64 bits; the device is not named.

    `name` is its registered domain where it was closed as new, and the policy names whom to ask when it was registered.
    """

    site: int
    name: str = ""


type WorkerMessage = (
    Observation
    | AccessRequest
    | CodeEntered
    | ConductAccepted
    | ActiveMinute
    | CounterDelta
    | GaugeLevel
    | DeviceSeen
    | ProtectionSeen
    | PageRecognised
    | SiteSeen
    | TaskState
)

_KINDS: dict[type, str] = {
    Observation: "observation",
    AccessRequest: "access_request",
    CodeEntered: "code_typed",
    ConductAccepted: "conduct_accepted",
    ActiveMinute: "activity",
    CounterDelta: "counter",
    GaugeLevel: "gauge",
    DeviceSeen: "device_seen",
    ProtectionSeen: "protection_seen",
    PageRecognised: "page_recognised",
    SiteSeen: "site_seen",
    TaskState: "task",
    WorkerHello: "hello",
}
_encode_json = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decoders: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(cls) for cls, kind in _KINDS.items()}


def may_be_recorded(message: WorkerMessage) -> bool:
    """Return False for a decision about a lifeline: a child's search for help is never recorded."""
    return not (isinstance(message, Observation) and message.reason is Reason.LIFELINE)


def encode(message: WorkerMessage | WorkerHello) -> bytes:
    r"""Return a line with its newline. Text fields over `TEXT_LIMIT` are cut.

    >>> encode(CounterDelta("hedgerow_dns_cache_hits_total", (), 3.0))
    b'{"counter":{"name":"hedgerow_dns_cache_hits_total","labels":[],"value":3.0}}\n'
    """
    kind = _KINDS[type(message)]
    try:
        line = _encode_json({kind: message})
    except UnicodeEncodeError:  # a lone surrogate
        line = b""
    if not line or len(line) >= TEXT_LIMIT:
        line = _encode_json({kind: _plain(message)})
    return line + b"\n"


def _plain(message: WorkerMessage | WorkerHello) -> WorkerMessage | WorkerHello:
    """Return a message whose text fields are valid Unicode of a limited length."""
    values = ((field.name, getattr(message, field.name)) for field in fields(message))
    texts: dict[str, Any] = {name: _plain_text(value) for name, value in values if type(value) is str}
    return replace(message, **texts)


def _plain_text(text: str) -> str:
    return text[:TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8")


def decode(line: bytes) -> WorkerMessage | WorkerHello:
    """Return the message of a line, with or without its newline.

    Raises `MalformedMessage` for anything else: bad JSON, an unknown kind, a missing field, a wrong type, a number out
    of range.
    """
    if len(line) > LINE_LIMIT:
        raise MalformedMessage("the line is too long")
    try:
        ((kind, body),) = _decode_line(line).items()
        message: WorkerMessage | WorkerHello = _decoders[kind].decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedMessage(f"not a message: {error}") from None
    except KeyError:
        raise MalformedMessage("unknown kind of message") from None
    if not _has_valid_numbers(message):
        raise MalformedMessage(f"a {kind} with a number out of range")
    return message


def _has_valid_numbers(message: WorkerMessage | WorkerHello) -> bool:
    """Return True if the numbers fit a database, a calendar and a metric."""
    value = getattr(message, "value", 0.0)
    if not math.isfinite(value) or (isinstance(message, CounterDelta) and value < 0):
        return False
    defaults = {"when": 0.0, "count": 1, "minute": 0, "version": 0, "site": 0, "failures": 0, "in_a_row": 0}
    when, count, minute, version, site, failures, in_a_row = (
        getattr(message, name, default) for name, default in defaults.items()
    )
    return (
        0 <= site < 2**64
        and 0 <= in_a_row <= failures < 2**40
        and math.isfinite(getattr(message, "failed", 0.0))
        and math.isfinite(when)
        and 0 <= when < 2**40
        and 0 < count < 2**40
        and 0 <= minute < 2**34
        and 0 <= version < 2**40
    )
