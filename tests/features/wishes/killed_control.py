"""Kill a process again and again while it writes wishes and answers: `killed_control.py JOURNAL KILLS`.

Prints a line of JSON: how many wishes and answers were confirmed before a kill, and what is lost, doubled or half done.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import select

from hedgerow.dashboards.accounts import COMMAND_LINE
from hedgerow.dashboards.control import BudgetRow
from hedgerow.features.wishes import own_words
from hedgerow.features.wishes.answers import Given, Wishes, WishForm
from hedgerow.features.wishes.records import WishKind, WishState
from hedgerow.journal.database import open_journal
from hedgerow.journal.tables import bonuses, wishes
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import parse_policy

LONGEST_S = 0.03
SUBJECTS = ("", "games", "video", "social")
POLICY = parse_policy(b"people: {mia: {age: 9}}", None)


async def _nothing() -> None:
    pass


def wishes_in(journal: Path) -> Wishes:
    """Return the part of control with a journal of its own."""
    rows = tuple(BudgetRow("mia", subject, 0, 60, 60, 0.0) for subject in SUBJECTS)
    other: Any = SimpleNamespace(budgets=lambda: rows, policy=lambda: POLICY, person_times=lambda _people: {})
    return Wishes(
        store=open_journal(journal),
        control=other,
        times=other,
        editor=other,
        put_in_force=_nothing,
        notify=lambda _notices: None,
        clock=time.time,
    )


async def _work(journal: Path, confirmed: int) -> None:
    """Ask and answer without an end, and confirm each of them on a pipe as a page does to a browser."""
    part = wishes_in(journal)
    own_words.ASKED_PER_HOUR = 10**6  # the limit is not what is tried here
    for number in range(10**6):
        subject = SUBJECTS[number % len(SUBJECTS)]
        form = WishForm(
            person="mia", device=DeviceId("tablet"), kind=WishKind.MINUTES, minutes=10 + number % 20, subject=subject
        )
        wish = await part.ask(form, str)
        os.write(confirmed, f"asked {wish}\n".encode())
        if number % 3 < 2:
            await part.grant(wish, COMMAND_LINE, "Ana", Given(minutes=None if number % 2 else 5))
            os.write(confirmed, f"granted {wish}\n".encode())
        else:
            await part.say(wish, WishState.DENIED, "Ana", "Homework first.")
            os.write(confirmed, f"denied {wish}\n".encode())


def _kill_once(journal: Path) -> list[tuple[str, int]]:
    """Begin the work in a process, kill it at a random moment, and return what it had confirmed by then."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        asyncio.run(_work(journal, writing))
        os._exit(1)
    os.close(writing)
    found = b""
    for _ in range(random.randrange(8)):
        found += os.read(reading, 4096)
    time.sleep(random.uniform(0, LONGEST_S))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while more := os.read(reading, 4096):
        found += more
    os.close(reading)
    lines = [line.split() for line in found.decode().splitlines(keepends=True) if line.endswith("\n")]
    return [(what, int(number)) for what, number in lines]


def faults_of(journal: Path, confirmed: list[tuple[str, int]]) -> list[str]:
    """Return what is wrong with the journal after all kills."""
    store = open_journal(journal)
    with store.connect() as connection:
        rows = {row.id: row for row in connection.execute(select(wishes))}
        given = Counter(connection.scalars(select(bonuses.c.id)).all())
    store.dispose()
    faults = [f"{what} {number} is lost" for what, number in confirmed if number not in rows]
    faults += [
        f"{what} {number} is {rows[number].state}"
        for what, number in confirmed
        if what != "asked" and number in rows and rows[number].state != what
    ]
    faults += [f"{row.id} gave nothing" for row in rows.values() if row.state == "granted" and not given[row.result]]
    answers = Counter(row.result for row in rows.values() if row.result)
    faults += [f"minutes {id} of {answers[id]} answers" for id in given if answers[id] != 1]
    still_open = Counter(row.subject for row in rows.values() if row.state == "open")
    return faults + [f"{count} open wishes for {subject}" for subject, count in still_open.items() if count > 1]


def main() -> None:
    """Print what came of it."""
    journal, kills = Path(sys.argv[1]), int(sys.argv[2])
    open_journal(journal).dispose()
    confirmed = [each for _ in range(kills) for each in _kill_once(journal)]
    counts = Counter(what for what, _ in confirmed)
    print(json.dumps({"kills": kills, "confirmed": counts, "faults": faults_of(journal, confirmed)}))


if __name__ == "__main__":
    main()
