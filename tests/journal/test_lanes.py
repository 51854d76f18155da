"""Connections to the store: those of the pages and those of a process's own work cannot use each other up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import replace

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from hedgerow.journal.lanes import CONNECTIONS_PER_LANE, MAX_CONNECTIONS, Lane, Lanes, current_lane
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.store import Store
from hedgerow.journal.tables import events


@pytest.fixture
def impatient(journal: Store) -> Store:
    return replace(journal, lanes=Lanes(timeout=0.05))


@contextlib.contextmanager
def full(store: Store, lane: Lane) -> Iterator[None]:
    """Use all connections of a lane."""
    context = copy_context()
    context.run(current_lane.set, lane)
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_PER_LANE):
            context.run(stack.enter_context, store.connect())
        yield


@pytest.mark.parametrize(("used_up", "other"), [(Lane.PAGES, Lane.OWN), (Lane.OWN, Lane.PAGES)])
def test_a_full_lane_leaves_the_other_its_connections(impatient: Store, used_up: Lane, other: Lane) -> None:
    with full(impatient, used_up):
        context = copy_context()
        context.run(current_lane.set, other)
        assert context.run(impatient.scalar, select(1)) == 1
        context.run(current_lane.set, used_up)
        with pytest.raises(OperationalError, match="have been in use"):
            context.run(impatient.scalar, select(1))
    assert context.run(impatient.scalar, select(1)) == 1, "they are given back"


def test_an_engine_opens_a_bounded_number_of_connections(journal: Store) -> None:
    with full(journal, Lane.PAGES), full(journal, Lane.OWN), contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS - 2 * CONNECTIONS_PER_LANE):
            stack.enter_context(journal.engine.connect())
        assert journal.engine.pool.checkedout() == MAX_CONNECTIONS  # type: ignore[attr-defined]
        assert journal.engine.pool.size() + journal.engine.pool._max_overflow == MAX_CONNECTIONS  # type: ignore[attr-defined]


def test_a_task_of_control_survives_a_full_lane(impatient: Store) -> None:
    """Events stay in the buffer."""
    recorder = Recorder(impatient)
    recorder.add([SystemEvent(time.time(), "kind", "subject", "detail")])
    with full(impatient, Lane.OWN):
        recorder.flush()
    recorder.flush()
    assert impatient.scalar(select(events.c.subject)) == "subject"
