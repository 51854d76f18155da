"""What control makes of a worker's line. Apart from `messages`, because workers never read, and the validation weighs megabytes."""

from __future__ import annotations

import math

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from hedgerow.journal.messages import KIND_OF, LINE_LIMIT, CounterDelta, Hello, Message

_ADAPTERS: dict[str, TypeAdapter[Message | Hello]] = {kind: TypeAdapter(noun) for noun, kind in KIND_OF.items()}


class MalformedMessage(ValueError):
    """A line that is not a message. The sender's fault; the receiver counts it and goes on."""


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
    """Numbers that SQLite and a calendar can hold, and that a metric can be."""
    value = getattr(message, "value", 0.0)
    if not math.isfinite(value) or (isinstance(message, CounterDelta) and value < 0):
        return False
    when = getattr(message, "when", 0.0)
    count = getattr(message, "count", 1)
    minute = getattr(message, "minute", 0)
    return math.isfinite(when) and 0 <= when < 2**40 and 0 < count < 2**40 and 0 <= minute < 2**34
