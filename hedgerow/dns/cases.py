"""What the miss path speaks of: a query as a case to be judged, the answer to it, and the clocks by which both run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from hedgerow.dns.cache import Entry
from hedgerow.dns.rulings import Circumstances
from hedgerow.dns.wire import Query
from hedgerow.policies.model import Decision, DeviceId
from hedgerow.policies.ruleset import Ruleset


class Answer(NamedTuple):
    """What to send (None: nothing) and the entry that says what was decided (None: nothing was)."""

    message: bytes | None
    entry: Entry | None = None


class Clocks(NamedTuple):
    """Both clocks: TTLs run by the steady one, rulesets end by the one on the wall."""

    steady: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


class Case(NamedTuple):
    """A query that must be forwarded, with who asks and what was decided about its name."""

    ruleset: Ruleset
    device: DeviceId
    query: Query
    host: str
    transport: str
    decision: Decision
    prefix: bytes
    circumstances: Circumstances  # of the snapshot that the ruleset belongs to


type Done = Callable[[Answer], None]
