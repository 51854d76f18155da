"""What a worker tells control, as lines of JSON. Pure: no sockets, no clock.

A line is one object with one key, the kind of the message: `{"observation": {...}}`. The first line of a connection is a `hello`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json, to_json

from hedgerow.policies.model import AccessRequest, Activity, DeviceId, Observation, Reason

LINE_LIMIT = 64 * 1024
"""Bytes of one line; a longer one is malformed."""

TEXT_LIMIT = 2048
"""Characters of one text field; longer URLs are cut, because the rest of them tells nobody anything."""


class MalformedMessage(ValueError):
    """A line that is not a message. The sender's fault; the receiver counts it and goes on."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who is at the other end: `worker` is unique among the running processes, such as `dns-1`; `role` is `dns`."""

    worker: str
    role: str


@with_config(ConfigDict(ser_json_inf_nan="constants"))
@dataclass(frozen=True, slots=True)
class CounterDelta:
    """A counter went up by `value`. `labels` are the values of the metric's labels, in the order in which it declares them."""

    name: str
    labels: tuple[str, ...] = ()
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


@dataclass(frozen=True, slots=True)
class GaugeLevel:
    """A gauge of one worker stands at `value` now; the levels of the workers are added up, and one that left counts no more."""

    name: str
    labels: tuple[str, ...] = ()
    value: Annotated[float, Field(allow_inf_nan=False)] = 0.0


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


type Message = Observation | AccessRequest | Activity | CounterDelta | GaugeLevel | DeviceSeen

_KIND_OF: dict[type, str] = {
    Observation: "observation",
    AccessRequest: "access_request",
    Activity: "activity",
    CounterDelta: "counter",
    GaugeLevel: "gauge",
    DeviceSeen: "device_seen",
    Hello: "hello",
}
_ADAPTERS: dict[str, TypeAdapter[Message | Hello]] = {kind: TypeAdapter(noun) for noun, kind in _KIND_OF.items()}


def may_be_remembered(message: Message) -> bool:
    """False for a decision about a lifeline: a child who looked for help is nobody's data."""
    return not (isinstance(message, Observation) and message.reason is Reason.LIFELINE)


def encode(message: Message | Hello) -> bytes:
    r"""One line with its newline. Text fields over `TEXT_LIMIT` are cut.

    >>> encode(CounterDelta("hedgerow_dns_cache_hits_total", (), 3.0))
    b'{"counter":{"name":"hedgerow_dns_cache_hits_total","labels":[],"value":3.0}}\n'
    """
    line = to_json({_KIND_OF[type(message)]: message})
    if len(line) >= TEXT_LIMIT:
        line = to_json({_KIND_OF[type(message)]: _cut(from_json(to_json(message)))})
    return line + b"\n"


def decode(line: bytes) -> Message | Hello:
    """The message of one line (with or without its newline).

    Raises `MalformedMessage` for everything that is not one: bad JSON, an unknown kind, a missing or extra field, a wrong type.
    """
    if len(line) > LINE_LIMIT:
        raise MalformedMessage("the line is too long")
    try:
        parsed = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedMessage(f"not JSON: {error}") from None
    if not isinstance(parsed, dict) or len(parsed) != 1:
        raise MalformedMessage("not an object with one key")
    ((kind, body),) = parsed.items()
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        raise MalformedMessage("unknown kind of message")
    try:
        message = adapter.validate_python(body)
    except (ValidationError, RecursionError) as error:
        raise MalformedMessage(f"not a {kind}: {type(error).__name__}") from None
    if not _is_sane(message):
        raise MalformedMessage(f"a {kind} with an impossible number")
    return message


def _is_sane(message: Message | Hello) -> bool:
    """Numbers that SQLite and a calendar can hold."""
    when = getattr(message, "when", 0.0)
    count = getattr(message, "count", 1)
    minute = getattr(message, "minute", 0)
    return math.isfinite(when) and 0 <= when < 2**40 and 0 < count < 2**40 and 0 <= minute < 2**34


def _cut(body: dict[str, object]) -> dict[str, object]:
    return {key: value[:TEXT_LIMIT] if isinstance(value, str) else value for key, value in body.items()}
